"""How much each family of units counts, and how sure the blend may be: weights and temperature, fitted on out-of-fold rows.

Pure numpy. A *family* is one member under one view; its folds share one slice of the out-of-fold predictions, which are float
(families, rows, classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

ROUNDS = 500
GAP = 1e-7  # the logloss is then within this of the optimum: at the optimum no gradient exceeds 1
BACKTRACKS = 8
TINY = 1e-12
TEMPERATURES = (0.25, 4.0)
NEWTON = 50
SUSPECTED, NOISE_GAP, NOISE_ROUNDS = 0.02, 1e-5, 40  # share of noisy labels: where the search begins and ends
CERTAIN = 3.0  # nats


def convex_weights(oof: Floats, y: Codes) -> Floats:
    """float64 (families,): the convex weights whose mean has the least logloss, exactly.

    The logloss of a mean depends only on each family's probability of the true class, so this is the mixture-proportions problem,
    which is concave. A step of expectation maximisation always helps (Dempster, Laird and Rubin 1977); a Newton step, taken when
    it helps more, ends what EM alone would take thousands of rounds for (Kim, Carbonetto, Stephens and Anitescu 2020).
    """
    likelihood = np.maximum(oof[:, np.arange(len(y)), y].astype(np.float64), TINY)
    weights = np.full(len(oof), 1.0 / len(oof))
    for _ in range(ROUNDS):
        ratio = likelihood / (weights @ likelihood)
        gradient = ratio.mean(axis=1)
        if gradient.max() - 1.0 < GAP:
            break
        weights = _newton(weights * gradient, likelihood)
    return np.asarray(weights / weights.sum())


def _newton(weights: Floats, likelihood: Floats) -> Floats:
    """`weights`, or better ones: a Newton step of mean log(w L) - sum(w) over w >= 0, whose optimum sums to 1."""
    mixture = weights @ likelihood
    ratio = likelihood / mixture
    gradient = ratio.mean(axis=1)
    free = np.flatnonzero((weights > TINY) | (gradient > 1.0))
    curvature = ratio[free] @ ratio[free].T / likelihood.shape[1]
    curvature[np.diag_indices_from(curvature)] *= 1 + 1e-9
    step = np.zeros_like(weights)
    step[free] = np.linalg.lstsq(curvature, gradient[free] - 1.0, rcond=None)[0]
    reached = np.log(mixture).mean()
    for halving in range(BACKTRACKS):
        trial = np.maximum(weights + step * 0.5**halving, 0.0)
        if trial.sum() > 0:
            trial /= trial.sum()
            if np.log(np.maximum(trial @ likelihood, TINY)).mean() > reached:
                return np.asarray(trial)
    return weights


def pooled(oof: Floats, weights: Floats) -> Floats:
    """float64 (rows, classes): weighted mean of the families."""
    return np.asarray(np.tensordot(weights, oof.astype(np.float64), axes=1))


def tempered(p: Floats, temperature: float) -> Floats:
    """`p` float (rows, classes) with its logarithm divided by `temperature`, normalised again."""
    raised = np.maximum(p, TINY) ** (1.0 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def logloss(p: Floats, y: Codes) -> float:
    """Mean negative logarithm of the probability of the true class."""
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], TINY)).mean())


def temperature(p: Floats, y: Codes, counts: Floats | None = None) -> float:
    """The temperature of the pooled probabilities with the least logloss, between 1/4 and 4; `counts` float (rows,) weighs rows.

    Calibration comes after pooling (Rahaman and Thiery 2020, arXiv 2007.08792). The logloss is convex in the reciprocal of the
    temperature: Newton's method, kept within the bracket that the signs of the slope leave.
    """
    logs = np.log(np.maximum(p, TINY), dtype=np.float64)
    true = float(np.average(logs[np.arange(len(y)), y], weights=counts))
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    power = 1.0
    for _ in range(NEWTON):
        raised = np.exp(power * logs)
        total = raised.sum(axis=1)
        mean = (raised * logs).sum(axis=1) / total
        slope = float(np.average(mean, weights=counts)) - true
        low, high = (low, power) if slope > 0 else (power, high)
        spread = float(np.average((raised * logs * logs).sum(axis=1) / total - mean * mean, weights=counts))
        ahead = power - slope / max(spread, TINY)
        following = ahead if low < ahead < high else (low + high) / 2
        if abs(following - power) < 1e-7 * power:
            break
        power = following
    return 1.0 / power


def noisy(p: Floats, noise: float) -> Floats:
    """`p` float (rows, classes) of the labels when a share `noise` of them is drawn from all classes alike."""
    return np.asarray((1.0 - noise) * p + noise / p.shape[1])


def label_noise(p: Floats, y: Codes) -> tuple[float, float]:
    """(share of labels that say nothing of their row, temperature of `p` for the others), the likeliest of both.

    Expectation maximisation of the mixture of `p` at a temperature and of a draw from all classes. The share is 0 where it makes
    the labels less than CERTAIN nats likelier: one more number always fits a little better.
    """
    rows, heat = np.arange(len(y)), temperature(p, y)
    alone, noise, own = logloss(tempered(p, heat), y), SUSPECTED, heat
    for _ in range(NOISE_ROUNDS):
        true = (1.0 - noise) * tempered(p, own)[rows, y]
        honest = true / (true + noise / p.shape[1])
        before, noise = noise, 1.0 - float(honest.mean())
        own = temperature(p, y, honest)
        if abs(noise - before) < NOISE_GAP:
            break
    won = alone - logloss(noisy(tempered(p, own), noise), y)
    return (noise, own) if won * len(y) > CERTAIN else (0.0, heat)


def caruana(oof: Floats, y: Codes, metric: Metric, rounds: int) -> list[int]:
    """Families in the order in which greedy selection with replacement first picks them, in any metric (Caruana et al. 2004)."""
    total = np.zeros(oof.shape[1:])
    order: list[int] = []
    for count in range(1, rounds + 1):
        scores = [_scored(metric, y, (total + p) / count) for p in oof]
        gains = [float("-inf") if score is None else metric.gain(score, 0.0) for score in scores]
        pick = int(np.argmax(gains))
        total += oof[pick]
        if pick not in order:
            order.append(pick)
    return order


def _scored(metric: Metric, y: Codes, p: Floats) -> float | None:
    """The metric; the two that are asked most often without the checks that take most of their time."""
    if metric.name == "logloss":
        return logloss(p, y)
    if metric.name == "accuracy":
        return float((p.argmax(axis=1) == y).mean())
    return metric.or_none(y, p)


def sample(y: Codes, limit: int) -> Codes:
    """At most `limit` rows, classes in proportion, spread evenly; ascending."""
    if len(y) <= limit:
        return np.arange(len(y))
    by_class = np.argsort(y, kind="stable")
    return np.sort(by_class[np.linspace(0, len(y) - 1, limit).round().astype(np.int64)])
