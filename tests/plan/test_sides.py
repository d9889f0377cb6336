"""Weights after the temperature: slopes are slopes, more steps are no worse, and folds move weight to where they are."""

import numpy as np
import pytest

from builder.plan import blend, folds, sides

from .arrays import World


@pytest.fixture(scope="module")
def world():
    return World(4, (0.6, 1.0, 1.4, 1.6), rows=900)


def tempered_loss(oof, y, weights):
    p = blend.pooled(oof, weights)
    return blend.logloss(blend.tempered(p, blend.temperature(p, y)), y)


def test_the_loss_is_that_of_the_blend_at_its_best_temperature(world):
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    side = sides.labelled(world.oof, world.y)
    assert side.loss(weights) == pytest.approx(tempered_loss(world.oof, world.y, weights), abs=1e-5)
    assert side.temperature(weights) == pytest.approx(blend.temperature(blend.pooled(world.oof, weights), world.y), rel=1e-2)


def test_the_slope_is_how_fast_the_loss_falls(world):
    weights, step = np.array([0.1, 0.2, 0.3, 0.4]), 1e-2
    slope = sides.labelled(world.oof, world.y).slope(weights)
    for family in range(4):
        shift = step * np.eye(4)[family]
        below, above = (tempered_loss(world.oof, world.y, weights + sign * shift) for sign in (-1, 1))
        assert slope[family] == pytest.approx((below - above) / (2 * step), abs=2e-3)


def test_the_bend_is_how_fast_the_slope_falls_where_the_blend_is_right(world):
    weights, step = np.array([0.1, 0.2, 0.3, 0.4]), 1e-2
    truth = blend.pooled(world.oof, weights).T / np.float32(len(world.y))
    side = sides.Side(world.oof.transpose(0, 2, 1).copy(), truth.astype(np.float32))
    bend = side.bend(weights, np.arange(4))
    for family in range(4):
        below, above = (side.slope(weights + sign * step * np.eye(4)[family]) for sign in (-1, 1))
        np.testing.assert_allclose(bend[family], (below - above) / (2 * step), atol=0.02 * abs(bend).max())


@pytest.mark.parametrize("seed", range(3))
def test_one_round_goes_most_of_the_way_to_the_best_weights(seed):
    world, start = World(seed, (1.0, 1.5, 1.2)), np.array([0.6, 0.2, 0.2])
    one, all_the_way = (sides.best([sides.labelled(world.oof, world.y)], start, rounds=rounds) for rounds in (1, 30))
    assert np.linalg.norm(one - all_the_way) < 0.2 * np.linalg.norm(start - all_the_way)


@pytest.mark.parametrize("seed", range(3))
def test_weights_after_the_temperature_lose_no_more_than_weights_before_it(seed):
    world = World(seed, (0.6, 1.0, 1.4, 1.6, 1.7))
    before = blend.convex_weights(world.oof, world.y)
    after = sides.best([sides.labelled(world.oof, world.y)], before)
    assert after.sum() == pytest.approx(1)
    assert after.min() >= 0
    assert tempered_loss(world.oof, world.y, after) <= tempered_loss(world.oof, world.y, before) + 1e-6


def test_no_single_step_away_from_the_best_weights_helps(world):
    found = sides.best([sides.labelled(world.oof, world.y)], np.full(4, 0.25), rounds=30)
    least = tempered_loss(world.oof, world.y, found)
    for family in range(4):
        for amount in (-0.02, 0.02):
            tried = np.maximum(found + amount * np.eye(4)[family], 0)
            assert tempered_loss(world.oof, world.y, tried / tried.sum()) >= least - 2e-5


def test_folds_draw_weight_to_their_family(world):
    full = np.full(4, 0.25)
    priced = folds.Folds(world.unlabelled, 1.0, full, 1.0)
    known = sides.labelled(world.oof[2:], world.y)
    alone = sides.best([known], np.full(2, 0.5))
    deep = sides.best([known, *priced.sides(np.array([0, 0, 3, 1]), [2, 3])], alone)
    assert deep[0] > alone[0]
    assert not list(priced.sides(np.array([0, 0, 1, 1]), [2, 3]))


def test_weights_that_are_all_taken_away_are_no_answer(world):
    found = sides.best([sides.labelled(world.oof[:1], world.y)], np.ones(1))
    assert found == pytest.approx([1.0])
