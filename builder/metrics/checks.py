"""What reaches a metric: truth and predictions in the shapes and kinds that its function takes, or a refusal that says why not.

Pure numpy. A refusal is UnfitError (mend kernel.toml or the hook); rows on which a metric has no value are UndefinedError.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import CLASSES, LABELS, MULTILABEL, NUMBERS, PROBABILITIES, RANKING, UndefinedError, UnfitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Array = NDArray[Any]

REMEDY = "check competition.metric and data.task in kernel.toml"


def fitting(metric: Metric, y: Array, p: Array) -> tuple[Array, Array]:
    """(y, p) as the function of `metric` takes them. Raises UnfitError, UndefinedError."""
    y, p = np.asarray(y), np.asarray(p)
    if y.ndim not in {1, 2} or p.ndim not in {1, 2} or len(y) != len(p):
        raise _unfit(metric, f"truth {y.shape}, predictions {p.shape}", "one row of predictions for each row of truth")
    if not y.size or not p.size:
        raise UndefinedError(f"{metric.name} has no value without rows", found=f"truth {y.shape}", remedy="score some rows")
    _finite(metric, "truth", y)
    _finite(metric, "prediction", p)
    if not metric.truths:
        return y, p
    truth = _kind(metric, y)
    if truth == NUMBERS:
        return _numbers(metric, y, p)
    if truth == MULTILABEL:
        return _columns(metric, y, p)
    return _classes(metric, y, p)


def over_columns(base: Metric, y: Array, p: Array) -> float:
    """Mean of `base` over the columns of checked `y` and `p` (rows, columns). Raises UndefinedError naming the column."""
    if y.ndim == 1:
        y, p = y[:, None], p.reshape(len(p), -1)
    scores = []
    for column in range(y.shape[1]):
        answer = p[:, column]
        if base.prediction == PROBABILITIES:
            answer = np.column_stack([1.0 - answer, answer])
        try:
            scores.append(base.function(y[:, column], answer))
        except UndefinedError as error:
            raise UndefinedError(f"column {column + 1}: {error.what}", found=error.found, remedy=error.remedy) from None
    return float(np.mean(scores))


def _unfit(metric: Metric, found: str, expected: str) -> UnfitError:
    return UnfitError(f"the metric {metric.name} does not fit", found=found, expected=expected, remedy=REMEDY)


def _finite(metric: Metric, what: str, values: Array) -> None:
    if values.dtype.kind not in "biuf":
        raise _unfit(metric, f"a {what} of type {values.dtype}", "numbers")
    bad = ~np.isfinite(values)
    if bad.any():
        rows = np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))
        raise UndefinedError(
            f"{metric.name} has no value where a {what} is missing",
            found=f"{len(rows)} of {len(values)} rows, first row {rows[0] + 1}",
            expected="finite numbers",
            remedy="score the rows that have one",
        )


def _kind(metric: Metric, y: Array) -> str:
    """The kind of this truth. Raises UnfitError when the metric does not take it."""
    if NUMBERS in metric.truths and not ({CLASSES, MULTILABEL} & set(metric.truths)):
        return NUMBERS
    whole = bool((y == np.floor(y)).all())
    if y.ndim == 1 and CLASSES in metric.truths and whole and y.min() >= 0:
        return CLASSES
    if y.ndim == 2 and MULTILABEL in metric.truths and whole and y.min() >= 0 and y.max() <= 1:
        return MULTILABEL
    if NUMBERS in metric.truths:
        return NUMBERS
    expected = {CLASSES: "codes of classes (rows,)", MULTILABEL: "0 or 1 (rows, columns)"}
    found = f"{'whole' if whole else 'fractional'} numbers from {y.min():g} to {y.max():g}, shape {y.shape}"
    raise _unfit(metric, found, " or ".join(expected[kind] for kind in metric.truths))


def _numbers(metric: Metric, y: Array, p: Array) -> tuple[Array, Array]:
    y, p = y.astype(np.float64), p.astype(np.float64)
    columns = [1 if array.ndim == 1 else array.shape[1] for array in (y, p)]
    if columns[0] != columns[1]:
        raise _unfit(metric, f"{columns[1]} columns of predictions", f"{columns[0]}, as there are targets")
    return y, p.reshape(y.shape)


def _columns(metric: Metric, y: Array, p: Array) -> tuple[Array, Array]:
    y = y.astype(np.int64)
    if metric.prediction == RANKING:
        return y, ranking(metric, p, y.shape[1])
    if p.shape != y.shape:
        raise _unfit(metric, f"predictions {p.shape}", f"{y.shape}, one column for each label")
    if metric.prediction == LABELS:
        return y, (p >= 0.5).astype(np.int64)
    return y, p.astype(np.float64)


def _classes(metric: Metric, y: Array, p: Array) -> tuple[Array, Array]:
    y = y.astype(np.int64)
    if p.ndim == 1:
        return y, _one_column(metric, y, p)
    if metric.prediction == RANKING:
        return y, ranking(metric, p, int(y.max()) + 1)
    if p.shape[1] < 2 or y.max() >= p.shape[1]:
        expected = f"one column for each class, at least {max(2, int(y.max()) + 1)}"
        raise _unfit(metric, f"predictions with {p.shape[1]} columns", expected)
    if metric.prediction == LABELS:
        return y, p.argmax(axis=1)
    return y, p.astype(np.float64)


def _one_column(metric: Metric, y: Array, p: Array) -> Array:
    """Codes that were decided; or, of two classes, the probability of the second."""
    if metric.prediction == LABELS and bool((p == np.floor(p)).all()):
        return p.astype(np.int64)
    if metric.prediction == PROBABILITIES and y.max() <= 1:
        return np.column_stack([1.0 - p.astype(np.float64), p.astype(np.float64)])
    wanted = "codes of classes (rows,), or probabilities (rows, classes)"
    raise _unfit(metric, f"predictions {p.shape} from {p.min():g} to {p.max():g}", wanted)


def ranking(metric: Metric, p: Array, columns: int) -> Array:
    """int (rows, top): the classes of each row, best first, of a ranking or of one number for each class; -1 is no class."""
    if p.ndim != 2:
        raise _unfit(metric, f"predictions {p.shape}", "a ranking (rows, places), or a number for each class (rows, classes)")
    if p.dtype.kind in "iu":
        return p[:, : metric.top].astype(np.int64)
    if p.shape[1] < columns:
        raise _unfit(metric, f"predictions with {p.shape[1]} columns", f"one column for each of {columns} classes")
    return np.argsort(-p.astype(np.float64), axis=1, kind="stable")[:, : metric.top]
