"""Stacking: multinomial regression on logarithms of probabilities, one slope per family and one shift per class.

Pure numpy. Few numbers are fitted, so that they do not learn the rows by heart: a family's slope is the same for all classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

RIDGE = 1e-2  # pulls slopes to those of the geometric mean, and shifts to none
ROUNDS = 50
HALVINGS = 30  # surely wrong answers have no curvature, so that the first step is far too long
ENOUGH = 1e-7


def stacked(logs: Floats, y: Codes) -> tuple[Floats, Floats]:
    """(slopes float64 (families,), shift float64 (classes,)) with the least penalised logloss, by damped Newton steps.

    `logs` is float64 (families, rows, classes), `y` int (rows,).
    """
    families, rows, classes = logs.shape
    even = np.full(families, 1.0 / families)
    truth = np.eye(classes)[y]
    found = np.concatenate([even, np.zeros(classes)])
    rest = np.concatenate([even, np.zeros(classes)])

    def answer(values: Floats) -> Floats:
        total = np.tensordot(values[:families], logs, axes=1) + values[families:]
        raised = np.exp(total - total.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def loss(values: Floats) -> float:
        p = answer(values)[np.arange(rows), y]
        return float(-np.log(np.maximum(p, 1e-300)).mean() + RIDGE * ((values - rest) ** 2).sum() / 2)

    reached = loss(found)
    for _ in range(ROUNDS):
        p = answer(found)
        slope, curve = _newton(logs, p, truth)
        step = np.linalg.solve(curve + RIDGE * np.eye(len(found)), slope + RIDGE * (found - rest))
        for halving in range(HALVINGS):
            moved = found - step * 0.5**halving
            if (following := loss(moved)) < reached:
                break
        else:
            break
        found, gone, reached = moved, reached - following, following
        if gone < ENOUGH:
            break
    return found[:families], found[families:]


def _newton(logs: Floats, p: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Slope and curvature of the mean logloss, towards the slopes and then the shifts."""
    families, rows, _ = logs.shape
    off = (p - truth) / rows
    centred = logs - (p * logs).sum(axis=2, keepdims=True)
    weighted = centred * (p / rows)
    slope = np.concatenate([np.tensordot(logs, off, axes=([1, 2], [0, 1])), off.sum(axis=0)])
    across = weighted.sum(axis=1)  # (families, classes): how a slope and a shift bend together
    own = np.diag(p.mean(axis=0)) - p.T @ p / rows
    among = weighted.reshape(families, -1) @ centred.reshape(families, -1).T
    return slope, np.block([[among, across], [across.T, own]])
