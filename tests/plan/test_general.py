"""Plans for several heads, labels and numbers: exact weights, honest promises, seconds that are never overspent."""

import numpy as np
import pytest

from builder import metrics
from builder.errors import UserError
from builder.plan import asked, general, labelled, parts
from builder.plan.course import Evidence
from builder.plan.prices import Family, Prices
from builder.runtime import combine
from builder.runtime.contract import Head, Prefix

N = 1000
FOLDS = 3


class World:
    """Families of given skill, one number per head and family; a family's folds differ a little. Rows, then fresh rows."""

    def __init__(self, link, skills, *, seed=0, heads=1, outputs=3, rows=400, fresh=800, seconds=None):
        draw, total = np.random.default_rng(seed), rows + fresh
        self.heads = tuple(self.head(link, f"h{h}" if heads > 1 else "", outputs) for h in range(heads))
        truth, every = [], [[] for _ in skills]
        for h in range(heads):
            y = self.truth(link, draw, total, outputs)
            truth.append(y)
            luck = draw.normal(0, 0.5, (total, outputs))
            for f, skill in enumerate(skills):
                own = luck + draw.normal(0, 1, (total, outputs))
                folds = [own + draw.normal(0, 0.3, (total, outputs)) for _ in range(FOLDS)]
                every[f].append([self.answer(link, y, noise, np.broadcast_to(skill, heads)[h]) for noise in folds])
        y = truth[0] if heads == 1 else np.column_stack(truth)
        p = np.array([[np.concatenate(own, axis=1) for own in zip(*f, strict=True)] for f in every], np.float32)
        self.fold = np.arange(rows) % FOLDS
        self.oof, self.y = p[:, self.fold, np.arange(rows)], y[:rows]
        self.fresh, self.truth_of_fresh = p[:, :, rows:], y[rows:]
        price = seconds or [1e-3 * 2**i for i in range(len(skills))]
        self.families = [Family(f"m{f}", s, tuple(range(FOLDS)), 0.5, {"decode": 1e-3}) for f, s in enumerate(price)]

    @staticmethod
    def head(link, name, outputs):
        scale = {"offset": (0.0,) * outputs, "spread": (1.0,) * outputs} if link == "identity" else {}
        return Head(name, link, tuple(f"{name}{c}" for c in range(outputs)), **scale)

    @staticmethod
    def truth(link, draw, total, outputs):
        if link == "softmax":
            return draw.integers(0, outputs, total)
        if link == "sigmoid":
            return (draw.random((total, outputs)) < 0.3).astype(np.int64)
        return draw.normal(0, 1, (total, outputs)) * 4.0 ** np.arange(outputs)

    @staticmethod
    def answer(link, y, noise, skill):
        if link == "identity":
            return y + noise * 4.0 ** np.arange(y.shape[1]) / skill
        if link == "sigmoid":
            return 1 / (1 + np.exp(-(noise + skill * (2 * y - 1))))
        raised = np.exp(noise + skill * np.eye(noise.shape[1])[y])
        return raised / raised.sum(axis=1, keepdims=True)

    @property
    def evidence(self):
        return Evidence(self.oof, self.y, self.fold)

    def plan(self, metric, budget_s=1e6, **more):
        known = metrics.of(metric, self.heads)
        return general.course(self.families, self.evidence, self.heads, known, budget_s=budget_s, rows=N, **more)

    def played(self, course, kind="weighted", references=()):
        """What the notebook answers to the fresh rows when everything has run."""
        steps = course.steps
        among = tuple(tuple(np.array(c) for c in references[s.family]) for s in steps) if references else ()
        own = combine.Blend(kind, (), among, self.heads)
        prefixes = [Prefix(s.weights, s.temperature, s.score, (), s.shares) for s in steps]
        units = [self.fresh[s.family, s.fold] for s in steps]
        return combine.pool(units, combine.reached(units), prefixes, own)


LINKS = {"softmax": ("logloss", 2), "sigmoid": ("logloss", 1), "identity": ("rmse", 1)}


def part(link, seed, skills):
    world = World(link, skills, seed=seed, rows=200, fresh=0)
    return parts.cut(world.heads, world.oof, world.y)[0]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("seed", range(3))
