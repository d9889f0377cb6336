"""A sample's answer is its longest complete prefix, with that prefix's weights and temperature, and nothing else."""

import numpy as np
import pytest
from kkb_runtime import combine, contract
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


HEATS = (1.0, 2.0, 0.5)
REFERENCES = tuple(tuple(np.sort(np.random.default_rng(9).random((4, 50)), axis=1)) for _ in range(3))
BLENDS = {kind: combine.Blend(kind, HEATS, REFERENCES) for kind in contract.BLENDS}
STACK = tuple(Prefix(tuple(0.7 - 0.4 * i for i in range(k)), 3.0, None, (0.1, -0.2, 0.3, 0.0)) for k in (1, 2, 3))


def by_hand(kind, p, prefix):
    """The answer to one row from its units' probabilities (units, classes), one number after the other."""
    own = []
    for values, heat in zip(p, HEATS, strict=False):
        raised = np.maximum(values.astype(np.float64), 1e-12) ** (1 / heat)
        own.append(values.astype(np.float64) if heat == 1 else raised / raised.sum())
    w = prefix.weights
    if kind == "stack":
        total = sum(each * np.log(np.maximum(q, 1e-6)) for each, q in zip(w, own, strict=True)) + np.array(prefix.shift)
        return np.exp(total) / np.exp(total).sum()
    if kind == "weighted":
        total = sum(each * q for each, q in zip(w, own, strict=True))
    elif kind == "geometric":
        total = np.exp(sum(each * np.log(np.maximum(q, 1e-12)) for each, q in zip(w, own, strict=True)))
    elif kind == "vote":
        total = sum(each * (np.arange(4) == q.argmax()) for each, q in zip(w, own, strict=True))
        total = total + sum(each * q for each, q in zip(w, own, strict=True)) / (len(w) + 1)
    else:
        total = np.full(4, 1e-12)
        for each, q, known in zip(w, own, REFERENCES, strict=False):
            total += each * np.array([((k < v).sum() + (k <= v).sum()) / (2 * len(k)) for k, v in zip(known, q, strict=True)])
    cooled = (total / total.sum()) ** (1 / prefix.temperature)
    return cooled / cooled.sum()


@pytest.mark.parametrize("kind", contract.BLENDS)
def test_every_blend_is_its_formula(kind):
    p, prefixes = predictions(40), STACK if kind == "stack" else PREFIXES
    p[2][::3] = np.nan
    p[1][::5] = np.nan
    p[0][::7] = np.nan
    lengths = combine.reached(p)
    assert set(lengths.tolist()) == {0, 1, 2, 3}
    answer = combine.pool(p, lengths, prefixes, BLENDS[kind])
    for row, length in enumerate(lengths.tolist()):
        if length == 0:
            assert np.isnan(answer[row]).all()
            continue
        hand = by_hand(kind, np.stack([p[index][row] for index in range(length)]), prefixes[length - 1])
        np.testing.assert_allclose(answer[row], hand, rtol=1e-9)


@pytest.mark.parametrize("kind", contract.BLENDS)
def test_in_every_blend_a_row_does_not_depend_on_its_neighbours(kind):
    p, prefixes = predictions(257), STACK if kind == "stack" else PREFIXES
    lengths = np.random.default_rng(1).integers(1, 4, 257)
    whole = combine.pool(p, lengths, prefixes, BLENDS[kind])
    for rows in (np.array([0]), np.array([3, 77, 200]), np.arange(100, 257)):
        part = combine.pool([values[rows] for values in p], lengths[rows], prefixes, BLENDS[kind])
        assert part.tobytes() == whole[rows].tobytes()


@pytest.mark.parametrize("kind", contract.BLENDS)
def test_in_every_blend_the_honest_unit_speaks_for_its_other_folds(kind):
    """Two folds of one member: the row's own fold answers with the weight of both, as if it were there alone."""
    units = [unit("a", 0), unit("a", 1)]
    weights = (0.75, 0.25) if kind != "stack" else (0.5, 0.4)
    p, shift = predictions(2, units=2), (0.1, 0.0, 0.0, 0.0)
    prefixes = [Prefix((1.0,), 2.0, None, shift), Prefix(weights, 2.0, None, shift)]
    blend = combine.Blend(kind, (1.0, 1.0), (REFERENCES[0], REFERENCES[0]))
    found = combine.pool_honest(p, np.array([2, 2]), prefixes, units, np.array([0, 1]), blend)
    for row, fold in enumerate((0, 1)):
        alone = [Prefix((1.0,)), Prefix((0.0, sum(weights)), 2.0, None, shift)]
        expected = combine.pool([p[fold][[row]]] * 2, np.array([2]), alone, blend)
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-12)
    nobody = combine.pool_honest(p, np.array([2, 2]), prefixes, units, np.array([7, 7]), blend)
    assert np.isnan(nobody).all()


def test_temperature_1_and_the_weighted_blend_change_no_byte():
    p, lengths = predictions(50), np.random.default_rng(1).integers(0, 4, 50)
    plain = combine.pool(p, lengths, PREFIXES)
    assert combine.pool(p, lengths, PREFIXES, combine.Blend("weighted", (1.0, 1.0, 1.0))).tobytes() == plain.tobytes()
    mixed = np.zeros((50, 4))  # the formula of before there were blends
    for index, values in enumerate(p):
        weight = np.array([0.0 if index >= n else PREFIXES[n - 1].weights[index] for n in lengths])[:, None]
        mixed += np.where(weight > 0, weight * values.astype(np.float64), 0.0)
    power = np.array([1.0, *(1 / prefix.temperature for prefix in PREFIXES)])[lengths][:, None]
    with np.errstate(all="ignore"):
        cooled = np.where(power == 1.0, mixed, np.power(mixed / mixed.max(axis=1, keepdims=True), power))
        before = cooled / cooled.sum(axis=1, keepdims=True)
    before[lengths == 0] = np.nan
    assert plain.tobytes() == before.tobytes()


@pytest.mark.parametrize("view", ["identity", "hflip"])
def test_honest_keeps_views_apart(view):
    units = [unit("a", 0, "identity"), unit("a", 1, view)]
    p = predictions(1, units=2)
    answer = combine.pool_honest(p, np.array([2]), PREFIXES[:2], units, np.array([0]))
    np.testing.assert_allclose(answer[0], p[0][0], rtol=1e-6)  # nothing to move to in the other view: dropped
