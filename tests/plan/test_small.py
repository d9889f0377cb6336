"""The planner's small parts, each against a case that can be done by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from builder import metrics
from builder.errors import UserError
from builder.plan import asked, baseline, blend, blending, blends, choosing, curve, explain
from builder.plan.choosing import Workload
from builder.plan.course import Course, Evidence, Point, Step
from builder.plan.prices import Family
from builder.runtime.contract import Effort, Head

from .arrays import World

LOGLOSS, ACCURACY = metrics.get("logloss"), metrics.get("accuracy")


def test_the_fixed_list_is_best_first_and_pays_for_whole_families():
    world = World(3, (0.5, 2.5, 1.5), rows=300)
    assert baseline.best_first(world.evidence, LOGLOSS) == [1, 2, 0]
    assert baseline.best_first(world.evidence, ACCURACY) == [1, 2, 0]
    one, both = 3 * 2e-3 * 100, 3 * (2e-3 + 4e-3) * 100
    points = baseline.points(world.families, world.evidence, LOGLOSS, [0.01, one, both], 100)
    assert [point.budget_s for point in points] == [one, both]
    assert points[0].score == pytest.approx(LOGLOSS(world.y, world.oof[1]))
    assert points[1].score == pytest.approx(LOGLOSS(world.y, world.oof[1:].mean(axis=0)))
    assert np.isnan([points[0].low, points[0].high]).all()


def test_a_family_that_cannot_be_scored_comes_last():
    world = World(3, (0.5, 2.5), rows=60)
    oof = world.oof.copy()
    oof[1] = np.nan
    evidence = Evidence(oof, world.y, world.fold, world.unlabelled)
    assert baseline.best_first(evidence, LOGLOSS) == [0, 1]


def test_greedy_selection_judges_the_mean_of_what_it_has_taken():
    y = np.array([0, 0, 0, 1, 1, 1])
    wrong_in_1 = np.array([0.9, 0.9, 0.2, 0.3, 0.3, 0.3])
    wrong_in_2 = np.array([0.3, 0.3, 0.9, 0.3, 0.3, 0.9])
    bad = 1 - wrong_in_1
    oof = np.stack([np.stack([p, 1 - p], axis=1) for p in (bad, wrong_in_1, wrong_in_2)])
    assert blend.caruana(oof, y, ACCURACY, 2) == [1]
    assert blend.caruana(oof, y, LOGLOSS, 6) == [1, 2]
    assert blend._scored(ACCURACY, y, oof[1]) == pytest.approx(5 / 6)
    assert blend._scored(LOGLOSS, y, oof[1]) == pytest.approx(LOGLOSS(y, oof[1]))


@pytest.mark.parametrize(("sharpness", "found"), [(0.125, 0.25), (0.5, 0.5), (1.0, 1.0), (2.0, 2.0), (8.0, 4.0)])
def test_a_temperature_undoes_what_sharpened_the_answers_and_stays_between_a_quarter_and_four(sharpness, found):
    draw = np.random.default_rng(5)
    p = draw.dirichlet((1.0, 1.0, 1.0), 40_000)
    y = (draw.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    raised = np.maximum(p, 1e-12) ** sharpness
    assert blend.temperature(raised / raised.sum(axis=1, keepdims=True), y) == pytest.approx(found, rel=0.05)


def test_a_score_that_is_no_number_is_not_known():
    assert [blending.known(score) for score in (None, float("nan"), float("inf"), 0.5)] == [None, None, None, 0.5]


@pytest.mark.parametrize("kind", ["auto", "mean", "weighted"])
def test_blends_that_the_planner_fits_itself_keep_its_prefixes(kind):
    step = SimpleNamespace(weights=(1.0,), temperature=1.5, score=0.5, shift=(), shares=())
    course = SimpleNamespace(predicted=True, effort="by rank", steps=(step,))
    found = blending.blending(kind, course, None, LOGLOSS)
    assert (found.kind, found.references) == ("weighted", {})
    assert found.effort == (None if kind == "weighted" else "by rank")
    assert [(each.weights, each.temperature, each.score) for each in found.prefixes] == [((1.0,), 1.5, 0.5)]


@pytest.mark.parametrize("kind", blends.KINDS)
def test_an_honest_answer_knows_nothing_of_its_own_fold(kind):
    world = World(2, (1.0, 1.8), rows=90)
    both = frozenset({0, 1})
    before = blends._honest(kind, world.oof, world.y, world.fold, [both])[both]
    assert np.isfinite(before).all()
    np.testing.assert_allclose(before.sum(axis=1), 1)
    turned = np.where(world.fold == 0, (world.y + 1) % 3, world.y)  # what is true of fold 0 is told to the others only
    after = blends._honest(kind, world.oof, turned, world.fold, [both])[both]
    assert after[world.fold == 0].tobytes() == before[world.fold == 0].tobytes()
    assert not np.array_equal(after[world.fold == 1], before[world.fold == 1])


def test_ranks_below_all_that_is_known_are_no_preference():
    known = (((0.5, 0.6),) * 2,)
    terms = blends._Terms("rank", np.full((1, 1, 2), 0.1), known)
    assert terms.mix(blends.Blend("rank", (1.0,), 1.0, references=known, units=1)).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("weight", [5000.0, -5000.0])
def test_a_stack_of_large_weights_neither_overflows_nor_vanishes(weight):
    terms = blends._Terms("stack", np.array([[[0.5, 0.4, 0.1]]]), ())
    found = terms.mix(blends.Blend("stack", (weight,), 1.0, shift=(0.0, 0.0, 0.0), units=1))
    np.testing.assert_allclose(found, [[1, 0, 0] if weight > 0 else [0, 0, 1]], atol=1e-12)


def machine(accelerator="cpu", cores=4, devices=0):
    return SimpleNamespace(accelerator=accelerator, cores=cores, devices=devices)


def config(limit=100.0, reserve=0.05, test_rows=0):
    return SimpleNamespace(
        competition=SimpleNamespace(limit=limit, test_rows=test_rows), inference=SimpleNamespace(reserve=reserve)
    )


def test_the_workload_is_the_machines_and_the_competitions():
    assert choosing.workload(config(test_rows=70), machine(), 3, 50) == Workload(70, 4, 95.0)
    assert choosing.workload(config(reserve=1.0, test_rows=7), machine("cuda", 4, 2), 3, 50) == Workload(7, 2, 99.0)
    assert choosing.workload(config(reserve=500.0, test_rows=7), machine("cuda", 4, 0), 3, 50) == Workload(7, 1, 0.0)
    trained = choosing.workload(config(), machine(), 3, 50)
    assert (trained.rows, "as many as training rows" in trained.note) == (50, True)
    visible = choosing.workload(config(), machine(), 60, 50)
    assert (visible.rows, "as many as are visible" in visible.note) == (60, True)
    assert choosing.workload(config(), machine(), 0, 0).rows == 1


def test_assumed_rows_are_those_that_the_cheapest_unit_does_in_half_of_the_time():
    families = [Family("cheap", 0.5, (0, 1), fixed=2.0), Family("dear", 5.0, (0, 1))]
    work = Workload(1000, 2, 24.0, "assumed")
    assert choosing._most(families, work, 12.0) == 40
    assert choosing._what_fits(families, work).rows == 40
    assert choosing._what_fits(families, Workload(7, 2, 24.0, "assumed")).rows == 7
    assert choosing._what_fits(families, Workload(1000, 2, 1.0, "assumed")).rows == 1
    told = choosing._too_much(families, work)
    assert isinstance(told, UserError)
    assert "at most 88 rows, for one fold of cheap at 500 ms per sample" in str(told)
    assert "1000 rows, 24 s before the reserve, 2 workers" in str(told)


def test_a_blend_that_does_not_fit_says_what_is_answered():
    words = {
        "several targets": [Head("a", "softmax", ("x", "y")), Head("b", "softmax", ("x", "y"))],
        "labels that are there or not": [Head("", "sigmoid", ("x", "y"))],
        "numbers": [Head("", "identity", ("x",))],
    }
    for what, heads in words.items():
        with pytest.raises(UserError, match=f'"vote" is no blend of {what}$|"vote" is no blend of {what}\n'):
            asked.refuse_unfit("vote", heads)
    assert [asked._told(score) for score in (None, 0.123456)] == ["unknown", "0.12346"]


def test_times_are_said_as_people_say_them():
    said = {0.5: "500 ms", 1: "1 s", 60: "1 min", 90: "90 s", 120: "2 min", 3600: "1 h", 5400: "90 min", 7200: "2 h"}
    assert {seconds: curve.minutes(seconds) for seconds in said} == said


def test_ticks_are_round_and_few_and_never_only_one():
    assert curve._ticks(1.0, 5.0) == [1, 2, 5]
    assert curve._ticks(0.001, 0.02) == [0.001, 0.002, 0.005, 0.01, 0.02]
    assert curve._ticks(0.05, 2.0) == [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    assert curve._ticks(3.0, 4.0) == [3.0, 4.0]
    many = curve._ticks(0.001, 1e5)
    assert 1 < len(many) <= curve.MOST_TICKS
    assert many == sorted(many)


def test_ticks_are_times_that_people_count_in():
    assert [curve.minutes(tick) for tick in curve._ticks(60, 1200)] == ["1 min", "2 min", "5 min", "10 min", "20 min"]
    assert [curve.minutes(tick) for tick in curve._ticks(3600, 28800)] == ["1 h", "2 h", "4 h", "8 h"]


def test_as_many_ticks_as_there_may_be_are_all_kept():
    assert curve._ticks(0.001, 0.5) == list(curve.TICKS_S[: curve.MOST_TICKS])


def test_a_bad_rival_takes_at_most_half_of_the_picture():
    point = lambda score, low=None, high=None: SimpleNamespace(  # noqa: E731
        score=score, low=score if low is None else low, high=score if high is None else high
    )
    own = [point(0.8, 0.78, 0.82), point(0.9, 0.88, 0.92)]
    low, high = curve._bounds(own, [point(0.1)])
    assert low == pytest.approx(0.78 - 0.14 - 0.05 * 0.28)
    assert high == pytest.approx(0.92 + 0.05 * 0.28)
    assert curve._bounds(own, [point(0.75)])[0] == pytest.approx(0.75 - 0.05 * 0.17)
    assert curve._bounds([point(float("nan"))], []) == (0.0, 0.0)


def test_a_blend_that_was_asked_for_is_told_with_its_own_score_at_the_end_of_the_course():
    world = World(2, (1.0, 1.6), rows=120)
    steps = (Step(0, 0, (1.0,), 1.0, 1.0, None, 1e-3, 0.0), Step(1, 0, (0.5, 0.5), 1.0, 0.9, 0.1, 2e-3, 0.0))
    course = Course(tuple(world.families), (1.0, 1.0), steps, Effort("static", (2,)), notes=("before",))
    told, references = asked.reblended(course, world.evidence, "geometric", LOGLOSS)
    assert references == ()
    first, last = (step.score for step in told.steps)
    assert f"{first:.5f}" != f"{last:.5f}"
    mean = blends.cross_fitted("weighted", world.oof, world.y, world.fold, LOGLOSS).score
    words = f"geometric, as asked: logloss {last:.5f} with one fold of each family, a weighted mean {mean:.5f}; "
    assert told.notes == ("before", words + "the curve is the weighted mean's")
    unscored = replace(course, steps=tuple(replace(step, score=None) for step in steps))
    same, _ = asked.reblended(unscored, world.evidence, "geometric", LOGLOSS)
    assert (same.steps, same.notes[-1]) == (unscored.steps, "no predictions that a geometric could be fitted on")


def test_a_curve_in_characters_says_its_score_at_four_heights():
    points = [Point(budget, score, score, score) for budget, score in ((1.0, 0.5), (10.0, 0.8), (100.0, 0.95))]
    lines = curve.terminal(points, 50.0, "accuracy").splitlines()
    said = [(at, line.split()[0]) for at, line in enumerate(lines[: curve.HEIGHT]) if line[:1] != " "]
    assert [score for _, score in said] == ["0.9500", "0.8000", "0.6500", "0.5000"]
    assert [at for at, _ in said] == [0, 4, 7, 11]


@pytest.mark.parametrize("reach", [2.4e-4, 2.4e-5, 2.4e-6])
def test_the_four_scores_of_a_drawing_are_four_however_close_they_are(reach):
    points = [Point(budget, score, score, score) for budget, score in ((1.0, 0.9 - reach), (10.0, 0.9))]
    lines = curve.terminal(points, 5.0, "accuracy").splitlines()
    said = [line.split()[0] for line in lines[: curve.HEIGHT] if line[:1] != " "]
    assert len(said) == curve.LABELS
    assert said == sorted(set(said), reverse=True)


class Ground:
    """Three families: a good one, a bad one, and one that always says the same."""

    oof = np.array([[[0.9], [0.1], [0.8], [0.2]], [[0.4], [0.5], [0.6], [0.7]], [[0.5], [0.5], [0.5], [0.5]]])

    def answers(self, subset):
        return self.oof[sorted(subset)].mean(axis=0)

    def without(self, subset, family):
        return self.answers(subset - {family} or subset)


def test_families_are_told_with_what_they_win_and_all_that_they_cost():
    truth = np.array([1.0, 0.0, 1.0, 0.0])
    marks = explain.Marks(ACCURACY, lambda p: float(((p[:, 0] > 0.5) == truth).mean()), lambda p: p[:, 0])
    families = [Family("good", 0.5, (0, 1), fixed=3.0), Family("bad", 1.0, (0, 1)), Family("flat", 0.1, (0, 1, 2))]
    good, bad, flat = explain.tell(families, (2, 1, 0), (1, 0, 0), Ground(), marks, 10)
    assert (good.kept, good.score, good.seconds) == (2, 1.0, 2 * (0.5 * 10 + 3.0))
    assert good.text.startswith("kept (2 of 2 folds): accuracy 1.0000 alone")
    assert bad.text.startswith("weak but kept (1 of 2 folds, for seconds to spare): accuracy 0.5000 alone")
    assert (flat.kept, flat.seconds, flat.rho) == (0, 3.0, 1.0)
    assert flat.text.startswith("weak, dropped: accuracy 0.5000 alone, rho 1.00, ")
    rho = np.corrcoef(Ground.oof[0, :, 0], Ground.oof[1, :, 0])[0, 1]
    assert (good.rho, bad.rho) == (pytest.approx(rho), pytest.approx(rho))
    unused = explain.tell(families, (0, 2, 0), (0, 2, 0), Ground(), marks, 10)[0]
    assert unused.text.startswith("dropped: accuracy 1.0000 alone")


def told(*held):
    """What is told of the three families when so many folds of each are in the plan."""
    truth = np.array([1.0, 0.0, 1.0, 0.0])
    marks = explain.Marks(ACCURACY, lambda p: float(((p[:, 0] > 0.5) == truth).mean()), lambda p: p[:, 0])
    return explain.tell([Family(name, 1.0, (0, 1)) for name in ("good", "bad", "flat")], held, held, Ground(), marks, 10)


def test_a_family_wins_what_the_score_would_lose_without_it_or_would_win_with_it():
    assert [each.gain for each in told(2, 1, 0)] == [0.5, 0.0, 0.0], "both are right in 4 of 4, the bad one alone in 2"
    assert [each.gain for each in told(0, 2, 0)] == [0.5, 0.0, 0.0], "the good one, dropped, would make 4 of 2"


def test_a_family_that_is_alone_in_a_plan_is_told_to_win_nothing_over_the_others():
    good = told(2, 0, 0)[0]
    assert (good.gain, good.kept) == (0.0, 2)
    assert ", +0.0000 for " in good.text


def test_the_likeness_to_others_that_always_say_the_same_is_told_as_one():
    good, _, flat = told(1, 0, 1)
    assert (good.rho, flat.rho) == (1.0, 1.0)
