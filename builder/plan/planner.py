"""OOF + prices -> the units in order, what is answered after each, and who gets how many.

Pure numpy. The steps: calibrate every family; find the best holding at budgets about the one asked for; make a chain of each; try
every chain with every rule of effort on cross-fitted rows; keep the best in the competition metric; fit weights and temperatures
of all its prefixes on all rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError
from builder.plan import baseline, blend, folds
from builder.plan.course import Course, Evidence, Point, Step
from builder.plan.explain import explain
from builder.plan.judge import Judge
from builder.plan.lanes import Ground, Lane, Trial
from builder.plan.prices import Family, Prices
from builder.plan.search import Chain, Search
from builder.plan.sides import MOST, Side, best, labelled
from builder.plan.subsets import Subset, Subsets, informative
from builder.runtime.contract import Effort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

SEARCHED = 2000  # rows
CELLS = 60_000  # rows times classes that are searched on, when there are many classes
TRIED = 6000  # rows
FAINT = 1e-3  # a family with less weight changes no answer
TOLD = 1e-4  # nor do units that win less logloss: so little is guessed, and every third guess is wrong
WEIGHED = 60_000  # rows times classes that the weights of prefixes are fitted on
BUDGETS = 8
HIGHER = (1.0, 1.5, 2.5)  # budgets, too, that the best holding is sought at: the doubtful get more than their share
TIERED = 6  # lanes that tiers are tried on
ROTATIONS = 3  # choices of first folds that fold gains are averaged over
POINTS = 12
FEWEST_UNLABELLED = 30  # rows
FEWEST_WEIGHED = 10  # rows that all families answered, below which nothing is weighed
FEWEST = 50  # rows that all families answered, below which the one that answered least is left out
CARUANA_ROUNDS, CARUANA_ROWS = 15, 1000


def course(
    families: Sequence[Family],
    evidence: Evidence,
    metric: Metric,
    *,
    budget_s: float,
    rows: int,
    equal: bool = False,
    first: float = 1.0,
) -> Course:
    """The plan for `rows` samples in `budget_s` seconds; with `equal` weights when asked.

    `first` is the share of the budget that unit 1 may take on all samples, if there is a cheaper one: every sample gets it, even
    on a machine that turns out to be slower by as much.

    Raises UserError when not even the cheapest unit fits.
    """
    prices = Prices.of_families(families, rows)
    refuse_too_small(families, prices, budget_s, rows)
    known, seen, notes = weighable(families, evidence)
    if not known:
        return unweighed(families, notes)
    unlabelled = evidence.unlabelled
    if unlabelled is not None and unlabelled.shape[2] < FEWEST_UNLABELLED:
        notes += (f"{unlabelled.shape[2]} unlabelled rows are too few to price folds by: {FEWEST_UNLABELLED} are the fewest",)
        unlabelled = None
    heats, facts = calibrated(
        Evidence(
            evidence.oof[known][:, seen],
            evidence.y[seen],
            evidence.fold[seen],
            None if unlabelled is None else unlabelled[known],
        )
    )
    chosen = [families[f] for f in known]
    prices = Prices.of_families(chosen, rows)
    search, ground, full = _prepared(chosen, facts, prices, equal=equal)
    judge = Judge(ground, search, metric)
    budget = budget_s / rows
    lanes = _lanes(search, ground, full, budget, metric)
    winner = judge.choose(_trials(_safe(lanes, budget * first), judge, budget))
    steps = _steps(chosen, facts, winner.lane, search, judge, equal=equal)
    own = np.ones(len(families))
    own[known] = heats
    points = _predicted(winner, judge, rows)
    raw = Evidence(evidence.oof[known][:, seen], evidence.y[seen], evidence.fold[seen])
    return Course(
        tuple(families),
        tuple(own.tolist()),
        tuple(dataclasses.replace(step, family=known[step.family]) for step in steps),
        winner.effort,
        points,
        explain(chosen, winner.lane, judge, rows),
        notes,
        baseline.points(chosen, raw, metric, [point.budget_s for point in points], rows),
    )


def _safe(lanes: Sequence[Lane], most: float) -> list[Lane]:
    """Lanes whose first unit costs at most `most`; those that begin with the cheapest one when there are none."""
    most = max(most, min(lane.costs[0] for lane in lanes))
    return [lane for lane in lanes if lane.costs[0] <= most]


def refuse_too_small(families: Sequence[Family], prices: Prices, budget_s: float, rows: int) -> None:
    one = [prices.of([int(f == g) for g in range(len(families))]) * rows for f in range(len(families))]
    cheapest = int(np.argmin(one))
    if one[cheapest] > budget_s:
        fits = int(rows * budget_s / one[cheapest])
        raise UserError(
            "the budget is too small for even the cheapest unit",
            found=f"{budget_s:g} s for {rows} rows",
            expected=f"at least {one[cheapest]:.6g} s, for one fold of {families[cheapest].name}",
            remedy="give more seconds" + (f"; {budget_s:g} s are enough for about {fits} rows" if fits else ""),
        )


def weighable(families: Sequence[Family], evidence: Evidence) -> tuple[list[int], NDArray[Any], tuple[str, ...]]:
    """Families that can be weighed, the rows that all of them answered, and a note on every other family."""
    answered: NDArray[Any] = np.asarray(np.isfinite(evidence.oof).all(axis=2))
    known = [f for f in range(len(families)) if answered[f].any()]
    notes = [f"{families[f].name}: no out-of-fold predictions, cannot be weighed" for f in range(len(families)) if f not in known]
    while known and answered[known].all(axis=0).sum() < min(FEWEST, answered[known].sum(axis=1).max()):
        least = min(known, key=lambda f: (answered[f].sum(), -f))
        known.remove(least)
        notes.append(f"{families[least].name}: only {answered[least].sum()} rows, too few in common with the others")
    seen = np.asarray(answered[known].all(axis=0)) if known else np.zeros(answered.shape[1], dtype=bool)
    if known and seen.sum() < FEWEST_WEIGHED:
        notes.append(f"{seen.sum()} out-of-fold rows are too few to weigh by: {FEWEST_WEIGHED} are the fewest")
        return [], seen, tuple(notes)
    if known and not seen.all():
        notes.append(f"weighed on the {seen.sum()} of {len(seen)} rows that every family answered")
    return known, seen, tuple(notes)


def calibrated(evidence: Evidence) -> tuple[tuple[float, ...], Evidence]:
    """Each family's own temperature, and the evidence with it: a mean of probabilities needs terms that mean the same."""
    few = blend.sample(evidence.y, TRIED)
    heats = tuple(round(blend.temperature(p[few], evidence.y[few]), 6) for p in evidence.oof)
    oof = np.stack([cooled(p, heat) for p, heat in zip(evidence.oof, heats, strict=True)])
    there = evidence.unlabelled
    if there is not None:
        there = np.stack([[cooled(fold, heat) for fold in p] for p, heat in zip(there, heats, strict=True)])
    return heats, Evidence(oof, evidence.y, evidence.fold, there)


