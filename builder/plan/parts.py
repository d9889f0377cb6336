"""One head of a model on its own: the best convex weights of its blend, the temperature after it, and what it loses.

Pure numpy. Answers are float (families, rows, outputs of the head). The loss of classes is their logloss; of labels the same of
every cell, which is there or not; of numbers the mean squared error in units of their spread. Weights are exact: no other convex
ones lose less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics.heads import apart
from builder.plan import blend
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.runtime.contract import Head

    Floats = NDArray[np.floating[Any]]
    Truth = NDArray[Any]

CELLS = 200_000  # numbers that weights are fitted on, when there are more
HEATED = 5  # times fewer are enough for a temperature
FEWEST = 500  # rows that a temperature is fitted on, however many outputs there are
NOTHING = 1e-7  # weights below it are what is left of an iteration
LEAST = 1e-2  # the least loss of the prior that others are told in
RIDGE, STOP = 1e-10, 1e-12  # of the least squares, as shares of the largest square


@dataclass(frozen=True)
class Part:
    """What is known of one head.

    Attributes:
        link: One of `runtime.contract.LINKS`.
        p: float (families, rows, outputs), answers.
        y: The truth: int (rows,), int 0 or 1 (rows, outputs) or float (rows, outputs).
        spread: float (outputs,), what one unit of a number is.
    """

    link: str
    p: Floats
    y: Truth
    spread: Floats

    def rows(self, chosen: Truth) -> Part:
        """The same of some rows."""
        return replace(self, p=self.p[:, chosen], y=self.y[chosen])

    @cached_property
    def true(self) -> Floats:
        """float (families, n): the probability that each family gave to what was true, of every row or of every cell."""
        if self.link == SOFTMAX:
            return np.asarray(self.p[:, np.arange(len(self.y)), self.y])
        return np.asarray(np.where(self.y == 1, self.p, 1.0 - self.p).reshape(len(self.p), -1))

    @cached_property
    def squares(self) -> Floats:
        """float64 (families, families): mean products of the errors of every two families, in units of the spread."""
        total = np.zeros((len(self.p), len(self.p)))
        for column, unit in enumerate(self.spread):
            off = (self.p[:, :, column].astype(np.float64) - self.y[:, column]) / unit
            total += off @ off.T / self.y.size
        return total

    @cached_property
    def unit(self) -> float:
        """What is lost by the best answer that is the same for every row: losses are told as shares of it."""
        classes = self.link == SOFTMAX
        mean = np.bincount(self.y, minlength=self.p.shape[2]) / len(self.y) if classes else self.y.mean(axis=0)
        return max(loss(self, np.broadcast_to(mean, self.p.shape[1:])), LEAST)


@dataclass(frozen=True)
class Fitted:
    """The blend of some families: weights float (families,), which sum to 1, and its temperature."""

    weights: Floats
    temperature: float


def cut(heads: Sequence[Head], oof: Floats, y: Truth, *, alike: bool = True) -> list[Part]:
    """The parts of answers float (families, rows, outputs of all heads), given the truth of all heads.

    Columns of numbers count alike, each in units of its own spread; or as they are, the wide ones most.
    """
    found = []
    for head, place, own in zip(heads, slices(heads), apart(heads, y), strict=True):
        spread = np.ones(len(head.classes))
        if head.link == IDENTITY:
            spread = np.std(own, axis=0)
            spread[spread == 0] = 1.0
            spread = spread if alike else np.full(len(spread), np.sqrt((spread**2).mean()))
        found.append(Part(head.link, oof[:, :, place], own, spread))
    return found


def fit(part: Part, used: Sequence[int], *, equal: bool = False, most: int = CELLS) -> Fitted:
    """The best convex weights of the `used` families, or equal ones, and the temperature after them, from `most` numbers."""
    weights, chosen = np.zeros(len(part.p)), np.asarray(used, dtype=np.int64)
    if equal or len(used) == 1:
        weights[chosen] = 1 / len(used)
    elif part.link == IDENTITY:
        weights[chosen] = least(part.squares[np.ix_(chosen, chosen)])
    else:
        true = part.true[np.ix_(chosen, _some(part.true.shape[1], most))]
        # The mixture depends on these probabilities only: one class, of which every row is.
        own = blend.convex_weights(true[..., None], np.zeros(true.shape[1], np.int64))
        weights[chosen] = np.where(own < NOTHING, 0.0, own)
        weights /= weights.sum()
    held, few = np.flatnonzero(weights), _some(len(part.y), max(most // HEATED // part.p.shape[2], FEWEST))
    return Fitted(weights, temperature(part.link, blend.pooled(part.p[np.ix_(held, few)], weights[held]), part.y[few]))


def answered(part: Part, fitted: Fitted) -> Floats:
    """float64 (rows, outputs): the blend, at its temperature."""
    held = np.flatnonzero(fitted.weights)
    return heated(part.link, blend.pooled(part.p[held], fitted.weights[held]), fitted.temperature)


def heated(link: str, mean: Floats, temperature: float) -> Floats:
    """float64 (rows, outputs): pooled answers at a temperature."""
    if link == IDENTITY or temperature == 1.0:
        return mean
    if link == SOFTMAX:
        return blend.tempered(mean, temperature)
    return np.asarray(blend.tempered(both(mean), temperature)[:, 1].reshape(mean.shape))


def temperature(link: str, mean: Floats, y: Truth) -> float:
    """The best temperature of pooled answers float (rows, outputs)."""
    if link == IDENTITY:
        return 1.0
    if link == SIGMOID:
        return round(blend.temperature(both(mean), y.reshape(-1)), 6)
    return round(blend.temperature(mean, y), 6)


def loss(part: Part, answers: Floats) -> float:
    """What `answers` float (rows, outputs) lose."""
    if part.link == SOFTMAX:
        return blend.logloss(answers, part.y)
    if part.link == SIGMOID:
        return blend.logloss(both(answers), part.y.reshape(-1))
    return float((((answers - part.y) / part.spread) ** 2).mean())


def errors(part: Part, answers: Floats) -> Floats:
    """float (n,): how wrong each answer is, with its sign where it has one."""
    if part.link == SOFTMAX:
        return np.asarray(1.0 - answers[np.arange(len(part.y)), part.y])
    return np.asarray(((answers - part.y) / part.spread).reshape(-1))


def both(p: Floats) -> Floats:
    """float (cells, 2): labels that are there or not, as rows of two classes."""
    flat = np.asarray(p, dtype=np.float64).reshape(-1)
    return np.column_stack([1.0 - flat, flat])


def least(products: Floats) -> Floats:
    """float64 (families,): the convex weights w with the least w P w, P float (families, families) as `Part.squares` gives it.

    The point of a convex hull that is nearest to zero, by Wolfe's algorithm (1976): the best affine mixture of an active set, cut
    back to what is convex, until no family outside of it would help.
    """
    scale = max(float(np.diag(products).max()), blend.TINY)
    p = products / scale
    weights = np.zeros(len(p))
    weights[int(np.argmin(np.diag(p)))] = 1.0
    for _ in range(20 * len(p)):
        slope = p @ weights
        new = int(np.argmin(slope))
        active = np.flatnonzero(weights)
        if slope[new] >= weights @ slope - STOP or new in active:
            break
        active = np.sort(np.append(active, new))
        while True:
            best = np.linalg.solve(p[np.ix_(active, active)] + RIDGE * np.eye(len(active)), np.ones(len(active)))
            best /= best.sum()
            if (best > 0).all():
                break
            own = weights[active]
            back = best <= 0
            step = float(np.min(own[back] / np.maximum(own[back] - best[back], blend.TINY)))
            own = own + min(1.0, step) * (best - own)
            own[int(np.argmin(np.where(back, own, np.inf)))] = 0.0
            weights[active] = np.maximum(own, 0.0)
            active = active[weights[active] > 0]
        weights = np.zeros(len(p))
        weights[active] = best
    return np.asarray(weights / weights.sum())


def _some(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, ascending, the same ones always."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
