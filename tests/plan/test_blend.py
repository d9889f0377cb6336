"""Weights and temperature: the optimum, not something near it; and nothing learnt from the row that is judged."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.plan import blend


def families(seed, count, rows=200, classes=3):
    """Calibrated-looking predictions of different skill, and the truth."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, rows)
    logits = draw.normal(0, 1, (count, rows, classes))
    for family, skill in enumerate(draw.uniform(0, 3, count)):
        logits[family, np.arange(rows), y] += skill
    raised = np.exp(logits)
    return (raised / raised.sum(axis=2, keepdims=True)).astype(np.float32), y


def loss_of(oof, weights, y):
    return blend.logloss(blend.pooled(oof, np.asarray(weights)), y)


def every_blend(count, steps):
    """All convex weights on a grid."""
    if count == 1:
        yield (1.0,)
        return
    for first in np.linspace(0, 1, steps + 1):
        for rest in every_blend(count - 1, steps):
            yield (first, *(weight * (1 - first) for weight in rest))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 3))
@example(seed=0, count=3)
def test_no_blend_on_a_grid_is_better(seed, count):
    oof, y = families(seed, count)
    found = loss_of(oof, blend.convex_weights(oof, y), y)
    best = min(loss_of(oof, weights, y) for weights in every_blend(count, 200 if count == 2 else 30))
    assert found <= best + 1e-5


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6))
def test_weights_are_convex_and_no_direction_leads_down(seed, count):
    """The conditions of Karush, Kuhn and Tucker: mean likelihood ratio 1 where there is weight, at most 1 where there is none."""
    oof, y = families(seed, count)
    weights = blend.convex_weights(oof, y)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    likelihood = oof[:, np.arange(len(y)), y].astype(np.float64)
    ratio = (likelihood / (weights @ likelihood)).mean(axis=1)
    assert (ratio <= 1 + 1e-3).all()
    assert ratio[weights > 0.05] == pytest.approx(1, abs=1e-3)


def test_a_family_that_knows_nothing_gets_no_weight():
    good, y = families(4, 1)
    oof = np.concatenate([good, np.full_like(good, 1 / 3)])
    oof[1] = np.roll(good[0], 1, axis=0)
    weights = blend.convex_weights(oof, y)
    assert weights[0] > 0.9


def test_a_true_class_that_was_ruled_out_leaves_finite_weights():
    oof, y = families(1, 2)
    oof[0, np.arange(len(y)), y] = 0
    weights = blend.convex_weights(oof, y)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > 0.99


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), truth=st.floats(0.5, 2.5))
def test_a_known_temperature_is_found_again(seed, truth):
    """Labels drawn from p, predictions sharpened by 1 / truth: the temperature that repairs them is the one that spoilt them."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.ones(3), 6000)
    y = (p.cumsum(axis=1) > draw.random((len(p), 1))).argmax(axis=1)
    spoilt = blend.tempered(p, 1 / truth)
    assert blend.temperature(spoilt, y) == pytest.approx(truth, rel=0.08)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_no_temperature_on_a_grid_is_better(seed):
    (p,), y = families(seed, 1)
    found = blend.logloss(blend.tempered(p, blend.temperature(p, y)), y)
    assert found <= min(blend.logloss(blend.tempered(p, t), y) for t in np.geomspace(*blend.TEMPERATURES, 100)) + 1e-7


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), heat=st.floats(0.25, 4))
def test_a_temperature_changes_how_sure_an_answer_is_never_which(seed, heat):
    p = np.random.default_rng(seed).dirichlet(np.ones(4), 50)
    changed = blend.tempered(p, heat)
    np.testing.assert_allclose(changed.sum(axis=1), 1)
    np.testing.assert_array_equal(changed.argmax(axis=1), p.argmax(axis=1))
    np.testing.assert_allclose(blend.tempered(p, 1.0), p, atol=1e-9)


def test_the_answer_at_home_is_the_answer_on_kaggle():
    """`blend` (home) and `combine` (travels) are two spellings of one formula: pooled arithmetically, then tempered."""
    from builder.runtime import combine
    from builder.runtime.contract import Prefix

    oof, y = families(3, 3)
    weights = blend.convex_weights(oof, y)
    heat = blend.temperature(blend.pooled(oof, weights), y)
    prefixes = [Prefix((1.0,)), Prefix((0.5, 0.5)), Prefix(tuple(weights), heat)]
    home = blend.tempered(blend.pooled(oof, weights), heat)
    np.testing.assert_allclose(combine.pool(list(oof), np.full(len(y), 3), prefixes), home, atol=1e-9)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.03, 0.1, 0.3]), heat=st.sampled_from([0.7, 1.0, 1.5]))
def test_the_share_of_drawn_labels_is_found_and_the_temperature_of_the_others(seed, share, heat):
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.full(4, 0.15), 8000)
    y = (draw.random((8000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=3)
    drawn = draw.random(8000) < share
    y[drawn] = draw.integers(0, 4, drawn.sum())
    noise, found = blend.label_noise(blend.tempered(p, 1 / heat), y)
    assert noise == pytest.approx(share, abs=0.03)
    assert found == pytest.approx(heat, rel=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_labels_without_noise_are_not_suspected(seed):
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.ones(4), 2000)
    y = (draw.random((2000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=3)
    assert blend.label_noise(p, y) == (0.0, blend.temperature(p, y))


def test_noise_keeps_rows_whole_and_counts_weigh_rows():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    assert blend.noisy(p, 0.2).sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(blend.noisy(p, 0.0), p)
    y = p.argmax(axis=1)
    counts = np.r_[np.ones(20), np.zeros(30)]
    assert blend.temperature(p, 2 - y, counts) == pytest.approx(blend.temperature(p[:20], 2 - y[:20]))


@pytest.mark.parametrize("truth", [0.5, 0.8, 1.25, 2.0])
def test_a_temperature_is_found_in_a_few_steps(truth, monkeypatch):
    """Halving the range from 1/4 to 4 would need more than twenty to come as near."""
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(3), 2000)
    y = (p.cumsum(axis=1) > draw.random((len(p), 1))).argmax(axis=1)
    spoilt = blend.tempered(p, 1 / truth)
    found = blend.temperature(spoilt, y)
    monkeypatch.setattr(blend, "NEWTON", 6)
    assert blend.temperature(spoilt, y) == pytest.approx(found, rel=1e-6)
