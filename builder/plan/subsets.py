"""The logloss of many blends at once: exact enough to search with, fast enough for thousands of subsets of families.

Pure numpy. Weights by expectation maximisation and Newton's method, a batch of subsets at a time, as if nothing were tempered;
from there the best ones with a temperature (`sides`), subset by subset. Answers are remembered: a search asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.blend import TINY
from builder.plan.sides import MOST, Side, best

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

ROUNDS = 12
REFINED = 2  # rounds
MANY = 20  # families above which there is time for one round only
GAP = 2e-4  # at the optimum no gradient exceeds 1; the loss is then within this of the optimum, and mostly much nearer
RIDGE = 1e-4
HALVINGS = 3
SOFT = 0.5
FLOOR = 0.2  # share of the mean loss that the easiest row counts as
CELLS = 1 << 20  # numbers per batch: subsets times rows times classes

Subset = frozenset[int]


class Subsets:
    """Losses and weights of subsets of families on the rows of `oof` float (families, rows, classes).

    Args:
        importance: float (rows,), sums to 1; without it all rows count the same.
        soft: float (rows, classes), what a good blend answers. The loss is then taken half to the labels and half to it: labels
            are a draw, and a search among thousands of subsets would learn the draw by heart.
        equal: Every family of a subset counts the same.
        refined: Rounds that weights are sought with, after the first ones.
    """

    def __init__(
        self,
        oof: Floats,
        y: Codes,
        importance: Floats | None = None,
        soft: Floats | None = None,
        *,
        equal: bool = False,
        refined: int = REFINED,
    ) -> None:
        self.families = len(oof)
        self._rows, self._classes = oof.shape[1:]
        self._cube = np.ascontiguousarray(oof.transpose(0, 2, 1), dtype=np.float32)
        self._likelihood = np.maximum(oof[:, np.arange(len(y)), y], TINY).astype(np.float32)
        share = np.full(len(y), 1 / len(y)) if importance is None else importance
        self._share = share.astype(np.float32)
        target = np.zeros((self._classes, self._rows), np.float32)
        target[y, np.arange(len(y))] = self._share
        if soft is not None:
            target = (1 - SOFT) * target + SOFT * self._share * soft.T.astype(np.float32)
        self._target = target
        self._every = Side(self._cube, target)
        self._equal, self._rounds = equal, refined if self.families <= MANY else 1
        self._promised: dict[Subset, Floats] = {}
        self._known: dict[Subset, tuple[float, float, Floats]] = {}

    def losses(self, subsets: Iterable[Subset]) -> list[float]:
        """Tempered logloss of each subset."""
        asked = list(subsets)
        new = list(dict.fromkeys(subset for subset in asked if subset not in self._known))
        batch = max(1, CELLS // (self._rows * self._classes))
        for start in range(0, len(new), batch):
            some = new[start : start + batch]
            self._known.update((s, self._refined(s, own)) for s, own in zip(some, self._weights(some), strict=True))
        return [self._known[subset][0] for subset in asked]

    def loss(self, subset: Subset) -> float:
        """Tempered logloss of one subset."""
        return self.losses([subset])[0]

    def weights(self, subset: Subset) -> Floats:
        """float32 (families,): its convex weights, zero outside the subset."""
        self.losses([subset])
        return self._known[subset][2]

    def temperature(self, subset: Subset) -> float:
        """The temperature of one subset's blend."""
        self.losses([subset])
        return self._known[subset][1]

    def promise(self, subset: Subset) -> Floats:
        """float64 (families,): the slope of the logloss towards each family, about the most that adding it can win."""
        if subset not in self._promised:
            self._promised[subset] = self._every.slope(self.weights(subset))
        return self._promised[subset]

    def moved(self, subset: Subset, others: Sequence[Side]) -> tuple[Floats, float]:
        """Weights float32 (families,) that are best here and on `others`, of the families `used`; the temperature here."""
        used = self.used(subset)
        side = Side(self._cube[used], self._target)
        weights = self.weights(subset).copy()
        if not self._equal and others and len(used) > 1:
            weights[used] = best([side, *others], weights[used], REFINED)
        return weights, side.temperature(weights[used])

    def used(self, subset: Subset) -> list[int]:
        """The families of a subset that have most weight, in order."""
        weights = self.weights(subset)
        return sorted(sorted(subset, key=lambda f: (-weights[f], f))[:MOST])

    def _weights(self, subsets: list[Subset]) -> Floats:
        """float32 (subsets, families): per round one step of expectation maximisation, then Newton's where it helps."""
        weights: Floats = np.zeros((len(subsets), self.families), np.float32)
        for row, subset in enumerate(subsets):
            weights[row, list(subset)] = 1.0 / len(subset)
        if self._equal:
            return weights
        members = np.zeros((len(subsets), max(map(len, subsets))), np.int64)
        inside = np.zeros(members.shape, dtype=bool)
        for row, subset in enumerate(subsets):
            members[row, : len(subset)] = sorted(subset)
            inside[row, : len(subset)] = True
        likelihood = self._likelihood[members]
        own = np.where(inside, np.take_along_axis(weights, members, axis=1), 0.0).astype(np.float32)
        for _ in range(ROUNDS):
            own, gap = self._round(own, inside, likelihood)
            if gap < GAP:
                break
        for row, subset in enumerate(subsets):
            weights[row, sorted(subset)] = own[row, : len(subset)]
        return weights

    def _refined(self, subset: Subset, start: Floats) -> tuple[float, float, Floats]:
        """Loss, temperature and weights float32 (families,), sought from `start`."""
        used = sorted(sorted(subset, key=lambda f: (-start[f], f))[:MOST])
        side = Side(self._cube[used], self._target)
        own = best([side], start[used], 0 if self._equal or len(used) == 1 else self._rounds)
        weights = np.zeros(self.families, np.float32)
        weights[used] = own
        return side.loss(own), side.temperature(own), weights

    def _round(self, own: Floats, inside: NDArray[np.bool_], likelihood: Floats) -> tuple[Floats, float]:
        """Better weights float32 (subsets, members), and how far from the optimum the given ones can have been."""
        mixture = _mix(own, likelihood)
        gradient = (likelihood @ (self._share / mixture)[..., None])[..., 0]
        gap = float((np.where(inside, gradient, 0.0).max(axis=1) - 1.0).max())
        own = own * np.where(inside, gradient, 0.0)
        own /= own.sum(axis=1, keepdims=True)
        mixture = _mix(own, likelihood)
        ratio = likelihood / mixture[:, None, :]
        gradient = ratio @ self._share
        free = inside & ((own > TINY) | (gradient > 1.0))
        curvature = (ratio * self._share) @ ratio.transpose(0, 2, 1)
        curvature = np.where(free[:, :, None] & free[:, None, :], curvature, 0.0)
        diagonal = np.arange(own.shape[1])
        curvature[:, diagonal, diagonal] += np.where(free, RIDGE * curvature[:, diagonal, diagonal], 1.0)
        slope = np.where(free, gradient - 1.0, 0.0)
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        fit = np.log(mixture) @ self._share
        for halving in range(HALVINGS):
            trial = np.maximum(own + step * np.float32(0.5**halving), 0.0)
            trial /= np.maximum(trial.sum(axis=1, keepdims=True), TINY)
            reached = np.log(np.maximum(_mix(trial, likelihood), TINY)) @ self._share
            better = reached > fit
            own = np.where(better[:, None], trial, own)
            step[better], fit = 0.0, np.maximum(fit, reached)
        return own.astype(np.float32), gap


