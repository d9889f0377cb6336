"""A whole plan on arrays: what it promises about prefixes, budgets and strangers, and that it beats the list made by hand."""

import numpy as np
import pytest

from builder import metrics
from builder.errors import UserError
from builder.plan import baseline, blend, planner, playing
from builder.plan.course import Evidence

from .arrays import World

LOGLOSS, ACCURACY = metrics.get("logloss"), metrics.get("accuracy")
N = 800


def planned(world, share=0.3, *, metric=LOGLOSS, evidence=None, equal=False):
    return planner.course(
        world.families, evidence or world.evidence, metric, budget_s=share * world.full * N, rows=N, equal=equal
    )


@pytest.fixture(scope="module")
def world():
    return World(3, (0.7, 1.0, 1.5, 1.7, 2.0))


@pytest.fixture(scope="module")
def course(world):
    return planned(world)


def test_every_prefix_is_a_whole_answer(course):
    for length, step in enumerate(course.steps, start=1):
        assert len(step.weights) == length
        assert sum(step.weights) == pytest.approx(1, abs=1e-9)
        assert min(step.weights) >= 0
        assert step.temperature > 0
    units = [(step.family, step.fold) for step in course.steps]
    assert len(set(units)) == len(units)


def test_the_first_stop_and_the_budget_hold_at_every_budget(world, course):
    for share in (0.05, 0.2, 0.5, 1.0):
        budget = share * world.full * N
        played = playing.play(course, world.test, budget)
        bill = np.cumsum([step.seconds for step in course.steps])
        assert played.seconds == pytest.approx(bill[played.lengths - 1].sum())
        assert played.seconds <= budget
        assert np.isfinite(played.answers).all()
        np.testing.assert_allclose(played.answers.sum(axis=1), 1, atol=1e-5)


def test_an_answer_is_the_prefix_that_it_says(world, course):
    played = playing.play(course, world.test, 0.3 * world.full * N)
    for length in np.unique(played.lengths):
        step, rows = course.steps[length - 1], played.lengths == length
        pooled = sum(
            w * blend.tempered(world.test[unit.family, unit.fold][rows], course.temperatures[unit.family])
            for w, unit in zip(step.weights, course.steps[:length], strict=True)
        )
        np.testing.assert_allclose(played.answers[rows], blend.tempered(pooled, step.temperature), atol=1e-4)


@pytest.mark.parametrize("kind", ["weighted", "geometric", "vote"])
def test_every_prefix_that_is_asked_for_is_answered_whatever_the_blend(world, course, kind):
    lengths = (1, 2, 4)
    together = playing.prefixes(course, world.test, lengths, kind)
    assert len(together) == len(lengths)
    for length, answers in zip(lengths, together, strict=True):
        np.testing.assert_array_equal(playing.prefixes(course, world.test, (length,), kind)[0], answers)


def test_more_seconds_are_used_until_everything_has_run(world, course):
    everything = sum(step.seconds for step in course.steps) * N
    spent = [playing.play(course, world.test, share * everything).seconds / everything for share in (0.2, 0.5, 0.8, 1.0, 2.0)]
    dearest = max(np.diff([sum(s.seconds for s in course.steps[:stop]) for stop in (0, *course.effort.stops)])) / everything
    for share, found in zip((0.2, 0.5, 0.8, 1.0, 1.0), spent, strict=True):
        assert share - dearest <= found <= share + 1e-9


def test_too_few_seconds_leave_rows_without_an_answer_and_waste_nothing(world, course):
    played = playing.play(course, world.test, course.steps[0].seconds * N / 2)
    assert (played.lengths > 0).sum() == N // 2
    assert np.isnan(played.answers[played.lengths == 0]).all()


def test_the_same_input_gives_the_same_plan(world, course):
    again = planned(world)
    assert (again.steps, again.effort, again.told) == (course.steps, course.effort, course.told)


def test_every_family_is_explained_in_words_and_numbers(world, course):
    assert [told.family for told in course.told] == [family.name for family in world.families]
    for told in course.told:
        assert ("kept" in told.text) == (told.kept > 0)
        assert -1 <= told.rho <= 1
        assert "alone" in told.text
        assert " s" in told.text


def test_the_predicted_curve_rises_and_its_intervals_hold_it(course):
    scores = [point.score for point in course.predicted]
    assert LOGLOSS.gain(scores[-1], scores[0]) > 0
    assert all(point.low <= point.score <= point.high for point in course.predicted)
    assert [p.budget_s for p in course.predicted] == sorted(p.budget_s for p in course.predicted)


def test_a_family_without_predictions_is_named_and_not_used(world):
    oof = world.oof.copy()
    oof[1] = np.nan
    found = planned(world, evidence=Evidence(oof, world.y, world.fold, world.unlabelled))
    assert 1 not in {step.family for step in found.steps}
    assert any(world.families[1].name in note and "cannot be weighed" in note for note in found.notes)
    assert found.temperatures[1] == 1.0


