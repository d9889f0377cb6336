"""Weights that are the best ones after the temperature, for what is really pooled: several folds of some families, one of others.

Pure numpy. A *side* is a set of rows on which a blend is judged. What is minimised is the sum over sides of the logloss at each
side's best temperature, by Gauss and Newton's method: on labelled rows with one honest fold of each family, and, on unlabelled
rows, less what one fold of each family loses there, plus what the folds that are held lose there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.blend import TEMPERATURES, TINY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

ROUNDS = 4
HALVINGS = 4
LEAST = 1e-5  # logloss that a round must win
NEWTON = 3
CLOSE = 1e-3  # of the temperature
RIDGE = 1e-3
BENT = 5000  # numbers per family that tell how the loss bends; how it falls is told by all
FEWEST = 200  # rows of them
MOST = 16  # families that weights should be sought for; of more, those with most weight at the start


class Side:
    """Rows that a blend is judged on.

    Args:
        p: float32 (families, classes, rows): sums over classes run along whole cache lines.
        truth: float32 (classes, rows): what should be answered, times how much each row counts; sums to 1.
        counts: How much the logloss of all rows counts; what is to be made worse counts negatively.
    """

    def __init__(self, p: Floats, truth: Floats, counts: float = 1.0) -> None:
        self._p, self._truth, self.counts = p, truth, counts
        self._flat = p.reshape(len(p), -1)
        self._share = truth.sum(axis=0)
        self._power = 1.0
        self._known: tuple[Floats, tuple[float, Floats, Floats]] | None = None

    def loss(self, weights: Floats) -> float:
        """Logloss of the blend with `weights` float (families,) at its best temperature."""
        return self._tempered(weights)[0]

    def temperature(self, weights: Floats) -> float:
        """The best temperature of the blend."""
        self._tempered(weights)
        return 1.0 / self._power

    def slope(self, weights: Floats) -> Floats:
        """float64 (families,): how fast the logloss falls with each weight."""
        _, mix, answer = self._tempered(weights)
        missed = (self._truth - answer * self._share) / mix * np.float32(self._power)
        return np.asarray(self._flat @ missed.reshape(-1), dtype=np.float64)

    def bend(self, weights: Floats, free: NDArray[np.int64]) -> Floats:
        """float64 (free, free): how the logloss bends with these weights, by Gauss and Newton."""
        _, mix, answer = self._tempered(weights)
        few = slice(None, None, max(1, min(self._p[0].size // BENT, len(self._share) // FEWEST)))
        mix, answer, share = mix[:, few], answer[:, few], self._share[few]
        ratio = self._p[free, :, few] / mix
        ratio -= (answer * ratio).sum(axis=1, keepdims=True)
        root = np.sqrt(answer * (share * (self._share.sum() / share.sum())))
        ratio *= root * np.float32(self._power)
        flat = ratio.reshape(len(free), -1)
        logs = np.log(mix)
        hotter = ((logs - (answer * logs).sum(axis=0)) * root).reshape(-1)
        along = flat @ hotter
        return np.asarray(flat @ flat.T - np.outer(along, along) / max(float(hotter @ hotter), TINY), dtype=np.float64)

    def _tempered(self, weights: Floats) -> tuple[float, Floats, Floats]:
        """(logloss, what is pooled (classes, rows), the same at the best temperature)."""
        if self._known is not None and self._known[0] is weights:
            return self._known[1]
        mix = np.maximum((weights.astype(np.float32) @ self._flat).reshape(self._truth.shape), np.float32(TINY))
        logs = np.log(mix)
        true = float((self._truth * logs).sum())
        answer, total = _raised(logs, self._power)
        for _ in range(NEWTON):
            mean = (answer * logs).sum(axis=0)
            spread = float(((answer * logs * logs).sum(axis=0) - mean * mean) @ self._share)
            step = (float(mean @ self._share) - true) / max(spread, TINY)
            if abs(step) < CLOSE * self._power:
                break
            self._power = float(np.clip(self._power - step, 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]))
            answer, total = _raised(logs, self._power)
        found = float(np.log(total) @ self._share) - self._power * true, mix, answer
        self._known = weights, found
        return found


def _raised(logs: Floats, power: float) -> tuple[Floats, Floats]:
    """(exp(power * logs) (classes, rows) over its sum, that sum (rows,))."""
    raised = np.exp(logs * np.float32(power))
    total = raised.sum(axis=0)
    return raised / total, total


def labelled(oof: Floats, y: NDArray[np.int64]) -> Side:
    """The side of out-of-fold rows: float (families, rows, classes), labels int (rows,)."""
    truth = np.zeros((oof.shape[2], len(y)), np.float32)
    truth[y, np.arange(len(y))] = 1 / len(y)
    return Side(np.ascontiguousarray(oof.transpose(0, 2, 1), dtype=np.float32), truth)


def best(sides: Sequence[Side], start: Floats, rounds: int = ROUNDS) -> Floats:
    """float64 (families,), sums to 1: weights with the least sum of losses, sought from `start`."""
    weights: Floats = np.asarray(start, dtype=np.float64) / start.sum()
    loss = sum(side.counts * side.loss(weights) for side in sides)
    for _ in range(rounds):
        falls = np.asarray(sum(side.counts * side.slope(weights) for side in sides))
        free = np.flatnonzero((weights > 0) | (falls > 0))
        bends = np.asarray(sum(side.counts * side.bend(weights, free) for side in sides if side.counts > 0))
        bends[np.diag_indices_from(bends)] *= 1 + RIDGE
        step = np.zeros(len(weights))
        step[free] = np.linalg.lstsq(bends, falls[free], rcond=None)[0]
        for halving in range(HALVINGS):
            trial = np.maximum(weights + step * 0.5**halving, 0.0)
            if trial.sum() < TINY:
                continue
            trial /= trial.sum()
            reached = sum(side.counts * side.loss(trial) for side in sides)
            if reached < loss:
                break
        else:
            return weights
        won, weights, loss = loss - reached, trial, reached
        if won < LEAST:
            break
    return weights
