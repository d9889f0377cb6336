"""A sample's answer is its longest complete prefix, with that prefix's weights and temperature, and nothing else."""

import numpy as np
import pytest
from kkb_runtime import combine
from kkb_runtime.contract import Input, Prefix, Unit

PREFIXES = (Prefix((1.0,), 2.0), Prefix((0.25, 0.75), 1.0), Prefix((0.2, 0.3, 0.5), 0.5))


def predictions(samples, units=3, seed=0):
    raw = np.random.default_rng(seed).random((units, samples, 4)).astype(np.float32)
    return list(raw / raw.sum(axis=2, keepdims=True))


def unit(member, fold, view="identity"):
    return Unit(member, fold, view, "d", "f", "onnx", Input(4, 4), 1, 0.0, 0.0)


def test_reached_counts_leading_units_only():
    p = predictions(4)
    p[0][1], p[1][2], p[2][3] = np.nan, np.nan, np.nan
    assert combine.reached(p).tolist() == [3, 0, 1, 2]


def test_each_sample_is_pooled_by_its_own_prefix():
    p = predictions(4)
    p[0][1], p[1][2], p[2][3] = np.nan, np.nan, np.nan
    answer = combine.pool(p, combine.reached(p), PREFIXES)
    wide = [values.astype(np.float64) for values in p]
    three = (0.2 * wide[0][0] + 0.3 * wide[1][0] + 0.5 * wide[2][0]) ** 2
    np.testing.assert_allclose(answer[0], three / three.sum())
    assert np.isnan(answer[1]).all()
    one = wide[0][2] ** 0.5
    np.testing.assert_allclose(answer[2], one / one.sum())
    two = 0.25 * wide[0][3] + 0.75 * wide[1][3]
    np.testing.assert_allclose(answer[3], two / two.sum())


def test_a_row_does_not_depend_on_its_neighbours():
    p = predictions(257)
    lengths = np.random.default_rng(1).integers(1, 4, 257)
    whole = combine.pool(p, lengths, PREFIXES)
    for rows in (slice(0, 1), slice(3, 10), slice(100, 257)):
        part = combine.pool([values[rows] for values in p], lengths[rows], PREFIXES)
        assert part.tobytes() == whole[rows].tobytes()


def test_certain_answers_stay_finite_at_any_temperature():
    p = [np.array([[1.0, 0.0], [1e-30, 1e-30]], np.float32)]
    for temperature in (0.01, 1.0, 100.0):
        answer = combine.pool(p, np.array([1, 1]), (Prefix((1.0,), temperature),))
        np.testing.assert_allclose(answer, [[1.0, 0.0], [0.5, 0.5]])


def test_honest_weights_move_to_the_fold_that_did_not_see_the_row():
    units = [unit("a", 0), unit("a", 1), unit("b", 1)]
    p = predictions(4)
    folds = np.array([0, 1, 5, combine.UNKNOWN_FOLD])
    flat = (Prefix((1.0,)), Prefix((0.25, 0.75)), Prefix((0.2, 0.3, 0.5)))
    answer = combine.pool_honest(p, np.full(4, 3), flat, units, folds)
    np.testing.assert_allclose(answer[0], p[0][0], rtol=1e-6)  # b has no unit of fold 0: its weight is dropped
    np.testing.assert_allclose(answer[1], 0.5 * p[1][1] + 0.5 * p[2][1], rtol=1e-6)
    assert np.isnan(answer[2]).all()
    np.testing.assert_allclose(answer[3], 0.2 * p[0][3] + 0.3 * p[1][3] + 0.5 * p[2][3], rtol=1e-6)


def test_honest_uses_a_later_unit_only_if_it_has_run():
    units = [unit("a", 0), unit("a", 1)]
    p = predictions(2, units=2)
    p[1][1] = np.nan
    answer = combine.pool_honest(p, np.array([1, 1]), PREFIXES[:2], units, np.array([1, 1]))
    hot = p[1][0].astype(np.float64) ** 0.5
    np.testing.assert_allclose(answer[0], hot / hot.sum())
    assert np.isnan(answer[1]).all()


@pytest.mark.parametrize("view", ["identity", "hflip"])
def test_honest_keeps_views_apart(view):
    units = [unit("a", 0, "identity"), unit("a", 1, view)]
    p = predictions(1, units=2)
    answer = combine.pool_honest(p, np.array([2]), PREFIXES[:2], units, np.array([0]))
    np.testing.assert_allclose(answer[0], p[0][0], rtol=1e-6)  # nothing to move to in the other view: dropped
