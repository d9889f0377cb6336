"""What averaging the folds of a family is worth, which out-of-fold predictions cannot see: each row has one honest fold.

Pure numpy, and no labels: on rows that no model was trained on, a single fold's answer lies further from the average of all folds
than a second one's would. If the average is calibrated, the mean Kullback-Leibler divergence between them is the logloss that
averaging wins. How far that may be trusted is measured where labels are: between families, on out-of-fold rows (`trust`).

Averaging also makes answers less sure without making them less right, so the temperature that was fitted on single folds is too
high for their average. `Folds.temperature` gives the average as much entropy as single folds had, less what averaging won.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.blend import TEMPERATURES, TINY, noisy, tempered
from builder.plan.sides import Side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

TRUST = (0.4, 1.25)
PLAYED = 2000  # unlabelled rows that rules are played on, each with several choices of first folds
STEPS = 8
MIXED = 3  # rounds in which a temperature makes room for the entropy of noise


def cross_entropy(q: Floats, p: Floats) -> float:
    """Mean of -sum q log p over the rows of float (rows, classes)."""
    return float(-(q * np.log(np.maximum(p, TINY))).sum(axis=1).mean())


def matched(p: Floats, entropy: float) -> float:
    """The temperature at which `p` float (rows, classes) has that mean entropy, by Newton's method on its reciprocal."""
    logs = np.log(np.maximum(p, TINY))
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    power = 1.0
    for _ in range(STEPS):
        raised = np.exp(power * logs)
        total = raised.sum(axis=1)
        mean = (raised * logs).sum(axis=1) / total
        spread = (raised * logs * logs).sum(axis=1) / total - mean * mean
        excess = float((np.log(total) - power * mean).mean()) - entropy
        step = excess / max(power * float(spread.mean()), TINY)
        power = float(np.clip(power + step, max(low, power / 2), min(high, power * 2)))
        if abs(step) < 1e-4 * power:
            break
    return 1.0 / power


class Folds:
    """The folds of every family on unlabelled rows.

    Args:
        unlabelled: float (families, folds, m, classes).
        trust: Factor on label-free gains, from `trust`.
        full: Weights of the blend of everything, whose answer stands for the truth; the same for all families without it.
        single: The temperature of that blend with one fold each.
        noise: Share of labels that say nothing of their row (`blend.label_noise`). On rows that look certain most is won there:
            the logarithm of a mean of tiny probabilities is far above the mean of their logarithms.
    """

    def __init__(
        self, unlabelled: Floats, trust: float = 1.0, full: Floats | None = None, single: float = 1.0, noise: float = 0.0
    ) -> None:
        self.trust, self.noise = trust, noise
        self._p = np.asarray(unlabelled, dtype=np.float32)
        self._known: dict[tuple[int, int, int], Floats] = {}
        spread = self._p.var(axis=1, ddof=1) if self._p.shape[1] > 1 else np.zeros_like(self._p[:, 0])
        self.unrest = spread.sum(axis=-1).mean(axis=-1).astype(np.float64)
        every = np.full(len(self._p), self.count)
        full = np.full(len(self._p), 1 / len(self._p)) if full is None else full
        answer = tempered(self.pooled(full, every), self.temperature(full, every, single))
        self.truth = self._labels(answer, cross_entropy(answer, answer)).astype(np.float32)

    @property
    def count(self) -> int:
        """Folds per family."""
        return int(self._p.shape[1])

    @property
    def turns(self) -> int:
        """Choices of first folds that rules are played with: few rows tell little of folds, and other folds tell more."""
        return max(1, min(self.count, PLAYED // len(self.truth)))

    def pooled(self, weights: Floats, counts: Codes, start: int = 0) -> Floats:
        """float32 (m, classes): the blend of so many folds of each family; family f begins with fold f + `start`, going round."""
        total = np.zeros(self._p.shape[2:], np.float32)
        for family in np.flatnonzero((weights > 0) & (counts > 0)):
            total += np.float32(weights[family]) * self._mean(int(family), int(counts[family]), start + int(family))
        return total

    def sides(self, counts: Codes, used: Sequence[int]) -> Iterator[Side]:
        """What `counts` folds of the `used` families win over one fold each; told by the blend of everything."""
        if max(counts[f] for f in used) <= 1:
            return
        starts = range(min(2, self.count))
        for held, sign in ((np.minimum(counts, 1), -1.0), (counts, 1.0)):
            for start in starts:
                p = np.stack([self._mean(f, int(held[f]), start + f).T for f in used])
                yield Side(p, self.truth.T / np.float32(len(self.truth)), sign * self.trust / len(starts))

    def temperature(self, weights: Floats, counts: Codes, single: float, rounds: int = 2) -> float:
        """The temperature of the blend of `counts` folds, where `single` is that of one fold each."""
        return self.gain(weights, counts, single, rounds)[1]

    def gain(self, weights: Floats, counts: Codes, single: float, rounds: int = 2) -> tuple[float, float]:
        """(logloss that `counts` folds win over one fold each, the temperature to pool them with).

        `weights` float (families,); `single` is the temperature of one fold each; `rounds` is how many choices of first folds are
        averaged over.
        """
        if counts.max() <= 1:
            return 0.0, single
        starts = range(min(rounds, self.count))
        one = np.minimum(counts, 1)
        alone = [tempered(self.pooled(weights, one, start), single) for start in starts]
        entropy = float(np.mean([cross_entropy(p, p) for p in alone]))
        everything = self.pooled(weights, np.where(counts > 0, self.count, 0))
        truth = self._labels(everything, entropy)
        before = float(np.mean([cross_entropy(truth, p) for p in alone]))
        heats, after = [], []
        for start in starts:
            p = self.pooled(weights, counts, start)
            heats.append(matched(p, entropy))
            after.append(cross_entropy(truth, tempered(p, heats[-1])))
        won = max(0.0, self.trust * (before - float(np.mean(after))))
        heats = [matched(self.pooled(weights, counts, start), entropy - won) for start in starts]
        return won, float(np.mean(heats))

    def _labels(self, p: Floats, entropy: float) -> Floats:
        """What labels may be where `p` float (rows, classes) is right: at a temperature, with noise, of that mean entropy."""
        answer, sought = tempered(p, matched(p, entropy)), entropy
        for _ in range(MIXED if self.noise else 0):
            found = noisy(answer, self.noise)
            sought += entropy - cross_entropy(found, found)
            answer = tempered(p, matched(p, sought))
        return noisy(answer, self.noise)

    def _mean(self, family: int, count: int, start: int) -> Floats:
        key = (family, min(count, self.count), start % self.count if count < self.count else 0)
        if key not in self._known:
            chosen = [(key[2] + step) % self.count for step in range(key[1])]
            self._known[key] = self._p[family, chosen].mean(axis=0)
        return self._known[key]


def trust(oof: Floats, y: Codes, weights: Floats, temperature: float) -> float:
    """True gain over label-free gain of averaging calibrated *families* on out-of-fold rows, within TRUST.

    `weights` float (families,) and `temperature` are those of their average.
    """
    if len(oof) < 2:
        return 1.0
    rows = np.arange(len(y))
    mix = tempered(np.tensordot(weights, oof.astype(np.float64), axes=1), temperature)
    sure, own = np.log(np.maximum(mix[rows, y], TINY)), cross_entropy(mix, mix)
    true = label_free = 0.0
    for weight, p in zip(weights, oof, strict=True):
        true += weight * float((sure - np.log(np.maximum(p[rows, y], TINY))).mean())
        label_free += weight * (cross_entropy(mix, p) - own)
    return float(np.clip(true / max(label_free, TINY), *TRUST))
