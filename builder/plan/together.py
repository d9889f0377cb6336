"""Which families are worth their seconds, and in which order, when a model has several heads, labels or numbers.

Pure numpy. Losses of subsets are summed over heads; a head's counts as a share of what is lost by one that always answers the
prior, so that heads weigh the same. Density greedy (loss per second) from every family, or from some of many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blend, parts
from builder.plan.subsets import Subset, Subsets
from builder.runtime.heads import IDENTITY, SIGMOID

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.plan.parts import Part
    from builder.plan.prices import Prices

    Floats = NDArray[np.floating[Any]]

CELLS = 4000  # labels that are searched on
WORTH = 1e-6  # share of the prior's loss that a step must win
SEEDS = 12  # families that are started from
SCREENED = 6  # families tried per step when there are many


class Squares:
    """What `Subsets` says of classes, of numbers: the loss of the best convex mean, from products of errors alone."""

    def __init__(self, part: Part, *, equal: bool = False) -> None:
        self._products, self._equal = part.squares, equal
        self._known: dict[Subset, Floats] = {}

    def losses(self, subsets: Iterable[Subset]) -> list[float]:
        """Mean squared error of each subset, in units of the spread."""
        found = [self.weights(subset) for subset in subsets]
        return [float(w @ self._products @ w) for w in found]

    def weights(self, subset: Subset) -> Floats:
        """float64 (families,): its convex weights, zero outside the subset."""
        if subset not in self._known:
            used, weights = sorted(subset), np.zeros(len(self._products))
            weights[used] = 1 / len(used) if self._equal else parts.least(self._products[np.ix_(used, used)])
            self._known[subset] = weights
        return self._known[subset]

    def promise(self, subset: Subset) -> Floats:
        """float64 (families,): the slope of the loss towards each family."""
        weights = self.weights(subset)
        slope = self._products @ weights
        return np.asarray(2 * (weights @ slope - slope))


class Together:
    """All heads of a model."""

    def __init__(self, heads: Sequence[Part], *, equal: bool = False) -> None:
        self._heads = [_searched(part, equal=equal) for part in heads]
        self._units = [part.unit for part in heads]
        self._known: dict[Subset, float] = {}

    def losses(self, subsets: Iterable[Subset]) -> list[float]:
        """Summed over heads: the loss of each subset as a share of the prior's."""
        asked = list(subsets)
        new = list(dict.fromkeys(subset for subset in asked if subset not in self._known))
        if new:
            each = [np.array(head.losses(new)) / unit for head, unit in zip(self._heads, self._units, strict=True)]
            self._known.update(zip(new, np.sum(each, axis=0).tolist(), strict=True))
        return [self._known[subset] for subset in asked]

    def promise(self, subset: Subset) -> Floats:
        """float64 (families,): the slope of the loss towards each family, where a head has no use for it zero."""
        slopes = [head.promise(subset) / unit for head, unit in zip(self._heads, self._units, strict=True)]
        return np.asarray(np.maximum(slopes, 0.0).sum(axis=0))


def _searched(part: Part, *, equal: bool) -> Squares | Subsets:
    if part.link == IDENTITY:
        return Squares(part, equal=equal)
    if part.link != SIGMOID:
        return Subsets(part.p, part.y, equal=equal, refined=0)
    y = np.asarray(part.y, dtype=np.int64).reshape(-1)
    chosen = blend.sample(y, CELLS)
    there = part.p.reshape(len(part.p), -1)[:, chosen]
    return Subsets(np.stack([1 - there, there], axis=2), y[chosen], equal=equal, refined=0)


def grown(together: Together, prices: Prices, start: Sequence[int], budget: float = np.inf) -> tuple[list[int], float]:
    """`start` continued by the family that wins most per second, until the budget is spent or nothing helps; and its loss.

    `budget` is in seconds per sample. Of many families, those are tried that promise most per second.
    """
    order, held = list(start), [int(f in start) for f in range(len(prices.seconds))]
    left, (loss,) = budget - prices.of(held), together.losses([frozenset(order)])
    while True:
        fits = {f: price for f in range(len(held)) if not held[f] for price in [prices.marginal(held, f)] if price <= left}
        promise = together.promise(frozenset(order)) if len(fits) > SCREENED else np.zeros(len(held))
        tried = sorted(fits, key=lambda f: (-promise[f] / fits[f], f))[:SCREENED]
        found = together.losses(frozenset((*order, f)) for f in tried)
        won = {f: (loss - new) / fits[f] for f, new in zip(tried, found, strict=True) if loss - new > WORTH}
        if not won:
            return order, loss
        pick = max(won, key=lambda f: (won[f], -f))
        order.append(pick)
        held[pick], left = 1, left - fits[pick]
        loss = found[tried.index(pick)]


def best(together: Together, prices: Prices, budget: float) -> list[int]:
    """The best order within the budget in seconds per sample, at least one family, continued beyond it."""
    alone = together.losses(frozenset((f,)) for f in range(len(prices.seconds)))
    cost = [prices.marginal([0] * len(alone), f) for f in range(len(alone))]
    seeds = [f for f in range(len(alone)) if cost[f] <= budget] or [int(np.argmin(cost))]
    if len(seeds) > SEEDS:
        by_loss, by_price = sorted(seeds, key=lambda f: (alone[f], f)), sorted(seeds, key=lambda f: (cost[f], f))
        seeds = list(dict.fromkeys([*by_loss[: SEEDS // 2], *by_price[: SEEDS // 2]]))
    order, _ = min((grown(together, prices, [seed], budget) for seed in seeds), key=lambda one: (one[1], one[0]))
    return grown(together, prices, order)[0]
