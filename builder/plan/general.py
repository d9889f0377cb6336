"""A plan for models that answer several heads, labels or numbers: the units in order, and what is answered after each.

Pure numpy. As `planner.py` does for one class per row, but a blend is fitted per head, and every sample gets the same units: how
doubtful an answer is cannot be told by its largest probability. Orders are found by density greedy on the losses of all heads, by
Caruana's selection in the competition metric, and from cheap to dear, with one fold or all folds of each family; judged in the
competition metric, each row by weights that were fitted on rows of other folds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.competition import targets
from builder.metrics import LABELS, RANKING
from builder.plan import baseline, blend, parts, planner
from builder.plan.course import Course, Evidence, Point, Step
from builder.plan.explain import Marks, tell
from builder.plan.parts import Fitted
from builder.plan.prices import Family, Prices
from builder.plan.subsets import Subset
from builder.plan.together import WORTH, Together, best
from builder.runtime.contract import Effort, Share
from builder.runtime.heads import IDENTITY, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric
    from builder.plan.parts import Part
    from builder.runtime.contract import Head

    Floats = NDArray[np.floating[Any]]

SEARCHED, TRIED, ASKED = 2000, 6000, 1000  # rows: of the search, of the judge, of Caruana's selection
CELLS = 300_000  # rows times outputs that are looked at, when there are many outputs
JUDGED = 30_000  # of them, those that the judge fits weights on
FEWEST = 500  # rows that are looked at, however many outputs there are
BUDGETS = 10  # that the best subset is sought at
ROUNDS = 15  # of Caruana's selection
FAINT = 1e-3  # a family with less weight is not worth a second fold
POINTS = 12
RESAMPLES, RESAMPLED = 60, 2000
SAME = 1e-9  # shares of a score, or of seconds, by which equal ones may differ


def course(
    families: Sequence[Family],
    evidence: Evidence,
    heads: Sequence[Head],
    metric: Metric,
    *,
    budget_s: float,
    rows: int,
    equal: bool = False,
    first: float = 1.0,
) -> Course:
    """The plan for `rows` samples in `budget_s` seconds; arguments and errors as those of `planner.course`."""
    known, seen, notes = planner.weighable(families, evidence)
    chosen = [families[f] for f in known] or list(families)
    prices, budget = Prices.of_families(chosen, rows), budget_s / rows
    planner.refuse_too_small(chosen, prices, budget_s, rows)
    if not known:
        return _shared(planner.unweighed(families, notes), len(heads))
    oof = evidence.oof[known][:, seen]
    facts = Evidence(oof, evidence.y[seen], evidence.fold[seen])
    grounds = [_ground(heads, facts, metric, equal=equal)]
    if not equal and metric.name != "logloss" and any(head.link != IDENTITY for head in heads):
        # The weights with the least loss need not be the best ones in the metric: some families, which count the same, may be.
        grounds.append(Ground(heads, facts, metric, equal=True))
    ground, winner = _best([(one, _lanes(chosen, one, prices, budget)) for one in grounds], budget, first)
    steps = _steps(chosen, known, parts.cut(heads, oof, evidence.y[seen], alike=ground.alike), winner, ground)
    points = _predicted(winner, ground, budget, rows)
    held = winner.holdings[-1]
    told = tell(chosen, held, held, ground, Marks(metric, ground.told, ground.errors), rows)
    listed = baseline.points(chosen, ground.evidence, metric, [p.budget_s for p in points], rows) if ground.scored else ()
    stops = Effort("static", tuple(range(1, len(steps) + 1)))
    return Course(tuple(families), (1.0,) * len(families), steps, stops, points, told, notes, listed)


class Ground:
    """The rows that orders are judged on, in two halves, each answered with what was fitted on the other."""

    def __init__(self, heads: Sequence[Head], evidence: Evidence, metric: Metric, *, equal: bool, alike: bool = True) -> None:
        outputs = evidence.oof.shape[2]
        self._strata = targets.strata(heads, evidence.y)
        few = blend.sample(self._strata, min(TRIED, max(FEWEST, CELLS // outputs)))
        self._strata = self._strata[few]
        self.metric, self.equal, self.alike = metric, equal, alike
        self.evidence = Evidence(evidence.oof[:, few], evidence.y[few], evidence.fold[few])
        self.oof, self.y = self.evidence.oof, self.evidence.y
        self.parts = parts.cut(heads, self.oof, self.y, alike=alike)
        self._placed = list(zip(self.parts, slices(heads), strict=True))
        half = self.evidence.fold % 2 == 0
        self._half = half if half.any() and not half.all() else np.arange(len(few)) % 2 == 0
        self._halves = [[part.rows(inside) for part in self.parts] for inside in (self._half, ~self._half)]
        self._answers: dict[Subset, Floats] = {}
        self._fitted: dict[Subset, list[list[Fitted]]] = {}
        self._scores: dict[Subset, float] = {}
        self.scored = metric.or_none(self.y, self.oof.mean(axis=0)) is not None

    def sample(self, most: int) -> NDArray[np.int64]:
        """At most so many rows, and fewer where there are many outputs."""
        return blend.sample(self._strata, min(most, max(FEWEST, CELLS // self.oof.shape[2])))

    def answers(self, subset: Subset) -> Floats:
        """float64 (rows, outputs): the cross-fitted blend of one fold of each family."""
        if subset not in self._answers:
            out = np.empty(self.oof.shape[1:])
            for inside, some, fitted in zip((self._half, ~self._half), self._halves, self._fits(subset), strict=True):
                answers = [parts.answered(part, own) for part, own in zip(some, fitted, strict=True)]
                out[inside] = np.concatenate(answers, axis=1)
            self._answers[subset] = out
        return self._answers[subset]

    def without(self, subset: Subset, family: int) -> Floats:
        """float64 (rows, outputs): the answers of the others, which are the same if that family has no weight among them."""
        counts = any(own.weights[family] > 0 for half in self._fits(subset) for own in half)
        return self.answers(subset - {family} if counts else subset)

    def _fits(self, subset: Subset) -> list[list[Fitted]]:
        """Per half and head: what was fitted on the other half."""
        if subset not in self._fitted:
            used = sorted(subset)
            fit = functools.partial(parts.fit, used=used, equal=self.equal, most=JUDGED)
            self._fitted[subset] = [[fit(part) for part in outside] for outside in reversed(self._halves)]
        return self._fitted[subset]

    def weights(self, subset: Subset) -> Floats:
        """float64 (families,): the mean weights of all fits."""
        return np.asarray(np.mean([own.weights for half in self._fits(subset) for own in half], axis=0))

    def score(self, subset: Subset) -> float:
        """The competition metric of the subset's answers; NaN where it has none."""
        if subset not in self._scores:
            self._scores[subset] = self.told(self.answers(subset))
        return self._scores[subset]

    def told(self, answers: Floats) -> float:
        """The competition metric of answers to all rows; NaN where it has none."""
        found = self.metric.or_none(self.y, answers)
        return float("nan") if found is None else found

    def loss(self, subset: Subset) -> float:
        """Of the subset's answers: the losses of all heads, each as a share of the prior's, summed."""
        answers = self.answers(subset)
        return sum(parts.loss(part, answers[:, place]) / part.unit for part, place in self._placed)

    def errors(self, answers: Floats) -> Floats:
        """float (n,): how wrong `answers` float (rows, outputs) are, of every head one after the other."""
        return np.concatenate([parts.errors(part, answers[:, place]) for part, place in self._placed])

    def helps(self, family: int, subset: Subset) -> bool:
        """Whether the cross-fitted answers are better with `family`.

        By the metric; where it judges labels, most of which no family changes, by the loss.
        """
        if not subset:
            return True
        more = subset | {family}
        if self.metric.prediction in {LABELS, RANKING} or not self.scored:
            return self.loss(subset) - self.loss(more) > WORTH
        return self.gain(more) > _but_for_rounding(self.gain(subset))

    def gain(self, subset: Subset) -> float:
        """The score of a subset, the more the better; less than any where there is none."""
        score = self.score(subset)
        return self.metric.gain(score, 0.0) if np.isfinite(score) else float("-inf")


