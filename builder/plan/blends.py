"""Blends that a person may ask for: mean, weighted, rank, geometric, vote, stack; fitted on rows, applied to others.

Pure numpy. Predictions are float (families, rows, classes); a blend answers float64 (rows, classes) that sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError, did_you_mean
from builder.plan.blend import TINY, convex_weights, pooled, temperature, tempered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]
    Apply = Callable[[Floats], Floats]

RIDGE = 1e-2
ROUNDS = 30


@dataclass(frozen=True)
class Blended:
    """A blend's answers to rows that it was not fitted on, and their score."""

    kind: str
    answers: Floats
    score: float


def fit(kind: str, oof: Floats, y: Codes) -> Apply:
    """The blend called `kind`, fitted on out-of-fold rows: a function of predictions. Raises UserError for unknown kinds."""
    if kind not in KINDS:
        raise UserError(f"unknown blend '{kind}'", expected=", ".join(KINDS), remedy=did_you_mean(kind, KINDS))
    return KINDS[kind](oof, y)


def cross_fitted(kind: str, oof: Floats, y: Codes, folds: Codes, metric: Metric) -> Blended:
    """Every row answered by a blend that was fitted on the rows of the other folds."""
    names = np.unique(folds)
    if len(names) < 2:
        folds = np.arange(len(y)) % 2
        names = np.unique(folds)
    answers = np.empty(oof.shape[1:])
    for fold in names:
        inside = folds == fold
        answers[inside] = fit(kind, oof[:, ~inside], y[~inside])(oof[:, inside])
    return Blended(kind, answers, metric(y, answers))


def _mean(oof: Floats, y: Codes) -> Apply:
    return _heated(lambda p: np.asarray(p.mean(axis=0, dtype=np.float64)), oof, y)


def _weighted(oof: Floats, y: Codes) -> Apply:
    weights = convex_weights(oof, y)
    return _heated(lambda p: pooled(p, weights), oof, y)


def _geometric(oof: Floats, y: Codes) -> Apply:
    def product(p: Floats) -> Floats:
        mean = np.log(np.maximum(p, TINY)).mean(axis=0, dtype=np.float64)
        return _normal(np.exp(mean - mean.max(axis=1, keepdims=True)))

    return _heated(product, oof, y)


def _rank(oof: Floats, y: Codes) -> Apply:
    """The mean of ranks among the rows that it was fitted on, so that a row's answer does not depend on its neighbours."""
    known = np.sort(oof, axis=1)

    def ranked(p: Floats) -> Floats:
        rank = np.zeros(p.shape[1:])
        for family, values in zip(known, p, strict=True):
            for label in range(p.shape[2]):
                left = np.searchsorted(family[:, label], values[:, label], side="left")
                right = np.searchsorted(family[:, label], values[:, label], side="right")
                rank[:, label] += (left + right) / (2 * len(family) * len(p))
        return _normal(rank + TINY)

    return _heated(ranked, oof, y)


def _vote(oof: Floats, y: Codes) -> Apply:
    """Each family has one vote; between equal votes the mean probability decides."""

    def voted(p: Floats) -> Floats:
        votes = (p.argmax(axis=2)[..., None] == np.arange(p.shape[2])).mean(axis=0)
        return _normal(votes + p.mean(axis=0, dtype=np.float64) / (len(p) + 1))

    return _heated(voted, oof, y)


def _stack(oof: Floats, y: Codes) -> Apply:
    """Multinomial regression on log-probabilities: a weight per family and a shift per class, by damped Newton steps."""
    slopes, shift = np.full(len(oof), 1.0 / len(oof)), np.zeros(oof.shape[2])
    logs = np.log(np.maximum(oof, 1e-6)).astype(np.float64)
    truth = np.eye(oof.shape[2])[y]

    def answer(x: Floats, slopes: Floats, shift: Floats) -> Floats:
        total = np.tensordot(slopes, x, axes=1) + shift
        return _normal(np.exp(total - total.max(axis=1, keepdims=True)))

    def loss(slopes: Floats, shift: Floats) -> float:
        p = answer(logs, slopes, shift)
        return float(-np.log(np.maximum(p[truth > 0], TINY)).mean() + RIDGE * ((slopes - 1 / len(oof)) ** 2).sum() / 2)

    reached = loss(slopes, shift)
    for _ in range(ROUNDS):
        p = answer(logs, slopes, shift)
        off = (p - truth) / len(y)
        centred = logs - (p * logs).sum(axis=2, keepdims=True)
        curve = np.einsum("frc,grc->fg", centred * (p / len(y)), centred) + RIDGE * np.eye(len(oof))
        slope = np.einsum("rc,frc->f", off, logs) + RIDGE * (slopes - 1 / len(oof))
        moved = slopes - np.linalg.solve(curve, slope), shift - off.sum(axis=0) / np.maximum((p * (1 - p)).mean(axis=0), 1e-3) / 2
        if not (following := loss(*moved)) < reached - 1e-9:
            break
        (slopes, shift), reached = moved, following
    return lambda p: answer(np.log(np.maximum(p, 1e-6)).astype(np.float64), slopes, shift)


KINDS: dict[str, Callable[[Floats, Codes], Apply]] = {
    "mean": _mean,
    "weighted": _weighted,
    "rank": _rank,
    "geometric": _geometric,
    "vote": _vote,
    "stack": _stack,
}


def _heated(raw: Apply, oof: Floats, y: Codes) -> Apply:
    """`raw` with the temperature that suits the rows it is fitted on."""
    heat = temperature(raw(oof), y)
    return lambda p: tempered(raw(p), heat)


def _normal(p: Floats) -> Floats:
    return np.asarray(p / p.sum(axis=1, keepdims=True))
