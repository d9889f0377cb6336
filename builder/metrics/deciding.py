"""A decision fitted on out-of-fold predictions: the labels, cuts or ranges with which a metric is best, if they are worth it.

Expects: a metric, the truth, out-of-fold predictions, and each row's fold.
Produces: a `Decision`, as it travels with the plan, and what it is worth: the score without it and the cross-fitted score with it
    (each fold decided by what the other folds say).
Never: returns a decision that is not better, cross-fitted, than what is done without one; draws at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import LABELS, NUMBERS, RANKING, Metric, UndefinedError, searching
from builder.runtime.decide import Decision, Step, apply

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Fit = Callable[[Array, Array], Decision]

PARTS = 5  # where there is but one fold


@dataclass(frozen=True)
class Fitted:
    """A decision and its worth.

    Attributes:
        decision: Fitted on all rows.
        before: The score of the plain decision: the most probable class, labels of at least one half, numbers as they are; None
            where the metric has none.
        after: The cross-fitted score of `decision`; equal to `before` when it is the plain one.
    """

    decision: Decision
    before: float | None
    after: float | None


def plain(metric: Metric, y: Array, outputs: int, least: int = 0) -> Decision:
    """What is decided when nothing is fitted, for `outputs` numbers a row and a truth like `y`."""
    if metric.prediction == RANKING:
        return Decision((Step("top", (float(metric.top),)),))
    if metric.prediction != LABELS:
        return Decision()
    if y.ndim == 2:
        return Decision((Step("thresholds", (0.5,) * outputs, least),))
    if outputs == 1:
        return Decision((Step("cuts", tuple(code + 0.5 for code in range(max(1, int(y.max()))))),))
    return Decision((Step("argmax"),))


def fit(metric: Metric, y: Array, p: Array, folds: Array, least: int = 0, others: Sequence[Fit] = ()) -> Fitted:
    """The best decision for `metric`, and its worth.

    Args:
        metric: What the competition scores.
        y: The truth, (rows,) or (rows, columns), as the metric takes it.
        p: float (rows, outputs), out-of-fold; rows that are not finite are left out.
        folds: int (rows,), which fold each row was held out in.
        least: Of several labels: how many each row must have. A cell of label strings may not be empty: 1.
        others: What to try besides, (truth, predictions) -> decision.
    """
    y, p, folds = np.asarray(y), np.asarray(p, dtype=np.float64), np.asarray(folds)
    known = np.isfinite(p).all(axis=1)
    y, p, folds = y[known], p[known], folds[known]
    if not len(y):
        return Fitted(Decision(), None, None)
    start = plain(metric, y, p.shape[1], least)
    before = metric.or_none(y, apply(start, p))
    best, score = None, before
    for candidate in (*_candidates(metric, y, p.shape[1], least), *others):
        found = _cross_fitted(metric, candidate, y, p, folds)
        if found is not None and (score is None or _wins(metric, candidate, metric.gain(found, score))):
            best, score = candidate, found
    return Fitted(best(y, p) if best else start, before, score)


def _wins(metric: Metric, candidate: Fit, gain: float) -> bool:
    """Whether a candidate is taken. Of rmsle one negative number costs the whole score: a range is taken unless it harms."""
    return gain > 0 or (metric.name == "rmsle" and candidate is _clip and gain == 0)


def _cross_fitted(metric: Metric, candidate: Fit, y: Array, p: Array, folds: Array) -> float | None:
    """The score when the rows of each fold are decided by what the other folds say."""
    parts = folds if len(np.unique(folds)) > 1 else np.arange(len(y)) % min(PARTS, len(y))
    decided: Array | None = None
    for part in np.unique(parts):
        inside = parts == part
        if inside.all():
            return None  # one row: nothing to fit on
        found = apply(candidate(y[~inside], p[~inside]), p[inside])
        if decided is None:
            decided = np.zeros((len(y), *found.shape[1:]), dtype=found.dtype)
        decided[inside] = found
    return None if decided is None else metric.or_none(y, decided)


def _candidates(metric: Metric, y: Array, outputs: int, least: int) -> Iterator[Fit]:
    """What might be fitted, as functions of truth and predictions."""
    if metric.prediction == NUMBERS:
        yield _clip
        if bool((y == np.floor(y)).all()):
            yield _clip_and_round
    elif metric.prediction == LABELS and y.ndim == 2:
        for labels in sorted({least, max(least, int(bool(y.any(axis=1).all())))}):
            yield _thresholds(metric, labels)
    elif metric.prediction == LABELS:
        yield from _of_classes(metric, y, outputs)


def _of_classes(metric: Metric, y: Array, outputs: int) -> Iterator[Fit]:
    objective = _objective(metric)
    grades = max(outputs, int(y.max()) + 1, 2)
    if outputs == 2 and y.max() <= 1:
        yield lambda y, p: Decision((Step("threshold", (searching.threshold(y, p[:, 1], objective),)),))
        return
    if outputs == 1 or metric.name == "kappa":
        yield lambda y, p: Decision((Step("cuts", searching.cuts(y, p, grades, objective)),))
    if outputs > 1 and metric.name not in {"accuracy", "f1_micro"}:  # the most probable class is best for these already
        yield lambda y, p: Decision((Step("argmax", searching.weights(y, p, objective)),))


def _thresholds(metric: Metric, least: int) -> Fit:
    objective, alone = _objective(metric), searching.of_one_column(metric)

    def found(y: Array, p: Array) -> Decision:
        values = searching.separate(y, p, _objective(alone)) if alone else searching.together(y, p, objective)
        return Decision((Step("thresholds", values, least),))

    return found


def _objective(metric: Metric) -> searching.Objective:
    """(truth, labels) -> score, the more the better; without a score, less than any."""

    def value(y: Array, labels: Array) -> float:
        try:
            return metric.gain(metric.function(y, labels), 0.0)
        except UndefinedError:
            return -np.inf

    return value


def _clip(y: Array, p: Array) -> Decision:  # noqa: ARG001  one signature for all
    """Into the range that the training targets have."""
    targets = y.reshape(len(y), -1)
    ranges = zip(targets.min(axis=0), targets.max(axis=0), strict=True)
    return Decision((Step("clip", tuple(float(end) for both in ranges for end in both)),))


def _clip_and_round(y: Array, p: Array) -> Decision:
    return Decision((*_clip(y, p).steps, Step("round", (1.0,))))