def cooled(p: Floats, temperature: float) -> Floats:
    """float32: `p` float (rows, classes) at a temperature."""
    return blend.tempered(np.asarray(p, dtype=np.float32), temperature).astype(np.float32)


def _prepared(families: Sequence[Family], facts: Evidence, prices: Prices, *, equal: bool) -> tuple[Search, Ground, Floats]:
    """The search, the rows to try rules on, and the weights of the blend of everything."""
    oof, y = facts.oof, facts.y
    few, importance = informative(oof, y, min(SEARCHED, max(500, CELLS // oof.shape[2])))
    tried = blend.sample(y, TRIED)
    same = np.full(len(families), 1 / len(families))
    full = same if equal else best([_labelled(facts, range(len(families)))], blend.convex_weights(oof, y))
    heat = blend.temperature(blend.pooled(oof[:, tried], full), y[tried])  # not of `few`: these are harder than most
    soft = blend.tempered(blend.pooled(oof[:, few], full), heat)
    priced = None
    if facts.unlabelled is not None and facts.unlabelled.shape[1] > 1:
        mean = blend.temperature(blend.pooled(oof[:, tried], same), y[tried])
        noise, _ = blend.label_noise(blend.pooled(oof[:, tried], full), y[tried])
        priced = folds.Folds(facts.unlabelled, folds.trust(oof[:, tried], y[tried], same, mean), full, heat, noise)
    subsets = Subsets(oof[:, few], y[few], importance, soft, equal=equal)
    search = Search(subsets, priced, prices, [len(family.folds) for family in families])
    half = facts.fold[tried] % 2 == 0
    if half.all() or not half.any():
        half = np.arange(len(tried)) % 2 == 0
    return search, Ground(oof[:, tried], y[tried], half, equal=equal), full


def _lanes(search: Search, ground: Ground, full: Floats, budget: float, metric: Metric) -> list[Lane]:
    """A lane for the best holding at each of some budgets up to `budget`; rivals from cheap to dear and in Caruana's order."""
    families = len(search.available)
    cheapest = min(search.prices.marginal([0] * families, f) for f in range(families))
    chains: dict[Chain, str] = {}
    for some in np.geomspace(cheapest, max(budget, cheapest), BUDGETS):
        if found := search.best(float(some) * (1 + 1e-9)):
            chains.setdefault(search.finish(found.chain, full), f"greedy at {some / budget:.0%} of the budget")
    for times in HIGHER:
        if found := search.best(times * budget):
            start = search.cheap_first(found.chain)
            chains.setdefault(search.finish(start, full), f"cheap to dear, the best at {times:.0%} of the budget")
    few = blend.sample(ground.y, CARUANA_ROWS)
    picked = blend.caruana(ground.oof[:, few], ground.y[few], metric, CARUANA_ROUNDS)
    by_price = sorted(picked, key=lambda f: (search.prices.seconds[f], f))
    for depth in {1, max(search.available)}:
        for name, order in (("Caruana's order", picked), ("cheap to dear", by_price)):
            start = tuple(f for f in order for _ in range(min(depth, search.available[f])))
            chains.setdefault(search.finish(start, full), f"{name}, {depth} folds")
    return [Lane(name, chain, search, ground) for chain, name in chains.items()]


def _trials(lanes: Sequence[Lane], judge: Judge, budget: float) -> list[Trial]:
    """The simple rules on every lane; tiers, of which each lane has many, on the lanes that are best with the simple ones."""
    rules = {id(lane): list(lane.rules(budget)) for lane in lanes}
    simple = {id(lane): [lane.trial(rule, budget) for rule in rules[id(lane)] if rule.kind != "tiers"] for lane in lanes}
    promising = sorted(lanes, key=lambda lane: -max(judge.merit(trial) for trial in simple[id(lane)]))[:TIERED]
    tiers = [lane.trial(rule, budget) for lane in promising for rule in rules[id(lane)] if rule.kind == "tiers"]
    return [trial for lane in lanes for trial in simple[id(lane)]] + tiers


def _steps(
    families: Sequence[Family], facts: Evidence, lane: Lane, search: Search, judge: Judge, *, equal: bool
) -> tuple[Step, ...]:
    """The units of the lane, with weights and temperatures fitted on all rows."""
    fitted: dict[Subset, Fitted] = {}
    prices = Prices.of_families(families, 0)
    steps: list[Step] = []
    units: list[tuple[int, int]] = []
    counted = np.zeros(len(families), np.int64)  # folds that the answer counts
    before = float("inf")
    for position, family in enumerate(lane.chain):
        holding = lane.holdings[position]
        own = families[family].folds
        units.append((family, own[(holding[family] - 1 + family) % len(own)]))
        subset, counts = frozenset(f for f, count in enumerate(holding) if count), np.array(holding)
        if subset not in fitted:
            fitted[subset] = _fitted(subset, facts, judge, equal=equal)
        found = fitted[subset]
        weights, heat, won, gain = found.moved(search.folds, counts, np.maximum(counted, counts > 0))
        loss = found.loss - won
        if not counted[family]:
            gain = before - loss
        raw = np.array([weights[f] / holding[f] for f, _ in units])
        score: float | None = found.score - (won if judge.metric.name == "logloss" else 0.0)
        untold = equal or (counted[family] and search.folds is None)
        if steps and (weights[family] < FAINT or (gain < TOLD and not untold)):
            # Nothing that can be told is won: the answer stays what it was.
            raw, heat, score, gain = np.append(steps[-1].weights, 0.0), steps[-1].temperature, steps[-1].score, 0.0
        else:
            counted, before = counts, loss
        step = Step(
            family=family,
            fold=units[-1][1],
            weights=tuple((raw / raw.sum()).tolist()),
            temperature=round(heat, 6),
            score=score,
            gain=gain if steps else None,
            seconds=prices.marginal(_less(holding, family), family),
            fixed=families[family].fixed,
        )
        steps.append(step)
    return tuple(steps)


@dataclasses.dataclass
class Fitted:
    """One fold of each family of a subset, on all rows: weights (families,), temperature, cross-fitted score and logloss.

    `near` are the weights of the `sought` families that were fitted last: one more fold changes them little.
    """

    sought: list[int]
    weights: Floats
    temperature: float
    score: float
    loss: float
    side: Side | None
    near: Floats

    def moved(self, priced: folds.Folds | None, counts: Codes, before: Codes) -> tuple[Floats, float, float, float]:
        """Weights and temperature for so many folds of each; what they win over one of each, and over those of `before`."""
        weights, single = self.weights, self.temperature
        if priced is None or counts.max() == 1:
            return weights, single, 0.0, 0.0
        if self.side is not None:
            own = best([self.side, *priced.sides(counts, self.sought)], self.near)
            weights, single = np.zeros(len(weights)), self.side.temperature(own)
            weights[self.sought] = self.near = own
        won, heat = priced.gain(weights, counts, single, ROTATIONS)
        return weights, heat, won, won - priced.gain(weights, before, single, ROTATIONS)[0]


def _fitted(subset: Subset, facts: Evidence, judge: Judge, *, equal: bool) -> Fitted:
    used, answers = sorted(subset), judge.ground.answers(subset)
    weights, side = np.zeros(len(facts.oof)), None
    weights[used] = 1 / len(used) if equal else blend.convex_weights(facts.oof[used], facts.y)
    sought = sorted(sorted(used, key=lambda f: (-weights[f], f))[:MOST])
    if not equal and len(used) > 1:
        side = _labelled(facts, sought)
        weights[used], weights[sought] = 0.0, best([side], weights[sought])
    held = np.flatnonzero(weights)
    heat = blend.temperature(blend.pooled(facts.oof[held], weights[held]), facts.y)
    return Fitted(sought, weights, heat, judge.metric(judge.ground.y, answers), judge.loss(answers), side, weights[sought])


def _labelled(facts: Evidence, used: Sequence[int]) -> Side:
    """Labelled rows of some families, as many as weights are fitted on."""
    few = blend.sample(facts.y, min(TRIED, max(500, WEIGHED // facts.oof.shape[2])))
    return labelled(facts.oof[np.asarray(used)][:, few], facts.y[few])


def _less(holding: Sequence[int], family: int) -> list[int]:
    return [count - (f == family) for f, count in enumerate(holding)]


def _predicted(chosen: Trial, judge: Judge, rows: int) -> tuple[Point, ...]:
    """Score against seconds, from the first unit for all rows to the whole plan; the budget asked for is among them."""
    lane, asked = chosen.lane, chosen.spent.seconds / len(judge.ground.y)
    low, high = judge.margin(chosen)
    budgets = np.unique(np.append(np.geomspace(lane.costs[0] * (1 + 1e-9), lane.costs[-1] * (1 + 1e-9), POINTS), asked))
    points = []
    for budget in budgets:
        score = judge.score(lane.trial(chosen.effort, float(budget)))
        points.append(Point(round(float(budget) * rows, 6), score, score + low, score + high))
    return tuple(points)


def unweighed(families: Sequence[Family], notes: tuple[str, ...]) -> Course:
    """Equal weights, cheapest first, first folds before further ones."""
    prices = Prices.of_families(families, 0)
    order = sorted(range(len(families)), key=lambda f: (families[f].seconds, f))
    deepest = max(len(family.folds) for family in families)
    units = [(f, depth) for depth in range(deepest) for f in order if depth < len(families[f].folds)]
    steps, held = [], [0] * len(families)
    for count, (f, depth) in enumerate(units, start=1):
        seconds = prices.marginal(held, f)
        steps.append(Step(f, families[f].folds[depth], (1 / count,) * count, 1.0, None, None, seconds, families[f].fixed))
        held[f] += 1
    said = (*notes, "equal weights, cheapest first: the score is not known")
    return Course(
        tuple(families), (1.0,) * len(families), tuple(steps), Effort("static", tuple(range(1, len(units) + 1))), notes=said
    )
