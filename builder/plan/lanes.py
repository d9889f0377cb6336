"""Rules tried out: what a chain with a rule of effort would score, on out-of-fold rows and, for its folds, on unlabelled rows.

Pure numpy. Every answer to an out-of-fold row is cross-fitted: weights and temperature come from rows of other folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.blend import TINY, tempered
from builder.plan.effort import Spent, spend
from builder.plan.search import Chain, Holding, Search, hull
from builder.plan.subsets import Subset, Subsets
from builder.runtime.contract import Effort
from builder.runtime.effort import doubt, priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

BINS = 12
BEYOND = 3  # stops after the predicted optimum, for clocks that have seconds left
LEVELS = 11  # stops of a lane that are tried


class Ground:
    """The rows that rules are tried on: out-of-fold rows in two halves, each answered with what was fitted on the other."""

    def __init__(self, oof: Floats, y: Codes, half: NDArray[np.bool_], *, equal: bool = False) -> None:
        self.y, self.oof = y, oof
        self._half = half
        self._fitted = tuple(Subsets(oof[:, side], y[side], equal=equal, refined=3) for side in (~half, half))
        self._known: dict[Subset, Floats] = {}

    @cached_property
    def everything(self) -> Floats:
        """float32 (rows, classes): the blend of all families."""
        return self.answers(frozenset(range(len(self.oof))))

    def answers(self, subset: Subset) -> Floats:
        """float32 (rows, classes): the cross-fitted blend of one fold of each family."""
        if subset not in self._known:
            out = np.empty(self.oof.shape[1:], np.float32)
            for rows, fitted in zip((self._half, ~self._half), self._fitted, strict=True):
                weights = fitted.weights(subset)
                held = np.flatnonzero(weights)
                pooled = np.tensordot(weights[held], self.oof[np.ix_(held, np.flatnonzero(rows))], axes=1)
                out[rows] = tempered(pooled, fitted.temperature(subset))
            self._known[subset] = out
        return self._known[subset]

    def without(self, subset: Subset, family: int) -> Floats:
        """float32 (rows, classes): the answers of the others, which are the same if that family has no weight among them."""
        counts = any(fitted.weights(subset)[family] > 0 for fitted in self._fitted)
        return self.answers(subset - {family} if counts else subset)


@dataclass(frozen=True)
class Trial:
    """What a rule did at a budget: answers of the out-of-fold rows, of the unlabelled rows, and of these with one fold each."""

    lane: Lane
    effort: Effort
    spent: Spent
    answers: Floats
    folded: Floats | None
    single: Floats | None


class Lane:
    """A chain with the answers at its stops."""

    def __init__(self, name: str, chain: Chain, search: Search, ground: Ground) -> None:
        self.name, self.chain = name, chain
        self._search, self._ground = search, ground
        self.holdings = _holdings(chain, len(search.available))
        self.costs = np.array([search.prices.of(holding) for holding in self.holdings])
        self.losses = np.array([search.loss(holding) for holding in self.holdings])
        stops = hull(zip(self.costs, self.losses, strict=True))
        while len(stops) > LEVELS:  # the stop that bends the hull least
            bend = [self._bend(stops[i - 1 : i + 2]) for i in range(1, len(stops) - 1)]
            stops.pop(1 + int(np.argmin(bend)))
        beyond = range(stops[-1] + 1, len(chain))
        stops += [int(beyond[i]) for i in np.unique(np.linspace(0, len(beyond) - 1, BEYOND).round().astype(int)) if beyond]
        self.stops = tuple(stops)

    def _bend(self, three: list[int]) -> float:
        (a, b, c), cost, loss = three, np.log(self.costs), self.losses
        straight = loss[a] + (loss[c] - loss[a]) * (cost[b] - cost[a]) / max(cost[c] - cost[a], TINY)
        return float(straight - loss[b])

    @cached_property
    def answers(self) -> list[Floats]:
        """Per stop: float32 (rows, classes) of the out-of-fold rows."""
        return [self._ground.answers(_families(self.holdings[stop])) for stop in self.stops]

    @cached_property
    def unlabelled(self) -> list[tuple[Floats, Floats]]:
        """Per stop: float (turns * m, classes) of the unlabelled rows with the folds held, and with one fold of each family."""
        folds, found = self._search.folds, []
        if folds is None:
            return []
        for stop in self.stops:
            holding = self.holdings[stop]
            subset = _families(holding)
            one, single = self._search.subsets.weights(subset), self._search.subsets.temperature(subset)
            weights, own = self._search.weights(holding)
            counts, turns = np.array(holding), range(folds.turns)
            heat = folds.temperature(weights, counts, own)
            held = np.concatenate([folds.pooled(weights, counts, turn) for turn in turns])
            alone = np.concatenate([folds.pooled(one, np.minimum(counts, 1), turn) for turn in turns])
            found.append((tempered(held, heat), tempered(alone, single)))
        return found

    @cached_property
    def doubts(self) -> Floats:
        """float (stops, rows) of the out-of-fold rows."""
        return np.stack([doubt(p) for p in self.answers])

    @cached_property
    def unlabelled_doubts(self) -> tuple[Floats, Floats]:
        """float (stops, turns * m) of the unlabelled rows: with the folds held, and with one fold of each family.

        Who is sent further is told better by a mean of folds, too: that is a part of what folds win.
        """
        folded, single = zip(*self.unlabelled, strict=True)
        return np.stack([doubt(p) for p in folded]), np.stack([doubt(p) for p in single])

    @cached_property
    def shape(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """How the divergence from the last stop's answer grows with doubt: (doubts, divergence over its mean), increasing."""
        last = self.answers[-1]
        doubts, gains = [], []
        for p, d in zip(self.answers[:-1], self.doubts[:-1], strict=True):
            divergence = (last * np.log(np.maximum(last, TINY) / np.maximum(p, TINY))).sum(axis=1)
            if (mean := float(divergence.mean())) > TINY:
                doubts.append(d)
                gains.append(divergence / mean)
        if not doubts:
            return (0.0, 1.0), (0.0, 2.0)
        return increasing(np.concatenate(doubts), np.concatenate(gains))

    def rules(self, budget: float) -> Iterator[Effort]:
        """The rules worth trying at so many seconds per sample."""
        lengths = tuple(stop + 1 for stop in self.stops)
        yield Effort("static", lengths)
        slopes = -np.diff(self.losses[list(self.stops)]) / np.maximum(np.diff(self.costs[list(self.stops)]), TINY)
        worth = tuple(float(max(slope, TINY * (len(slopes) - i))) for i, slope in enumerate(slopes))
        yield Effort("queue", lengths, 1, worth, *self.shape)
        affordable = [i for i, stop in enumerate(self.stops) if self.costs[stop] <= budget]
        for low in affordable:
            for high in range(max(low + 2, affordable[-1] + 1), len(self.stops)):
                yield Effort("tiers", lengths[: low + 1] + lengths[high:], low + 1)

    def trial(self, effort: Effort, budget: float) -> Trial:
        """Play a rule with so many seconds per sample."""
        index = [self.stops.index(length - 1) for length in effort.stops]
        costs = np.diff(self.costs[[length - 1 for length in effort.stops]], prepend=0.0)
        none = np.zeros(len(costs))

        def play(doubts: Floats) -> Spent:
            chosen = doubts[index]
            return spend(priority(effort, chosen), costs, none, budget * chosen.shape[1])

        spent = play(self.doubts)
        answers = _pick([self.answers[i] for i in index], spent.stops)
        if not self.unlabelled:
            return Trial(self, effort, spent, answers, None, None)
        folded, single = (
            _pick([self.unlabelled[i][which] for i in index], play(self.unlabelled_doubts[which]).stops) for which in (0, 1)
        )
        return Trial(self, effort, spent, answers, folded, single)


