"""The search: as good as looking at everything, never over the budget, and what it says about folds is what folds do."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.plan import blend, planner
from builder.plan import folds as folding
from builder.plan.prices import Prices
from builder.plan.search import Search, hull
from builder.plan.subsets import FLOOR, GAP, Subsets, informative

from .arrays import World
from .test_blend import families


def search_of(oof, y, seconds, folds=1, few=None):
    search = Search(Subsets(oof, y), None, Prices(tuple(seconds)), [folds] * len(oof))
    if few is not None:
        search._few = lambda: few
    return search


def affordable(seconds, budget):
    sets = itertools.chain.from_iterable(itertools.combinations(range(len(seconds)), k) for k in range(1, len(seconds) + 1))
    return [s for s in sets if sum(seconds[f] for f in s) <= budget]


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
def test_greedy_is_within_a_thousandth_of_everything(seed, share):
    oof, y = families(seed, 7, rows=300)
    seconds = np.geomspace(1, 30, 7)[np.random.default_rng(seed).permutation(7)]
    budget = max(share * seconds.sum(), seconds.min())
    found = search_of(oof, y, seconds, few=False).best(budget)
    losses = Subsets(oof, y)
    best = min(losses.losses(frozenset(s) for s in affordable(seconds, budget)))
    assert found.loss <= best + 1e-3


def test_a_chain_is_what_its_loss_says_and_grows_as_long_as_that_helps():
    world = World(2, (1.0, 1.5, 2.0), seconds=[1.0, 1.0, 1.0])
    search = search_of(world.oof, world.y, [1.0, 1.0, 1.0])
    for start in range(3):
        found = search.grow((start,))
        assert found.loss == search.loss(tuple(found.chain.count(f) for f in range(3)))
        assert found.chain[0] == start
        assert len(found.chain) > 1
        assert found.loss < search.loss(tuple(int(f == start) for f in range(3)))


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
def test_fast_losses_are_those_of_their_weights_and_no_worse_than_of_the_best_untempered_ones(seed, count):
    world = World(seed, np.random.default_rng(seed).uniform(0.5, 2.0, count), seconds=[1.0] * count)
    oof, y = world.oof, world.y
    weights = blend.convex_weights(oof, y)
    p = blend.pooled(oof, weights)
    exact = blend.logloss(blend.tempered(p, blend.temperature(p, y)), y)
    subsets = Subsets(oof, y)
    everything = frozenset(range(count))
    assert subsets.loss(everything) <= exact + 1e-3
    own = subsets.weights(everything)
    assert own.sum() == pytest.approx(1, abs=1e-5)
    told = blend.logloss(blend.tempered(blend.pooled(oof, own), subsets.temperature(everything)), y)
    assert subsets.loss(everything) == pytest.approx(told, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_weights_of_a_batch_are_as_near_to_the_best_ones_as_is_said(seed):
    world = World(seed, (1.0, 1.5, 2.0, 2.0, 2.1, 0.3), seconds=[1.0] * 6)
    exact = blend.logloss(blend.pooled(world.oof, blend.convex_weights(world.oof, world.y)), world.y)
    found = Subsets(world.oof, world.y, refined=0).weights(frozenset(range(6)))
    assert blend.logloss(blend.pooled(world.oof, found), world.y) - exact < GAP


def test_whatever_is_asked_first_of_a_subset_is_answered():
    oof, y = families(3, 3)
    both, known = frozenset((0, 2)), Subsets(oof, y)
    known.losses([both])
    assert Subsets(oof, y).temperature(both) == known.temperature(both)
    np.testing.assert_array_equal(Subsets(oof, y).weights(both), known.weights(both))
    np.testing.assert_array_equal(Subsets(oof, y).promise(both), known.promise(both))


def test_losses_do_not_depend_on_what_was_asked_with_them():
    oof, y = families(3, 5)
    subsets = [frozenset(s) for k in (1, 2, 3) for s in itertools.combinations(range(5), k)]
    together = Subsets(oof, y).losses(subsets)
    alone = [Subsets(oof, y).loss(subset) for subset in subsets]
    np.testing.assert_allclose(together, alone, atol=5e-4)


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 1.0))
def test_no_holding_costs_more_than_its_budget(seed, share):
    world = World(seed, (1.0, 1.5, 0.5, 2.0))
    prices = Prices(tuple(f.seconds for f in world.families), (0.1,) * 4, ({"decode": 1e-3},) * 4, rows=1000)
    search = Search(Subsets(world.oof, world.y), None, prices, [3] * 4)
    found = search.best(share * world.full)
    if found is None:
        assert share * world.full < min(prices.of([int(f == g) for g in range(4)]) for f in range(4))
    else:
        assert search.cost(found.chain) <= share * world.full


def test_a_finished_chain_holds_every_fold_of_whatever_has_weight():
    world = World(1, (1.0, 1.5, 2.0))
    search = Search(Subsets(world.oof, world.y), None, Prices.of_families(world.families, 0), [3] * 3)
    full = blend.convex_weights(world.oof, world.y)
    chain = search.finish((2,), full)
    assert chain[0] == 2
    assert {f: chain.count(f) for f in set(chain)} == dict.fromkeys(np.flatnonzero(full > 0).tolist(), 3)


def test_shared_seconds_are_paid_once_and_fixed_ones_are_spread():
    shared = ({"big": 0.5}, {"big": 0.5}, {})
    prices = Prices((1.0, 2.0, 3.0), (10.0, 0.0, 0.0), shared, rows=100)
    assert prices.of([1, 0, 0]) == pytest.approx(1.0 + 0.1 + 0.5)
    assert prices.of([2, 1, 1]) == pytest.approx(2 * 1.1 + 2.0 + 3.0 + 0.5)
    assert prices.marginal([1, 0, 0], 1) == pytest.approx(2.0)
    assert prices.marginal([0, 0, 1], 1) == pytest.approx(2.5)


@settings(max_examples=30)
@given(points=st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 9)), min_size=1, max_size=12))
def test_the_hull_goes_down_ever_more_slowly(points):
    points = [(float(i) + cost, loss) for i, (cost, loss) in enumerate(sorted(points))]
    stops = hull(points)
    slopes = [(points[a][1] - points[b][1]) / (points[b][0] - points[a][0]) for a, b in itertools.pairwise(stops)]
    assert stops[0] == 0
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(slopes))
    assert all(slope > 0 for slope in slopes)
    assert min(loss for _, loss in points) == points[stops[-1]][1]


def test_what_folds_win_is_seen_without_labels():
    """Within a factor of two of the truth, and a temperature near the best one for their average."""
    world = World(5, (1.5, 2.0), rows=3000, few=1000, test=4000, folds=5)
    weights = blend.convex_weights(world.oof, world.y)
    single = blend.temperature(blend.pooled(world.oof, weights), world.y)
    one = np.mean([blend.logloss(blend.tempered(blend.pooled(world.test[:, k], weights), single), world.truth) for k in range(5)])
    average = blend.pooled(world.test.mean(axis=1), weights)
    best = blend.temperature(average, world.truth)
    true = one - blend.logloss(blend.tempered(average, best), world.truth)
    won, heat = folding.Folds(world.unlabelled).gain(weights, np.array([5, 5]), single)
    assert true / 2 <= won <= true * 2
    assert abs(heat - best) < abs(single - best)


def test_what_folds_win_on_noisy_labels_is_seen_when_the_noise_is():
    """Skilled families look certain of rows whose label was drawn; there, folds win what no clean label would show."""
    world = World(6, (5.0, 5.5), rows=3000, few=1000, test=6000, folds=5)
    draw = np.random.default_rng(6)
    for labels in (world.y, world.truth):
        chosen = draw.random(len(labels)) < 0.1
        labels[chosen] = draw.integers(0, world.classes, chosen.sum())
    weights, counts = np.array([0.5, 0.5]), np.array([5, 5])
    pooled = blend.pooled(world.oof, weights)
    single, (noise, _) = blend.temperature(pooled, world.y), blend.label_noise(pooled, world.y)
    alone = [blend.logloss(blend.tempered(blend.pooled(world.test[:, k], weights), single), world.truth) for k in range(5)]
    average = blend.pooled(world.test.mean(axis=1), weights)
    true = np.mean(alone) - blend.logloss(blend.tempered(average, blend.temperature(average, world.truth)), world.truth)
    blind, seen = (folding.Folds(world.unlabelled, noise=share).gain(weights, counts, single)[0] for share in (0.0, noise))
    assert abs(seen - true) < abs(blind - true)
    assert seen == pytest.approx(true, rel=0.3)


def test_what_stands_for_the_truth_is_as_sure_as_it_is_right():
    """Weights are sought on rows that are harder than most; a temperature from these rows would be far too high."""
    world = World(3, (2.0, 2.5), rows=8000, few=1000, test=1000)
    _, facts = planner.calibrated(world.evidence)
    search, _, full = planner._prepared(world.families, facts, Prices.of_families(world.families, 0), equal=False)
    p = blend.pooled(world.test.mean(axis=1), full)
    right = (p.argmax(axis=1) == world.truth).mean()
    assert search.folds.truth.max(axis=1).mean() == pytest.approx(right, abs=0.03)


def test_weights_for_several_folds_turn_to_what_folds_help_most():
    """A noisy family, cheap to average, and a calm one; with one fold each, or without unlabelled rows, nothing moves."""
    draw = np.random.default_rng(0)
    world = World(4, (1.0, 1.5), rows=1500, few=400, folds=5)
    noisy = np.exp(np.log(world.unlabelled[0]) + draw.normal(0, 1.5, world.unlabelled[0].shape))
    unlabelled = np.stack([noisy / noisy.sum(axis=-1, keepdims=True), np.repeat(world.unlabelled[1][:1], 5, axis=0)])
    subsets, both = Subsets(world.oof, world.y), frozenset((0, 1))
    prices = Prices.of_families(world.families, 0)
    search = Search(subsets, folding.Folds(unlabelled, full=subsets.weights(both)), prices, [5, 5])
    assert search.weights((5, 5))[0][0] > subsets.weights(both)[0] + 0.01
    assert search.weights((5, 5))[0].sum() == pytest.approx(1, abs=1e-5)
    for still in (search.weights((1, 1)), Search(subsets, None, prices, [5, 5]).weights((5, 5))):
        np.testing.assert_allclose(still[0], subsets.weights(both))


def test_cheap_first_keeps_the_units_and_pays_for_the_cheap_ones_first():
    world = World(1, (1.0, 1.5, 2.0), seconds=[3.0, 1.0, 2.0])
    search = Search(Subsets(world.oof, world.y), None, Prices.of_families(world.families, 0), [3] * 3)
    assert search.cheap_first((0, 0, 2, 1, 0, 1)) == (1, 2, 0, 1, 0, 0)


def test_one_fold_wins_nothing_and_more_folds_win_more():
    world = World(2, (1.0, 2.0))
    folds = folding.Folds(world.unlabelled)
    weights = np.array([0.5, 0.5])
    wins = [folds.gain(weights, np.array([k, k]), 1.0)[0] for k in (1, 2, 3)]
    assert wins[0] == 0
    assert wins[1] < wins[2]


@pytest.mark.parametrize("entropy", [0.4, 0.6, 0.9])
def test_a_temperature_gives_the_entropy_that_was_asked_for(entropy):
    p = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    cooled = blend.tempered(p, folding.matched(p, entropy))
    assert folding.cross_entropy(cooled, cooled) == pytest.approx(entropy, abs=1e-3)


def test_few_rows_tell_as_much_as_all_when_they_are_the_right_ones():
    """An easy problem: the drawn rows estimate the difference of two families better than as many rows of a blind draw."""
    world = World(0, (5.0, 5.5), rows=8000)
    loss = -np.log(world.oof[:, np.arange(8000), world.y])
    truth = float((loss[0] - loss[1]).mean())
    rows, importance = informative(world.oof, world.y, 800)
    assert len(rows) <= 840
    assert importance.sum() == pytest.approx(1)
    ours = float((loss[0] - loss[1])[rows] @ importance)
    blind = [float((loss[0] - loss[1])[draw].mean()) for draw in np.random.default_rng(0).integers(0, 8000, (50, 800))]
    assert abs(ours - truth) < np.std(blind)


def test_all_rows_are_taken_when_there_are_few():
    oof, y = families(0, 2)
    rows, importance = informative(oof, y, 500)
    np.testing.assert_array_equal(rows, np.arange(len(y)))
    np.testing.assert_allclose(importance, 1 / len(y))


@pytest.mark.parametrize("limit", [7, 60, 299])
def test_rows_are_drawn_by_what_is_lost_on_them_as_many_as_were_asked_for(limit):
    world = World(3, (1.0, 1.5, 2.0), rows=300)
    rows, importance = informative(world.oof, world.y, limit)
    assert len(rows) == limit
    best = min(world.oof, key=lambda p: blend.logloss(p, world.y))
    loss = -np.log(best[np.arange(300), world.y].astype(float))
    perhaps = importance > importance.min() * (1 + 1e-9)
    by_chance = (importance * (loss + FLOOR * loss.mean())[rows])[perhaps]
    np.testing.assert_allclose(by_chance, by_chance[0], rtol=1e-4)


@pytest.mark.parametrize("few", [True, False])
def test_the_last_second_of_a_budget_may_be_spent(few):
    world = World(0, (1.0, 2.0), rows=60)
    search = search_of(world.oof, world.y, [1.0, 3.0], few=few)
    assert search.best(1.0).chain == (0,)
    assert search.best(3.0).chain == (1,)
    assert set(search._all(3.0)) == {(1, 0), (0, 1)}


def test_where_there_are_few_holdings_greedy_is_not_trusted():
    """A cheap family, always the next one by density, leaves no seconds for the third of the better ones."""
    world = World(0, (2.0, 2.0, 2.0, 1.8), rows=300)
    search = search_of(world.oof, world.y, [10.0, 10.0, 10.0, 1.0])
    found = search.best(30.0)
    assert min(search.grow(seed, 30.0).loss for seed in search._seeds(30.0)) > found.loss + 1e-3, "or there was nothing to find"
    assert found.chain == (0, 1, 2)
    assert found.loss == min(search.loss(holding) for holding in search._all(30.0))


def test_every_pair_is_a_seed_of_as_many_families_as_that_is_said_of_and_none_of_more(monkeypatch):
    monkeypatch.setattr("builder.plan.search.PAIRS", 3)
    for count, longest in ((3, 2), (4, 1)):
        world = World(0, (1.0,) * count, rows=60)
        seeds = list(search_of(world.oof, world.y, [1.0] * count)._seeds(9.0))
        assert {frozenset(seed) for seed in seeds if len(seed) == 2} == {
            frozenset(pair) for pair in itertools.combinations(range(count), 2) if longest == 2
        }
        assert {seed for seed in seeds if len(seed) == 1} == {(f,) for f in range(count)}


def test_folds_that_no_row_can_price_come_by_weight_per_second():
    world = World(0, (2.0, 2.0), rows=120)
    search = Search(Subsets(world.oof, world.y, equal=True), None, Prices((2.0, 1.0)), [3, 3])
    assert search.finish((0, 1), np.array([0.5, 0.5])) == (0, 1, 1, 1, 0, 0)


@pytest.mark.parametrize(("seed", "skill", "harm", "taken"), [(3, 1.5, 0.02, True), (0, 1.0, 0.25, False)])
def test_a_family_with_weight_is_taken_into_seconds_to_spare_when_it_costs_next_to_nothing(seed, skill, harm, taken):
    world = World(seed, (2.0, skill), rows=300, few=10, test=10)
    search = Search(Subsets(world.oof, world.y, equal=True), None, Prices((1.0, 1.0)), [1, 1])
    assert search.loss((1, 1)) / search.loss((1, 0)) == pytest.approx(1 + harm, abs=0.01)
    assert search.finish((0,), np.array([0.5, 0.5])) == ((0, 1) if taken else (0,))


def test_a_family_of_which_no_fold_is_held_says_nothing_whatever_its_weight():
    world = World(2, (1.0, 1.5, 2.0))
    folds, counts = folding.Folds(world.unlabelled), np.array([3, 2, 0])
    without, strange = np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.5, 0.9])
    np.testing.assert_array_equal(folds.pooled(strange, counts), folds.pooled(without, counts))
    assert folds.gain(strange, counts, 1.0) == folds.gain(without, counts, 1.0)


def test_one_fold_of_a_family_is_never_at_odds_with_others():
    world = World(2, (1.0, 2.0))
    assert folding.Folds(world.unlabelled).unrest.min() > 0
    assert folding.Folds(world.unlabelled[:, :1]).unrest.tolist() == [0, 0]