def test_no_convex_weights_lose_less(link, seed):
    one, draw = part(link, seed, (0.5, 1.0, 1.5, 1.4)), np.random.default_rng(seed)
    used = [0, 1, 2, 3]
    found = parts.fit(one, used).weights
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0

    def loss(weights):
        return parts.loss(one, np.tensordot(weights, one.p.astype(float), axes=1))

    best = loss(found)
    rivals = [*np.eye(4), *draw.dirichlet(np.ones(4), 60)]
    rivals += [0.98 * found + 0.02 * rival for rival in rivals]  # a convex loss has no other valley
    assert min(map(loss, rivals)) >= best - 1e-7 * abs(best)


def test_least_squares_of_twins_of_a_perfect_family_and_of_one_alone():
    twins = np.array([[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.2, 0.2, 1.0]])
    found = parts.least(twins)
    assert (found[:2].sum(), found[2]) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert parts.least(np.diag([1.0, 0.0, 2.0])) == pytest.approx([0, 1, 0], abs=1e-6)
    assert parts.least(np.zeros((2, 2))).sum() == pytest.approx(1)
    assert parts.least(np.ones((1, 1))).tolist() == [1.0]
    assert parts.least(np.diag([1e12, 1e12, 2e12])) == pytest.approx([0.4, 0.4, 0.2], abs=1e-6)


def test_least_squares_hold_the_optimality_conditions():
    draw = np.random.default_rng(0)
    for size in (2, 5, 12, 30):
        off = draw.normal(0, 1, (size, 40)) + draw.normal(0, 1, 40)
        products = off @ off.T / 40
        weights = parts.least(products)
        slope = products @ weights
        least = weights @ slope
        assert slope.min() >= least - 1e-9 * products.max()
        assert slope[weights > 1e-9] == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "mean(rmse)"])
def test_numbers_at_full_budget_are_at_least_as_good_as_the_best_family_alone(metric):
    world = World("identity", (0.4, 1.0, 0.9, 1.1), seed=3, outputs=2)
    course, known = world.plan(metric), metrics.get(metric)
    alone = [known(world.truth_of_fresh, p.mean(axis=0)) for p in world.fresh]
    score = known(world.truth_of_fresh, world.played(course))
    assert min(known.gain(score, one) for one in alone) >= 0


def test_one_column_that_a_wide_one_hides_counts_where_the_metric_says_so():
    world = World("identity", (1.0, 1.0), outputs=2, rows=300)
    good = world.y[:, None, :]
    noise = np.random.default_rng(1).normal(0, 1, (2, 300, 2)) * [[[0.1, 4.0]], [[1.0, 0.4]]]
    world.oof = (good.transpose(1, 0, 2) + noise).astype(np.float32)  # the first knows the narrow column, the second the wide one
    weights = {name: world.plan(name).steps[-1].weights for name in ("rmse", "r2")}
    families = {name: [s.family for s in world.plan(name).steps] for name in weights}
    first = {name: sum(w for w, f in zip(weights[name], families[name], strict=True) if f == 0) for name in weights}
    assert first["rmse"] < first["r2"] - 0.2


@pytest.mark.parametrize("link", LINKS)
def test_seconds_are_never_overspent_and_the_first_unit_fits_its_share(link):
    metric, heads = LINKS[link]
    world = World(link, (0.8, 1.2, 1.6), heads=heads)
    for budget in (4.0, 12.0, 40.0):
        course = world.plan(metric, budget, first=0.7)
        prices, held = Prices.of_families(world.families, N), [0, 0, 0]
        bills = []
        for step in course.steps:
            held[step.family] += 1
            bills.append(prices.of(held) * N)
        told = np.cumsum([step.seconds * N + step.fixed for step in course.steps])
        assert told == pytest.approx(bills)
        assert bills[0] <= 0.7 * budget
        fitting = [p for p in course.predicted if p.budget_s <= budget + 1e-6]
        assert fitting[-1].budget_s == pytest.approx(budget)
        reached = max(k for k, bill in enumerate(bills) if bill <= budget)
        assert fitting[-1].score == course.steps[reached].score


