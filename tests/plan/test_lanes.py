"""Rules tried out: single folds are said to do what they would do alone, and folds that are all the same win nothing."""

from types import SimpleNamespace

import numpy as np
import pytest

from builder import metrics
from builder.plan import folds, planner
from builder.plan.course import Evidence
from builder.plan.judge import Judge
from builder.plan.lanes import BINS, Ground, Lane, increasing
from builder.plan.prices import Prices

from .arrays import World

LOGLOSS = metrics.get("logloss")
SHARE = 0.2


@pytest.fixture(scope="module")
def world():
    return World(5, few=folds.PLAYED)  # so many that rules are played with one choice of first folds


def trials(world, unlabelled):
    """Rules of every kind on every lane, and their judge."""
    _, facts = planner.calibrated(Evidence(world.oof, world.y, world.fold, unlabelled))
    budget = SHARE * world.full
    search, ground, full = planner._prepared(world.families, facts, Prices.of_families(world.families, 1000), equal=False)
    judge = Judge(ground, search, LOGLOSS)
    lanes = planner._lanes(search, ground, full, budget, LOGLOSS)
    return [lane.trial(rule, budget) for lane in lanes for rule in lane.rules(budget)], judge


def test_folds_that_are_all_the_same_win_nothing(world):
    same = np.repeat(world.unlabelled[:, :1], world.folds, axis=1)
    tried, judge = trials(world, same)
    assert {trial.effort.kind for trial in tried} == {"static", "queue", "tiers"}
    for trial in tried:
        assert judge._folds_add(trial, right=True) == pytest.approx(0, abs=1e-3)


def test_whom_single_folds_send_further_does_not_depend_on_other_folds(world):
    tried, judge = trials(world, world.unlabelled)
    search = judge.search
    other = search.folds._p.copy()
    for family, answers in enumerate(other):
        spare = [k for k in range(world.folds) if k != family % world.folds]
        answers[spare] = answers[spare][:, np.random.default_rng(family).permutation(other.shape[2])]
    search.folds = folds.Folds(other)
    changed = 0
    for trial in tried:
        again = Lane(trial.lane.name, trial.lane.chain, search, judge.ground)
        again.stops = trial.lane.stops
        played = again.trial(trial.effort, SHARE * world.full)
        np.testing.assert_array_equal(played.single, trial.single)
        changed += not np.array_equal(played.folded, trial.folded)
    assert changed > len(tried) / 2, "or nothing was tried"


def one_after_the_other(seconds, losses, ground=None):
    """A lane that takes families with these prices in turn, and has these losses."""
    known = {"available": (1,) * len(seconds), "prices": Prices(tuple(seconds)), "folds": None}
    search = SimpleNamespace(**known, loss=lambda held: losses[sum(held) - 1])
    return Lane("by hand", tuple(range(len(seconds))), search, ground)


def test_the_stop_that_goes_first_is_that_which_bends_the_curve_over_doublings_of_seconds_least(monkeypatch):
    """After 1, 2, 4, 8, 16 s; below the straight line between its neighbours: by 0.95, 0.1 and 0.45."""
    seconds, losses = [1.0, 1.0, 2.0, 4.0, 8.0], [10.0, 6.0, 3.9, 2.0, 1.0]
    assert one_after_the_other(seconds, losses).stops == (0, 1, 2, 3, 4)
    monkeypatch.setattr("builder.plan.lanes.LEVELS", 4)
    assert one_after_the_other(seconds, losses).stops == (0, 1, 3, 4)


def test_where_there_is_nothing_further_to_win_divergence_is_said_to_grow_with_doubt_and_to_be_one_in_the_mean(world):
    lane = one_after_the_other([1.0], [1.0], Ground(world.oof, world.y, world.fold % 2 == 0))
    said = np.interp(np.linspace(0, 1, 11), *lane.shape)
    assert (np.diff(said) > 0).all()
    assert said.mean() == pytest.approx(1)


def test_means_of_bins_increase_and_neighbours_that_do_not_are_one():
    values = np.arange(1.0, BINS + 1)
    values[[1, 2]] = 4.0, 1.5
    x, means = increasing(np.arange(BINS), values)
    assert x == (0.0, 1.5, *range(3, BINS))
    assert means == (1.0, 2.75, *range(4, BINS + 1))


def test_a_row_is_answered_by_what_was_fitted_on_the_other_half(world):
    half, both = world.fold == 0, frozenset((0, 1, 2))
    before = Ground(world.oof, world.y, half).answers(both)
    turned = np.where(half, (world.y + 1) % world.classes, world.y)
    after = Ground(world.oof, turned, half).answers(both)
    np.testing.assert_array_equal(after[half], before[half])
    assert not np.array_equal(after[~half], before[~half])