@pytest.mark.slow
def test_a_hold_out_is_weighed_on_the_rows_that_all_answered(world):
    oof = world.oof.copy()
    oof[2, world.fold != 0] = np.nan
    found = planned(world, evidence=Evidence(oof, world.y, world.fold, world.unlabelled))
    assert any("200 of 600 rows" in note for note in found.notes)


def test_without_any_predictions_the_cheapest_comes_first_and_the_score_is_unknown(world):
    oof = np.full_like(world.oof, np.nan)
    found = planned(world, evidence=Evidence(oof, world.y, world.fold))
    first = [step.family for step in found.steps[: len(world.families)]]
    assert first == sorted(range(len(world.families)), key=lambda f: world.families[f].seconds)
    assert len(found.steps) == 3 * len(world.families)
    assert all(step.score is None and set(step.weights) == {1 / len(step.weights)} for step in found.steps)
    assert any("not known" in note for note in found.notes)
    assert playing.play(found, world.test, 0.5 * world.full * N).seconds <= 0.5 * world.full * N


def test_a_budget_below_the_cheapest_unit_is_refused_with_what_would_fit(world):
    with pytest.raises(UserError, match="too small") as caught:
        planner.course(world.families, world.evidence, LOGLOSS, budget_s=0.4, rows=N)
    assert caught.value.expected == "at least 0.8 s, for one fold of m0"
    assert "400 rows" in caught.value.remedy


@pytest.mark.slow
def test_equal_weights_when_asked(world):
    found = planned(world, equal=True)
    for step, length in zip(found.steps, range(1, len(found.steps) + 1), strict=True):
        families = [s.family for s in found.steps[:length]]
        share = {f: sum(w for w, g in zip(step.weights, families, strict=True) if g == f) for f in set(families)}
        assert list(share.values()) == pytest.approx([1 / len(share)] * len(share))


def test_one_row_and_one_family():
    world = World(0, (1.5,))
    found = planner.course(world.families, world.evidence, ACCURACY, budget_s=1.0, rows=1)
    assert playing.play(found, world.test[:, :, :1], 1.0).lengths.tolist() == [3]


def test_without_unlabelled_rows_all_folds_of_a_family_count_the_same(world):
    steps = planned(world, evidence=Evidence(world.oof, world.y, world.fold)).steps
    weights = {}
    for step, weight in zip(steps, steps[-1].weights, strict=True):
        weights.setdefault(step.family, []).append(weight)
    assert max(len(own) for own in weights.values()) == world.folds
    for own in weights.values():
        np.testing.assert_allclose(own, own[0])


@pytest.mark.slow
def test_holdout_without_unlabelled_rows_is_planned():
    world = World(0, (1.0, 1.5))
    found = planned(world, evidence=Evidence(world.oof, world.y, np.zeros_like(world.fold)))
    assert {step.family for step in found.steps} <= {0, 1}


@pytest.mark.parametrize(
    "name", ["balanced_accuracy", *(pytest.param(name, marks=pytest.mark.slow) for name in ("auc", "f1_macro"))]
)
def test_any_metric_can_be_planned_for(name):
    world = World(1, (0.8, 1.4, 1.9), rows=300)
    found = planned(world, metric=metrics.get(name))
    assert all(0 <= point.score <= 1 for point in found.predicted)


def test_at_a_quarter_of_the_cost_the_plan_is_nearly_the_full_blend_and_beats_the_list(world, course):
    cooled = np.stack([[planner.cooled(p, heat) for p in q] for q, heat in zip(world.test, course.temperatures, strict=True)])
    _, facts = planner.calibrated(world.evidence)
    weights = blend.convex_weights(facts.oof, world.y)
    full = blend.pooled(cooled.mean(axis=1), weights)
    played = playing.play(course, world.test, 0.3 * world.full * N)
    assert blend.logloss(played.answers, world.truth) <= 1.05 * blend.logloss(full, world.truth)
    chosen = baseline.fitting(world.families, baseline.best_first(world.evidence, LOGLOSS), 0.3 * world.full * N, N)
    listed = world.test[chosen].mean(axis=(0, 1))
    assert blend.logloss(played.answers, world.truth) < blend.logloss(listed, world.truth)


def test_caruana_picks_the_best_family_first_and_repeats_none():
    world = World(0, (0.5, 2.0, 1.0))
    order = blend.caruana(world.oof, world.y, LOGLOSS, 10)
    assert order[0] == 1
    assert len(set(order)) == len(order)


@pytest.mark.parametrize(("rows", "known"), [(planner.FEWEST_WEIGHED, [0, 1]), (planner.FEWEST_WEIGHED - 1, [])])
def test_the_fewest_rows_that_are_said_to_be_weighed_by_are_enough(rows, known):
    world = World(0, (1.0, 1.5), rows=rows)
    found, seen, notes = planner.weighable(world.families, world.evidence)
    assert (found, seen.sum(), len(notes)) == (known, rows, 0 if known else 1)
    assert known or f"{rows} out-of-fold rows are too few to weigh by: {rows + 1} are the fewest" in notes[0]