@pytest.mark.parametrize("link", LINKS)
def test_every_prefix_is_a_whole_answer_and_every_unit_comes_once(link):
    metric, heads = LINKS[link]
    course = World(link, (0.8, 1.2, 1.6), heads=heads).plan(metric)
    units = [(step.family, step.fold) for step in course.steps]
    assert len(set(units)) == len(units)
    assert course.effort.stops == tuple(range(1, len(units) + 1))
    for length, step in enumerate(course.steps, start=1):
        assert len(step.shares) == (heads if heads > 1 else 0)
        for share in step.shares or (step,):
            assert len(share.weights) == length
            assert sum(share.weights) == pytest.approx(1, abs=1e-9)
            assert min(share.weights) >= 0
            assert share.temperature > 0
        if step.shares:
            assert step.weights == pytest.approx(np.mean([share.weights for share in step.shares], axis=0))
    assert all(point.low <= point.score <= point.high for point in course.predicted)


def test_a_longer_budget_promises_no_less_and_a_plan_uses_what_is_left():
    world = World("identity", (0.8, 1.2, 1.6))
    scores = [point.score for point in world.plan("rmse", 8.0).predicted]
    assert scores == sorted(scores, reverse=True)
    assert len(world.plan("rmse", 8.0).steps) == len(world.families) * FOLDS


def test_heads_with_opposite_best_families_get_opposite_shares():
    world = World("softmax", ((2.5, 0.2), (0.2, 2.5)), heads=2)
    course = world.plan("accuracy")
    first = [
        sum(w for w, s in zip(share.weights, course.steps, strict=True) if s.family == 0) for share in course.steps[-1].shares
    ]
    assert first[0] > 0.8
    assert first[1] < 0.2
    known = metrics.of("accuracy", world.heads)
    alone = [known(world.truth_of_fresh, p.mean(axis=0)) for p in world.fresh]
    assert known(world.truth_of_fresh, world.played(course)) > max(alone) + 0.1


@pytest.mark.parametrize("link", LINKS)
def test_the_notebook_answers_what_the_plan_says_and_scores_what_it_promises(link):
    metric, heads = LINKS[link]
    world = World(link, (0.8, 1.2, 1.6), heads=heads)
    course = world.plan(metric)
    answers = world.played(course)
    whole = [world.fresh[step.family, step.fold][None] for step in course.steps]
    cut = parts.cut(world.heads, np.concatenate(whole), world.truth_of_fresh)
    shares = course.steps[-1].shares or (course.steps[-1],)
    mine = [parts.answered(p, parts.Fitted(np.array(s.weights), s.temperature)) for p, s in zip(cut, shares, strict=True)]
    np.testing.assert_allclose(answers, np.concatenate(mine, axis=1), atol=1e-9)
    known = metrics.of(metric, world.heads)
    single = [step for step in course.steps if step.fold == course.steps[0].fold]
    assert single
    assert known(world.truth_of_fresh, answers) == pytest.approx(course.steps[-1].score, rel=0.15)


def test_equal_weights_when_asked():
    course = World("identity", (0.8, 1.2, 1.6)).plan("rmse", equal=True)
    for count, step in enumerate(course.steps, start=1):
        families = [s.family for s in course.steps[:count]]
        own = {f: sum(w for w, g in zip(step.weights, families, strict=True) if g == f) for f in set(families)}
        assert list(own.values()) == pytest.approx([1 / len(own)] * len(own))


def test_rows_are_ordered_at_least_as_well_as_by_an_equal_mean():
    world = World("sigmoid", (0.5, 1.2, 0.9, 1.1), seed=1)
    known, mean = metrics.get("auc"), world.fresh.mean(axis=(0, 1))
    assert known(world.truth_of_fresh, world.played(world.plan("auc"))) > known(world.truth_of_fresh, mean) - 0.005


def test_the_same_input_gives_the_same_plan():
    world = World("sigmoid", (0.8, 1.2, 1.6))
    one, other = world.plan("auc", 10.0), world.plan("auc", 10.0)
    assert (one.steps, one.predicted, one.told) == (other.steps, other.predicted, other.told)