@dataclass(frozen=True)
class Lane:
    """An order of units (a family's second appearance is its second fold), what is held after each, and seconds per sample."""

    chain: tuple[int, ...]
    holdings: tuple[tuple[int, ...], ...]
    costs: tuple[float, ...]

    def reached(self, budget: float) -> int:
        """How many units fit, at least the first."""
        return max(1, int(np.searchsorted(self.costs, budget * (1 + SAME), side="right")))

    def subset(self, count: int) -> Subset:
        """The families of the first `count` units."""
        return frozenset(self.chain[:count])


def _ground(heads: Sequence[Head], evidence: Evidence, metric: Metric, *, equal: bool) -> Ground:
    """The rows, with columns of numbers counting as the metric likes them best when everything is blended."""
    made = Ground(heads, evidence, metric, equal=equal)
    if not any(part.link == IDENTITY and len(part.spread) > 1 for part in made.parts):
        return made
    rival, whole = Ground(heads, evidence, metric, equal=equal, alike=False), frozenset(range(len(evidence.oof)))
    return rival if rival.gain(whole) > _but_for_rounding(made.gain(whole)) else made


def _but_for_rounding(gain: float) -> float:
    """What is more than this is better by more than rounding can tell."""
    return gain + SAME * abs(gain) if np.isfinite(gain) else gain