def increasing(x: Floats, values: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means of `values` in bins of equal numbers of `x`, made increasing by pooling neighbours (isotonic regression)."""
    order = np.array_split(np.argsort(x, kind="stable"), BINS)
    blocks: list[tuple[float, float, int]] = []
    for rows in (rows for rows in order if len(rows)):
        blocks.append((float(x[rows].mean()), float(values[rows].mean()), len(rows)))
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            (x0, v0, n0), (x1, v1, n1) = blocks[-2:]
            blocks[-2:] = [((x0 * n0 + x1 * n1) / (n0 + n1), (v0 * n0 + v1 * n1) / (n0 + n1), n0 + n1)]
    return tuple(b[0] for b in blocks), tuple(max(b[1], TINY) for b in blocks)


def _pick(answers: list[Floats], stops: Codes) -> Floats:
    """Row i of the stop that row i reached; rows that reached none get the first stop's."""
    out = np.array(answers[0], dtype=np.float32)
    for stop, p in enumerate(answers):
        rows = stops == stop
        out[rows] = p[rows]
    return out


def _families(holding: Holding) -> Subset:
    return frozenset(f for f, count in enumerate(holding) if count)


def _holdings(chain: Chain, families: int) -> list[Holding]:
    held, found = [0] * families, []
    for family in chain:
        held[family] += 1
        found.append(tuple(held))
    return found