@pytest.mark.parametrize("link", LINKS)
def test_every_family_is_explained(link):
    metric, heads = LINKS[link]
    world = World(link, (0.3, 1.2, 1.6), heads=heads)
    course = world.plan(metric)
    assert [told.family for told in course.told] == [family.name for family in world.families]
    for told in course.told:
        assert ("kept" in told.text) == (told.kept > 0)
        assert -1 <= told.rho <= 1
        assert f"{metric} {told.score:.4f} alone" in told.text
    assert {told.family for told in course.told if told.kept} == {world.families[s.family].name for s in course.steps}


def test_without_predictions_every_head_is_blended_equally_cheapest_first():
    world = World("softmax", (1.0, 1.5), heads=2)
    world.oof = np.full_like(world.oof, np.nan)
    course = world.plan("accuracy")
    assert [step.family for step in course.steps[:2]] == [0, 1]
    assert all(share.weights == step.weights for step in course.steps for share in step.shares)
    assert {len(step.shares) for step in course.steps} == {2}
    assert course.predicted == ()


def test_a_hold_out_is_weighed_on_the_rows_that_all_answered():
    world = World("identity", (1.0, 1.5))
    world.oof[1, world.fold != 0] = np.nan
    course = world.plan("rmse")
    assert any("134 of 400 rows" in note for note in course.notes)
    assert np.isfinite(world.played(course)).all()


def test_a_metric_that_has_no_value_on_these_rows_still_gives_a_plan():
    world = World("sigmoid", (1.0, 1.5))
    world.y[:, 1] = 0
    course = world.plan("auc")
    assert all(step.score is None for step in course.steps)
    assert len(course.steps) >= FOLDS


def test_a_budget_below_the_cheapest_unit_is_refused_with_what_would_fit():
    with pytest.raises(UserError, match="too small") as caught:
        World("identity", (1.0, 1.5)).plan("rmse", 1.0)
    assert caught.value.expected == "at least 2.5 s, for one fold of m0"


def test_one_row_to_predict_and_one_family():
    world = World("identity", (1.0,), outputs=1)
    made = general.course(world.families, world.evidence, world.heads, metrics.get("rmse"), budget_s=9.0, rows=1)
    assert [(step.family, step.fold) for step in made.steps] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("kind", labelled.KINDS)
def test_blends_of_labels_that_were_asked_for_are_the_notebooks(kind):
    world = World("sigmoid", (0.8, 1.2, 1.6))
    known = metrics.of("auc", world.heads)
    course, references = asked.reblended(world.plan("auc"), world.evidence, kind, known, world.heads)
    answers = world.played(course, kind, references)
    used = sorted({step.family for step in course.steps})
    assert [f for f, among in enumerate(references) if among] == (used if kind == "rank" else [])
    weights = np.array(course.steps[-1].weights)
    p = np.array([world.fresh[s.family, s.fold] for s in course.steps], dtype=float)
    if kind == "geometric":
        logit = np.tensordot(weights, np.log(p / (1 - p)), axes=1) / course.steps[-1].temperature
        np.testing.assert_allclose(answers, 1 / (1 + np.exp(-logit)), atol=1e-6)
    else:
        ranks = [
            [np.searchsorted(np.sort(world.oof[s.family, :, c]), q[:, c]) / len(world.y) for c in range(3)]
            for s, q in zip(course.steps, p, strict=True)
        ]
        np.testing.assert_allclose(answers, np.tensordot(weights, np.array(ranks), axes=1).T, atol=0.02)
    assert known(world.truth_of_fresh, answers) == pytest.approx(course.steps[-1].score, abs=0.05)
    assert any(note.startswith(f"{kind}, as asked: auc") for note in course.notes)


@pytest.mark.parametrize(
    ("link", "heads", "kind"),
    [
        ("identity", 1, "geometric"),
        ("identity", 1, "rank"),
        ("sigmoid", 1, "vote"),
        ("sigmoid", 1, "stack"),
        ("softmax", 2, "rank"),
    ],
)
def test_other_blends_are_refused_with_those_that_there_are(link, heads, kind):
    world = World(link, (1.0,), heads=heads)
    with pytest.raises(UserError, match=f'"{kind}" is no blend of') as caught:
        asked.refuse_unfit(kind, world.heads)
    assert "auto, mean, weighted" in caught.value.expected
    for fine in asked.ALWAYS:
        asked.refuse_unfit(fine, world.heads)
    asked.refuse_unfit(kind, (Head("", "softmax", ("a", "b")),))
