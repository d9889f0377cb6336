"""Metrics of probabilities, float64 (rows, classes) of one class for each row, or (rows, columns) of several labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import UndefinedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.floating[Any]]

TINY = 1e-15  # a certain mistake costs 34.5, not everything


def logloss(y: Ints, p: Floats) -> float:
    """Mean of minus the logarithm of what the truth was given; rows of one class are made to sum to 1 first.

    Of several labels: the mean over all cells.
    """
    if y.ndim == 2:
        clipped = np.clip(p, TINY, 1.0 - TINY)
        return float(-np.log(np.where(y == 1, clipped, 1.0 - clipped)).mean())
    clipped = np.clip(p, TINY, 1.0)
    given = clipped[np.arange(len(y)), y] / clipped.sum(axis=1)
    return float(-np.log(given).mean())


def auc(y: Ints, p: Floats) -> float:
    """Area under the ROC curve of the second of two classes; of more classes or of labels, the mean of one against the rest."""
    if y.ndim == 2:
        return float(np.mean([_auc(y[:, column] == 1, p[:, column], f"label {column + 1}") for column in range(y.shape[1])]))
    if p.shape[1] == 2:
        return _auc(y == 1, p[:, 1], "class 1")
    return float(np.mean([_auc(y == code, p[:, code], f"class {code}") for code in range(p.shape[1])]))


def _auc(truth: NDArray[np.bool_], scores: Floats, what: str) -> float:
    """By ranks, ties counting half (Mann and Whitney)."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        raise UndefinedError(
            "auc has no value when a class is missing",
            found=f"{positives} of {len(truth)} rows are {what}",
            expected="rows of every class",
            remedy="score more rows",
        )
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))
