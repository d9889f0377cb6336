"""Stacking is at the optimum of what it minimises, whatever the rows are like."""

import numpy as np
import pytest

from builder.plan import stacking

FAMILIES, ROWS, CLASSES = 3, 200, 4


def logs(scale, seed=0):
    """(float64 (families, rows, classes), int (rows,)): answers of which the first family is the best."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, CLASSES, ROWS)
    right = np.eye(CLASSES)[y]
    return np.array([scale * (draw.normal(0, 1, right.shape) + right * (2 - f)) for f in range(FAMILIES)]), y


def penalised(found, of, y):
    """The loss that `stacked` minimises, written once more: slopes are pulled to equal ones, shifts to none."""
    slopes, shift = found[:FAMILIES], found[FAMILIES:]
    total = np.tensordot(slopes, of, axes=1) + shift
    nats = np.log(np.exp(total - total.max(axis=1, keepdims=True)).sum(axis=1)) + total.max(axis=1)
    return (nats - total[np.arange(ROWS), y]).mean() + stacking.RIDGE / 2 * (
        ((slopes - 1 / FAMILIES) ** 2).sum() + (shift**2).sum()
    )


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 1000.0])
def test_nothing_near_is_better(scale):
    of, y = logs(scale)
    found = np.concatenate(stacking.stacked(of, y))
    reached = penalised(found, of, y)
    step = 1e-3 / max(scale, 1.0)
    for place in np.eye(len(found)) * step:
        assert min(penalised(found + place, of, y), penalised(found - place, of, y)) >= reached - 1e-6
    assert reached <= penalised(np.array([1 / FAMILIES] * FAMILIES + [0.0] * CLASSES), of, y)


def test_what_all_classes_of_a_row_have_in_common_says_nothing():
    of, y = logs(1.0)
    plain, moved = (np.concatenate(stacking.stacked(each, y)) for each in (of, of - 5000.0))
    np.testing.assert_allclose(moved, plain, atol=1e-6)
