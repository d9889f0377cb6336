"""Which units are worth their seconds, and in which order.

Pure numpy. A *holding* says how many folds of each family are held. Density greedy (gain per second) from every small seed
comes close to the best holding at every budget (Sviridenko 2004; Kulik, Schwartz and Shachnai 2021); where there are few, all
are looked at. A *chain* is a whole order: the best holding of some budget first, then on by density until nothing is left.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.folds import Folds
from builder.plan.prices import Prices
from builder.plan.subsets import Subset, Subsets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

Holding = tuple[int, ...]  # folds held, per family
Chain = tuple[int, ...]  # families in order; a family's second appearance is its second fold

FEW = 4096  # holdings that are all looked at
PAIRS = 20  # families up to which every pair is a seed
SINGLES = 10  # seeds otherwise
SCREENED = 6  # families tried per step when there are many
WORTH = 1e-6  # logloss that a step must win
HARM = 3e-2  # share of the least logloss: more than this a family may not cost, however many seconds are left


@dataclass(frozen=True)
class Found:
    """The best holding at a budget: how it was reached, and its predicted logloss."""

    chain: Chain
    loss: float


class Search:
    """The search, with everything that it has learnt so far.

    Args:
        subsets: Losses of subsets of families.
        folds: What their folds win; None when there are no unlabelled rows.
        prices: What units cost.
        available: Folds that exist, per family.
    """

    def __init__(self, subsets: Subsets, folds: Folds | None, prices: Prices, available: Sequence[int]) -> None:
        self.subsets, self.folds, self.prices = subsets, folds, prices
        self.available = tuple(available)
        self._whole: dict[Subset, tuple[float, Floats]] = {}
        self._losses: dict[Holding, float] = {}
        self._weights: dict[Holding, tuple[Floats, float]] = {}

    def loss(self, holding: Holding) -> float:
        """Predicted logloss of a holding: out-of-fold, less what its further folds win."""
        if holding not in self._losses:
            subset = frozenset(f for f, count in enumerate(holding) if count)
            self._losses[holding] = self.subsets.loss(subset) - self._won(subset, holding)
        return self._losses[holding]

    def best(self, budget: float) -> Found | None:
        """The best holding that costs at most `budget` seconds per sample; None when not even one unit does."""
        found = [self.grow(seed, budget) for seed in self._seeds(budget)]
        if self._few():
            found += [Found(_spelt(holding), self.loss(holding)) for holding in self._all(budget)]
        return min(found, key=lambda one: (one.loss, self.cost(one.chain), one.chain), default=None)

    def grow(self, seed: Chain, budget: float = np.inf) -> Found:
        """`seed` continued by density until the budget is spent or nothing helps; its best beginning."""
        chain, holding = list(seed), self._held(seed)
        loss = self.loss(holding)
        best = Found(tuple(chain), loss)
        spent = self.prices.of(holding)
        while step := self._step(holding, loss, budget - spent):
            family, price = step
            chain.append(family)
            spent += price
            holding = _more(holding, family)
            loss = self.loss(holding)
            if loss < best.loss:
                best = Found(tuple(chain), loss)
        return best

    def finish(self, chain: Chain, full: Floats) -> Chain:
        """The chain continued until nothing is left that may help: a clock that has seconds left has no better use for them.

        What is predicted to help comes first, by density; then, by weight per second, the other folds of what is held, which do
        no harm, and families with weight in the `full` blend, as long as the loss stays within HARM of the least.
        """
        grown = self.grow(chain)
        order, holding = list(grown.chain), self._held(grown.chain)
        limit = grown.loss * (1 + HARM)
        while True:
            weights = np.maximum(self.subsets.weights(frozenset(f for f, n in enumerate(holding) if n)), full)
            rest = [f for f in range(len(holding)) if holding[f] < self.available[f] and (holding[f] or full[f] > 0)]
            rest.sort(key=lambda f: (-(weights[f] + WORTH) / (1 + holding[f]) / self.prices.marginal(holding, f), f))
            pick = next((f for f in rest if holding[f] or self.loss(_more(holding, f)) <= limit), None)
            if pick is None:
                return tuple(order)
            order.append(pick)
            holding = _more(holding, pick)

    def cheap_first(self, chain: Chain) -> Chain:
        """The same units in an order for tiers: a fold of each family, cheap to dear, then their second folds, and so on."""
        holding = self._held(chain)
        by_price = sorted(range(len(holding)), key=lambda f: (self.prices.seconds[f], f))
        return tuple(f for depth in range(max(holding)) for f in by_price if holding[f] > depth)

    def weights(self, holding: Holding) -> tuple[Floats, float]:
        """Weights float32 (families,) that are best for the folds that are held, and the temperature for one fold of each."""
        if holding not in self._weights:
            subset = frozenset(f for f, count in enumerate(holding) if count)
            sides = [] if self.folds is None else list(self.folds.sides(np.array(holding), self.subsets.used(subset)))
            self._weights[holding] = self.subsets.moved(subset, sides)
        return self._weights[holding]

    def cost(self, chain: Chain) -> float:
        """Seconds per sample of a chain."""
        return self.prices.of(self._held(chain))

    def _held(self, chain: Chain) -> Holding:
        return tuple(chain.count(family) for family in range(len(self.available)))

    def _seeds(self, budget: float) -> Iterator[Chain]:
        families = range(len(self.available))
        singles = [f for f in families if self.prices.of(self._held((f,))) <= budget]
        if len(families) > PAIRS:
            by_loss = sorted(singles, key=lambda f: self.subsets.loss(frozenset((f,))))
            by_price = sorted(by_loss, key=lambda f: self.prices.seconds[f])
            singles = list(dict.fromkeys([*by_loss[: SINGLES // 2], *by_price[: SINGLES // 4], *by_loss[:: SINGLES // 4]]))
            singles = singles[:SINGLES]
        yield from ((f,) for f in singles)
        if len(families) <= PAIRS:
            self.subsets.losses(frozenset(pair) for pair in itertools.combinations(singles, 2))
            for pair in itertools.combinations(singles, 2):
                first, second = sorted(pair, key=lambda f: self.subsets.loss(frozenset((f,))))
                if self.prices.of(self._held((first, second))) <= budget:
                    yield (first, second)

    def _step(self, holding: Holding, loss: float, left: float) -> tuple[int, float] | None:
        """The family whose next fold wins most per second and is affordable, with its price; None when none helps."""
        held = frozenset(f for f, count in enumerate(holding) if count)
        prices = {
            f: price
            for f in range(len(holding))
            if holding[f] < self.available[f]
            for price in [self.prices.marginal(holding, f)]
            if price <= left
        }
        strangers = [f for f in prices if f not in held]
        if len(strangers) > SCREENED:
            promise = self.subsets.promise(held)
            strangers = [f for f in strangers if promise[f] > WORTH]
            by_density = sorted(strangers, key=lambda f: -promise[f] / prices[f])
            strangers = by_density[:SCREENED] if len(holding) > PAIRS else by_density
        self.subsets.losses(held | {f} for f in strangers)
        tried = [f for f in prices if f in held] + strangers
        gains = {f: loss - self.loss(_more(holding, f)) for f in tried}
        worth = {f: gain / prices[f] for f, gain in gains.items() if gain > WORTH}
        if not worth:
            return None
        pick = max(worth, key=lambda f: (worth[f], -f))
        return pick, prices[pick]

    def _won(self, subset: Subset, holding: Holding) -> float:
        """What the folds of a holding win, as a share of what all folds of its families would: variance falls like 1 / folds."""
        if self.folds is None or max(holding) <= 1:
            return 0.0
        if subset not in self._whole:
            weights = self.subsets.weights(subset)
            counts = np.array([self.available[f] if f in subset else 0 for f in range(len(holding))])
            won, _ = self.folds.gain(weights, counts, self.subsets.temperature(subset), rounds=1)
            unrest = weights.astype(np.float64) ** 2 * self.folds.unrest
            total = float((unrest * (1 - 1 / np.maximum(counts, 1))).sum())
            self._whole[subset] = (won / total if total > 0 else 0.0, unrest)
        rate, unrest = self._whole[subset]
        return float(rate * (unrest * (1 - 1 / np.maximum(np.array(holding), 1))).sum())

    def _few(self) -> bool:
        return bool(np.prod([count + 1.0 for count in self.available]) <= FEW)

    def _all(self, budget: float) -> Iterator[Holding]:
        every = [h for h in itertools.product(*(range(count + 1) for count in self.available)) if any(h)]
        affordable = [h for h in every if self.prices.of(h) <= budget]
        self.subsets.losses(frozenset(f for f, count in enumerate(h) if count) for h in affordable)
        yield from affordable


def _more(holding: Holding, family: int) -> Holding:
    return (*holding[:family], holding[family] + 1, *holding[family + 1 :])


def _spelt(holding: Holding) -> Chain:
    return tuple(f for depth in range(max(holding)) for f, count in enumerate(holding) if count > depth)


def hull(points: Iterable[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, loss) points on the lower convex hull, from the first point to the one with the least loss."""
    chosen: list[tuple[int, float, float]] = []
    for index, (cost, loss) in enumerate(points):
        if chosen and loss >= chosen[-1][2]:
            continue
        while len(chosen) > 1 and _slope(chosen[-2], chosen[-1]) <= _slope(chosen[-1], (index, cost, loss)):
            chosen.pop()
        chosen.append((index, cost, loss))
    return [index for index, _, _ in chosen]


def _slope(a: tuple[int, float, float], b: tuple[int, float, float]) -> float:
    return (a[2] - b[2]) / max(b[1] - a[1], 1e-12)
