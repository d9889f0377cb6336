"""What a plan says in numbers: trust in folds, merits, intervals, ranges of curves, stops; and probabilities at their ends."""

from types import SimpleNamespace

import numpy as np
import pytest

from builder import metrics
from builder.plan import blend, folds, general, labelled, planner, playing
from builder.plan.course import Evidence
from builder.plan.judge import RESAMPLED, RIGHT, Judge
from builder.plan.lanes import BEYOND, Lane
from builder.plan.prices import Family, Prices
from builder.plan.search import hull
from builder.runtime.contract import Effort

from .arrays import World
from .test_general import World as Heads

ACCURACY = metrics.get("accuracy")


@pytest.fixture(scope="module")
def judged():
    """A judge, the lanes of a world of many prices, and what a tenth of everything costs."""
    world = World(8, tuple(np.linspace(0.5, 2.5, 8)), seconds=list(np.geomspace(1e-3, 3e-2, 8)), folds=4, few=300)
    _, facts = planner.calibrated(world.evidence)
    search, ground, full = planner._prepared(world.families, facts, Prices.of_families(world.families, 1000), equal=False)
    budget = 0.1 * world.full
    return Judge(ground, search, ACCURACY), planner._lanes(search, ground, full, budget, ACCURACY), budget


def test_trust_is_one_where_the_mean_of_families_is_as_right_as_it_says():
    draw = np.random.default_rng(0)
    oof = draw.dirichlet(np.ones(3), (2, 20_000))
    mix = oof.mean(axis=0)
    y = (draw.random((20_000, 1)) > mix.cumsum(axis=1)).sum(axis=1).clip(max=2)
    assert folds.trust(oof, y, np.array([0.5, 0.5]), 1.0) == pytest.approx(1, abs=0.05)


def test_a_merit_is_made_of_both_parts_each_with_what_folds_add(judged):
    judge, lanes, budget = judged
    trials = [lane.trial(Effort("static", tuple(stop + 1 for stop in lane.stops)), budget) for lane in lanes]
    loss = blend.logloss(judge.ground.everything, judge.ground.y)
    added = 0.0
    for trial in trials:
        parts = [judge._rows(trial.answers, right=right).mean() + judge._folds_add(trial, right=right) for right in (False, True)]
        assert judge.merit(trial) == pytest.approx(parts[0] / loss + RIGHT * parts[1])
        added += abs(judge._folds_add(trial, right=True) - judge._folds_add(trial, right=False))
    assert added > 1e-4, "or the parts could be taken for each other"


def test_the_interval_of_an_accuracy_is_that_of_a_share(judged):
    judge, lanes, budget = judged
    trial = lanes[0].trial(Effort("static", (1,)), budget)
    count, share = len(judge.ground.y), ACCURACY(judge.ground.y, trial.answers)
    expected = 1.645 * np.sqrt(share * (1 - share) / count)
    assert count < RESAMPLED
    low, high = judge.margin(trial)
    assert low == pytest.approx(-expected, rel=0.35)
    assert high == pytest.approx(expected, rel=0.35)


def test_a_lane_with_many_stops_keeps_its_ends_and_few_between(judged, monkeypatch):
    monkeypatch.setattr("builder.plan.lanes.LEVELS", 5)
    judge, lanes, _ = judged
    chain = max((lane.chain for lane in lanes), key=len)
    lane = Lane("bent", chain, judge.search, judge.ground)
    every = hull(zip(lane.costs, lane.losses, strict=True))
    kept = [stop for stop in lane.stops if stop in every]
    assert len(every) > 5, "or nothing had to go"
    assert len(kept) == 5
    assert (kept[0], kept[-1]) == (every[0], every[-1])
    assert len(lane.stops) <= 5 + BEYOND


def test_the_curve_of_several_heads_goes_from_the_first_unit_to_everything():
    world = Heads("softmax", (1.0, 2.0, 3.0), heads=2)
    evidence = Evidence(world.oof, world.y, world.fold)
    budget = 0.4 * sum(family.seconds * 3 for family in world.families) * 1000
    metric = metrics.of("logloss", world.heads)
    course = general.course(world.families, evidence, world.heads, metric, budget_s=budget, rows=1000)
    whole = sum(step.seconds for step in course.steps) * 1000
    first = course.steps[0].seconds * 1000 + course.steps[0].fixed
    assert course.predicted[0].budget_s == pytest.approx(first)
    assert course.predicted[-1].budget_s >= whole


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_labels_that_a_family_is_certain_of_can_be_averaged(p):
    oof = np.stack([np.full((8, 2), p), np.full((8, 2), 0.5)])
    y = np.tile([[0, 1], [1, 0]], (4, 1))
    units, rows = [(0, 0), (1, 0)], np.arange(8) % 2
    made = labelled.prefix_tables("geometric", oof, y, units, rows, metrics.get("mean(auc)"))
    assert np.isfinite([table.temperature for table in made]).all()
    mean = labelled._mean("geometric", oof, [0, 1], ())
    assert (mean[0, 0] > 0.5) == (p > 0.5)
    assert 0 < mean.min() <= mean.max() < 1


