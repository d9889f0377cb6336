"""Rules tried out: single folds are said to do what they would do alone, and folds that are all the same win nothing."""

import numpy as np
import pytest

from builder import metrics
from builder.plan import folds, planner
from builder.plan.course import Evidence
from builder.plan.judge import Judge
from builder.plan.lanes import Lane
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