def _mix(weights: Floats, likelihood: Floats) -> Floats:
    """float32 (subsets, rows), from (subsets, members) and (subsets, members, rows)."""
    return np.asarray((weights[:, None, :] @ likelihood)[:, 0])


def informative(oof: Floats, y: Codes, limit: int) -> tuple[Codes, Floats]:
    """At most about `limit` rows that tell most about blends, and their importance float (rows,), which sums to 1.

    Rows that the better families answer well tell little: they are drawn in proportion to the loss of the better families' mean,
    systematically, and count the more the less likely they were to be drawn (importance sampling).
    """
    rows = np.arange(len(y))
    if len(y) <= limit:
        return rows, np.full(len(y), 1 / len(y))
    likelihood = np.maximum(oof[:, rows, y], TINY).astype(np.float64)
    better = np.argsort(-np.log(likelihood).mean(axis=1), kind="stable")[: max(1, len(oof) // 3)]
    hard = -np.log(likelihood[better].mean(axis=0))
    hard += FLOOR * hard.mean() + TINY
    chance = hard * (limit / hard.sum())
    for _ in range(8):  # what is certain to be drawn leaves its surplus to the others
        certain = chance >= 1.0
        chance = np.where(certain, 1.0, chance * (limit - certain.sum()) / max(chance[~certain].sum(), TINY))
    order = np.argsort(hard, kind="stable")
    drawn = np.sort(order[np.diff(np.floor(np.cumsum(chance[order]) + 0.5), prepend=0.0) > 0])
    importance = 1.0 / chance[drawn]
    return drawn, importance / importance.sum()