def _lanes(families: Sequence[Family], ground: Ground, prices: Prices, budget: float) -> list[Lane]:
    """Lanes of the best subsets at some budgets up to `budget`, of Caruana's order, and from cheap to dear."""
    few = ground.sample(SEARCHED // len(ground.parts))
    together = Together([part.rows(few) for part in ground.parts], equal=ground.equal)
    picked = caruana(ground, ground.sample(ASKED))
    orders: dict[tuple[tuple[int, ...], bool], None] = {}
    for whole in (False, True):
        counts = [len(family.folds) if whole else 1 for family in families]
        bundled = Prices(
            tuple(n * price for n, price in zip(counts, prices.seconds, strict=True)),
            tuple(n * price for n, price in zip(counts, prices.fixed, strict=True)),
            prices.shared,
            prices.rows,
        )
        cheapest = min(prices.marginal([0] * len(families), f) for f in range(len(families)))
        for some in np.geomspace(cheapest, max(budget, cheapest), BUDGETS):
            orders.setdefault((tuple(best(together, bundled, float(some) * (1 + SAME))), whole))
        for order in (picked, sorted(picked, key=lambda f: (prices.seconds[f], f))):
            orders.setdefault((tuple(order), whole))
    orders.setdefault((tuple(sorted(range(len(families)), key=lambda f: (prices.marginal([0] * len(families), f), f))), False))
    return [_lane(order, families, ground, prices, whole=whole) for order, whole in orders]


def _lane(order: Sequence[int], families: Sequence[Family], ground: Ground, prices: Prices, *, whole: bool) -> Lane:
    """The families of `order` that help when their turn comes, then their other folds by weight per second; `whole`: at once."""
    subset: Subset = frozenset()
    kept = []
    for family in order:
        if ground.helps(family, subset):
            subset |= {family}
            kept.append(family)
    counts = [len(families[f].folds) if f in subset else 0 for f in range(len(families))]
    weights = ground.weights(subset)
    chain = [f for f in kept for _ in range(counts[f] if whole else 1)]
    held = [chain.count(f) for f in range(len(families))]
    while rest := [f for f in kept if held[f] < counts[f] and weights[f] > FAINT]:
        pick = max(rest, key=lambda f: (weights[f] / (1 + held[f]) / prices.marginal(held, f), -f))
        chain.append(pick)
        held[pick] += 1
    holdings = [tuple(chain[: count + 1].count(f) for f in range(len(families))) for count in range(len(chain))]
    return Lane(tuple(chain), tuple(holdings), tuple(prices.of(holding) for holding in holdings))


def _safe(lanes: Sequence[Lane], most: float) -> list[Lane]:
    """Lanes whose first unit costs at most `most`; those that begin with the cheapest one when there are none."""
    most = max(most, min(lane.costs[0] for lane in lanes))
    return [lane for lane in lanes if lane.costs[0] <= most * (1 + SAME)]


def _best(tried: Sequence[tuple[Ground, list[Lane]]], budget: float, first: float) -> tuple[Ground, Lane]:
    """The best lane of each, and of these the best; a later one must be better than those before it."""
    found = [(ground, _winner(_safe(lanes, budget * first), ground, budget)) for ground, lanes in tried]
    chosen, most = found[0], float("-inf")
    for ground, lane in found:
        gain = ground.gain(lane.subset(lane.reached(budget)))
        if gain > _but_for_rounding(most):
            chosen, most = (ground, lane), gain
    return chosen


def _winner(lanes: Sequence[Lane], ground: Ground, budget: float) -> Lane:
    """The lane that is best at the budget in the competition metric; of equally good ones the cheapest."""
    counts = [lane.reached(budget) for lane in lanes]
    subsets = [lane.subset(count) for lane, count in zip(lanes, counts, strict=True)]
    most = max(ground.gain(subset) for subset in subsets)
    unscored = most == float("-inf")
    near = [at for at, subset in enumerate(subsets) if unscored or _but_for_rounding(ground.gain(subset)) >= most]
    return lanes[min(near, key=lambda at: (ground.loss(subsets[at]) if unscored else 0.0, lanes[at].costs[counts[at] - 1], at))]


def _steps(
    families: Sequence[Family], known: Sequence[int], heads: Sequence[Part], lane: Lane, ground: Ground
) -> tuple[Step, ...]:
    """The units of the lane, with weights and temperatures fitted on all rows; `known` are the families' own numbers."""
    prices, fitted, steps = Prices.of_families(families, 0), dict[Subset, list[Fitted]](), list[Step]()
    for count, family in enumerate(lane.chain, start=1):
        holding, subset, own = lane.holdings[count - 1], lane.subset(count), families[family].folds
        if subset not in fitted:
            fitted[subset] = [parts.fit(part, sorted(subset), equal=ground.equal) for part in heads]
        shares = tuple(_share(found, lane.chain[:count], holding) for found in fitted[subset])
        before = lane.subset(count - 1)
        fresh = steps and subset != before
        score = ground.score(subset)
        step = Step(
            family=known[family],
            fold=own[(holding[family] - 1 + family) % len(own)],
            weights=tuple(np.mean([share.weights for share in shares], axis=0).tolist()),
            temperature=shares[0].temperature if len(shares) == 1 else 1.0,
            score=score if np.isfinite(score) else None,
            gain=ground.loss(before) - ground.loss(subset) if fresh else None,
            seconds=prices.marginal([n - (f == family) for f, n in enumerate(holding)], family),
            fixed=families[family].fixed,
            shares=shares if len(shares) > 1 else (),
        )
        steps.append(step)
    return tuple(steps)


def _share(found: Fitted, chain: Sequence[int], holding: Sequence[int]) -> Share:
    """How one head is blended: the folds of a family share its weight equally."""
    weights = np.array([found.weights[f] / holding[f] for f in chain])
    return Share(tuple((weights / weights.sum()).tolist()), found.temperature)


def _predicted(lane: Lane, ground: Ground, budget: float, rows: int) -> tuple[Point, ...]:
    """Score against seconds, from the first unit for all rows to the whole plan; the budget asked for is among them."""
    low, high = _margin(ground, lane.subset(lane.reached(budget)))
    points = []
    for some in np.unique(np.append(np.geomspace(lane.costs[0], lane.costs[-1], POINTS), budget)):
        score = ground.score(lane.subset(lane.reached(float(some))))
        points.append(Point(round(float(some) * rows, 6), score, score + low, score + high))
    return tuple(points)


def _margin(ground: Ground, subset: Subset) -> tuple[float, float]:
    """5th and 95th percentile of the score over resampled rows, as distances from it; NaN when there is none."""
    draw, answers, count = np.random.default_rng(0), ground.answers(subset), len(ground.y)
    some = [draw.integers(0, count, min(count, RESAMPLED)) for _ in range(RESAMPLES)]
    found = [score for rows in some for score in [ground.metric.or_none(ground.y[rows], answers[rows])] if score is not None]
    if len(found) < 2:
        return float("nan"), float("nan")
    low, high = (np.percentile(found, [5, 95]) - np.mean(found)) * np.sqrt(min(count, RESAMPLED) / count)
    return min(float(low), 0.0), max(float(high), 0.0)


def _shared(made: Course, heads: int) -> Course:
    """The course with its weights for every head."""
    if heads == 1:
        return made
    steps = [dataclasses.replace(step, shares=(Share(step.weights),) * heads) for step in made.steps]
    return dataclasses.replace(made, steps=tuple(steps))


def caruana(ground: Ground, rows: NDArray[np.int64]) -> list[int]:
    """Families in the order in which greedy selection with replacement first picks them (Caruana et al. 2004), on some rows."""
    y, oof, total, order = ground.y[rows], ground.oof[:, rows].astype(np.float64), 0.0, list[int]()
    for count in range(1, ROUNDS + 1):
        scores = [ground.metric.or_none(y, (total + p) / count) for p in oof]
        gains = [float("-inf") if score is None else ground.metric.gain(score, 0.0) for score in scores]
        pick = int(np.argmax(gains))
        total = total + oof[pick]
        order += [pick] if pick not in order else []
    return order