def test_scores_of_two_folds_are_those_of_the_other_fold(monkeypatch):
    """Folds that are no halves: the first two rows, and the rest."""
    seen = []
    monkeypatch.setattr(labelled, "_temperature", lambda *given: seen.append(len(given[2])) or 1.0)
    oof, y = np.full((1, 8, 1), 0.5), np.arange(8)[:, None] % 2
    labelled._score("geometric", oof, y, [0], np.array([0, 0, 1, 1, 1, 1, 1, 1]), metrics.get("auc"))
    assert seen == [6, 2]


def test_the_curve_of_classes_begins_with_one_unit_for_all_rows():
    world = World(3, (1.0, 2.0))
    course = planner.course(world.families, world.evidence, ACCURACY, budget_s=0.5 * world.full * 800, rows=800)
    assert course.predicted[0].budget_s == pytest.approx(800 * course.steps[0].seconds, rel=1e-6)
    assert course.predicted[-1].budget_s == pytest.approx(800 * sum(step.seconds for step in course.steps), rel=1e-6)


def test_what_a_further_fold_wins_is_what_the_score_falls_by():
    world = World(4, (2.0,), folds=4, rows=2000, few=500)
    metric = metrics.get("logloss")
    course = planner.course(world.families, world.evidence, metric, budget_s=world.full * 800, rows=800)
    assert len(course.steps) == 4
    np.testing.assert_allclose([step.gain for step in course.steps[1:]], -np.diff([step.score for step in course.steps]))
    assert min(step.gain for step in course.steps[1:]) > 0


def test_what_is_shared_is_paid_once_where_nothing_can_be_weighed():
    families = [Family(f"m{f}", 1e-3 * (f + 1), (0, 1), 0.5, {"decode": 2e-3}) for f in range(2)]
    steps = planner.unweighed(families, ()).steps
    assert [step.seconds for step in steps] == pytest.approx([3e-3, 2e-3, 1e-3, 2e-3])


def test_every_prefix_before_the_first_stop_is_a_stop_where_seconds_run_short():
    effort = playing.reachable(Effort("queue", (3, 5), 1, (2.0,), (0.0, 1.0), (0.5, 2.0)))
    assert effort.stops == (1, 2, 3, 5)
    assert effort.common == 3
    assert effort.worth == (0.0, 0.0, 2.0)


def test_tiers_are_tried_on_the_lane_that_is_best_with_simple_rules(judged, monkeypatch):
    monkeypatch.setattr("builder.plan.planner.TIERED", 1)
    judge, lanes, budget = judged
    tried, best = planner._trials(lanes[:3], judge, budget), {}
    for trial in tried:
        if trial.effort.kind != "tiers":
            best[trial.lane.name] = max(best.get(trial.lane.name, -np.inf), judge.merit(trial))
    assert len(best) == 3
    assert {trial.lane.name for trial in tried if trial.effort.kind == "tiers"} == {max(best, key=best.get)}
    assert {trial.lane.name for trial in tried if trial.effort.kind == "queue"} == set(best)


def test_a_score_that_there_is_on_no_rows_has_no_interval():
    ground = SimpleNamespace(y=np.zeros(8, int))
    trial = SimpleNamespace(answers=np.full((8, 2), 0.5))
    assert np.isnan(Judge(ground, None, metrics.get("auc")).margin(trial)).all()


def test_rows_on_which_one_of_two_has_no_score_tell_nothing_of_their_difference():
    varied = metrics.Metric("varied", True, lambda _, p: float(p[:, 0].mean() if np.ptp(p) else np.nan))
    judge = Judge(SimpleNamespace(y=np.arange(8) % 2), None, varied)
    some, none = (SimpleNamespace(answers=np.array([[a, 1 - a]] * 4 + [[b, 1 - b]] * 4)) for a, b in ((0.2, 0.7), (0.5, 0.5)))
    assert [judge._told_error(*pair) for pair in ((some, none), (none, some), (none, none))] == [np.inf] * 3
    assert 0 <= judge._told_error(some, some) < np.inf


def test_rows_of_one_fold_are_judged_in_two_halves():
    draw = np.random.default_rng(0)
    y = (draw.random((30, 2)) < 0.4).astype(int)
    oof = 1 / (1 + np.exp(-(draw.normal(0, 1, (2, 30, 2)) + 2 * y - 1)))
    known, units, halves = metrics.get("mean(logloss)"), [(0, 0), (1, 0)], np.arange(30) % 2
    told = [labelled.prefix_tables("geometric", oof, y, units, folds, known) for folds in (np.zeros(30), halves)]
    assert told[0] == told[1]
    assert None not in [table.score for table in told[0]]
