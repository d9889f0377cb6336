"""The order of units: the best first, every prefix a whole answer, nothing kept that is not worth its seconds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import metrics
from builder.plan import blend
from builder.plan import order as ordering
from builder.plan.order import Family
from tests.records import predictions

from .test_blend import families

ACCURACY, LOGLOSS = metrics.get("accuracy"), metrics.get("logloss")
FOLDS = (0, 1, 2)


def ordered(oof, y, *, seconds=None, metric=LOGLOSS, equal=False, folds=FOLDS):
    made = [Family(f"m{i}", (seconds or [1e-3] * len(oof))[i], folds) for i in range(len(oof))]
    return ordering.order(made, oof, y, np.arange(len(y)) % 3, metric, equal=equal)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5), equal=st.booleans())
def test_every_prefix_is_a_whole_answer(seed, count, equal):
    oof, y = families(seed, count)
    found = ordered(oof, y, equal=equal)
    assert len(found.steps) >= 1
    for length, step in enumerate(found.steps, start=1):
        assert len(step.weights) == length
        assert sum(step.weights) == pytest.approx(1, abs=1e-9)
        assert min(step.weights) >= 0
        assert blend.TEMPERATURES[0] <= step.temperature <= blend.TEMPERATURES[1]


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
def test_the_first_unit_is_the_best_family_alone(seed, count):
    oof, y = families(seed, count)
    alone = [blend.logloss(blend.tempered(p, blend.temperature(p, y)), y) for p in oof]
    assert ordered(oof, y).steps[0].family == int(np.argmin(alone))


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_each_unit_comes_once_and_a_family_brings_all_its_folds(seed, count):
    oof, y = families(seed, count)
    found = ordered(oof, y)
    units = [(step.family, step.fold) for step in found.steps]
    assert len(set(units)) == len(units)
    chosen = {family for family, _ in units}
    assert set(units) == {(family, fold) for family in chosen for fold in FOLDS}
    assert len(chosen) + len(found.dropped) == count


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 4))
def test_families_come_before_their_further_folds(seed, count):
    oof, y = families(seed, count)
    steps = ordered(oof, y).steps
    first = [step.family for step in steps[: len({s.family for s in steps})]]
    assert len(set(first)) == len(first)


def test_a_family_that_adds_nothing_is_dropped_and_the_reason_told():
    oof, y = families(5, 1)
    found = ordered(np.concatenate([oof, oof, np.full_like(oof, 1 / 3)]), y)
    assert {step.family for step in found.steps} == {0}
    assert len(found.dropped) == 2
    assert all("left out" in reason and "ms per sample" in reason for reason in found.dropped)


def test_a_blend_of_equals_drops_none():
    oof, y = families(5, 1)
    found = ordered(np.concatenate([oof, oof]), y, equal=True)
    assert {step.family for step in found.steps} == {0, 1}
    assert found.dropped == ()
    assert found.steps[-1].weights == pytest.approx([1 / 6] * 6)


def test_of_two_equal_helps_the_cheaper_comes_first():
    """The same helper at two prices: gain per second decides, not the gain."""
    codes = np.arange(600) % 3
    best, helper = (predictions(codes, 3, skill=skill, seed=seed) for skill, seed in ((1.6, 0), (1.5, 1)))
    joined = np.stack([best, helper, helper])
    for cheap in (1, 2):
        seconds = [1e-3, 5e-3, 5e-3]
        seconds[cheap] = 1e-3
        assert ordered(joined, codes, seconds=seconds).steps[1].family == cheap


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_families_in_kernel_toml_changes_nothing(seed):
    oof, y = families(seed, 3)
    turned = ordered(oof[::-1], y)
    plain = ordered(oof, y)
    assert [2 - step.family for step in turned.steps] == [step.family for step in plain.steps]
    np.testing.assert_allclose(turned.steps[-1].weights, plain.steps[-1].weights, atol=1e-6)


def test_same_input_same_order():
    oof, y = families(8, 4)
    assert ordered(oof, y).steps == ordered(oof.copy(), y.copy()).steps


@pytest.mark.parametrize("metric", [ACCURACY, LOGLOSS], ids=["accuracy", "logloss"])
def test_scores_are_told_in_the_competition_metric_and_gains_add_up(metric):
    oof, y = families(6, 4)
    found = ordered(oof, y, metric=metric)
    families_ = [step for step in found.steps if step.fold == FOLDS[0]]
    assert families_[0].gain == 0
    total = sum(step.gain for step in families_)
    assert total == pytest.approx(metric.gain(families_[-1].score, families_[0].score))
    assert found.steps[-1].score == pytest.approx(metric(y, found.predicted))


def test_the_score_is_cross_fitted():
    """What is promised is what folds that were not fitted on give: never better than the same blend judged on its own rows."""
    worse = 0
    for seed in range(10):
        oof, y = families(seed, 4, rows=40)
        step = ordered(oof, y).steps[-1]
        units = [(s.family, s.fold) for s in ordered(oof, y).steps]
        own = sum(w * oof[family] for w, (family, _) in zip(step.weights, units, strict=True))
        worse += step.score >= LOGLOSS(y, blend.tempered(own, step.temperature))
    assert worse >= 8


def test_models_with_fewer_folds_do_not_stop_the_others():
    oof, y = families(1, 2)
    made = [Family("a", 1e-3, (0, 1, 2)), Family("b", 1e-3, (1,))]
    found = ordering.order(made, oof, y, np.arange(len(y)) % 3, LOGLOSS, equal=True)
    assert {(s.family, s.fold) for s in found.steps} == {(0, 0), (0, 1), (0, 2), (1, 1)}


def test_the_interval_holds_the_score_and_is_repeatable():
    (p,), y = families(2, 1, rows=500)
    low, high = ordering.interval(y, p, ACCURACY)
    assert low < ACCURACY(y, p) < high
    assert (low, high) == ordering.interval(y, p, ACCURACY)
    assert high - low < 0.15
    few_low, few_high = ordering.interval(y[:30], p[:30], ACCURACY)
    assert few_high - few_low > high - low, "fewer rows, less is known"


def test_a_metric_that_fails_on_some_resamples_still_has_an_interval():
    y = np.array([0] * 12 + [1])
    p = np.random.default_rng(0).dirichlet(np.ones(2), len(y))
    low, high = ordering.interval(y, p, metrics.get("auc"))
    assert 0 <= low <= high <= 1


def test_a_cheap_family_that_is_worth_nothing_does_not_end_the_search():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 600)
    good, other = predictions(y, 3, skill=1.5, seed=1), predictions(y, 3, skill=1.5, seed=2)
    useless = 0.999 * good + 0.001 * other  # helps a little, and costs next to nothing
    found = ordered(np.stack([good, other, useless]).astype(np.float32), y, seconds=[1e-3, 0.2, 0.0])
    assert {0, 1} <= {step.family for step in found.steps} or {1, 2} <= {step.family for step in found.steps}
