"""Metrics of labels: of one class for each row, int (rows,), or of several labels, 0 or 1 (rows, columns).

Expects: what checks.py let through. Truth `y`, decided labels `c`, of one shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import UndefinedError, UnfitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.floating[Any]]


def accuracy(y: Ints, c: Ints) -> float:
    """Share of rows that are right; of several labels, all of them."""
    return float((y == c).reshape(len(y), -1).all(axis=1).mean())


def balanced_accuracy(y: Ints, c: Ints) -> float:
    """Mean over the classes that the truth has: share of their rows that are right."""
    known, codes = np.unique(y, return_inverse=True)
    right = np.bincount(codes, weights=(y == c).astype(np.float64), minlength=len(known))
    return float((right / np.bincount(codes, minlength=len(known))).mean())


def f1(y: Ints, c: Ints) -> float:
    """F1 of class 1 of two; 0 when it occurs neither in the truth nor in the answers."""
    if max(y.max(), c.max()) > 1 or min(y.min(), c.min()) < 0:
        raise UnfitError(
            "f1 takes two classes",
            found=f"codes up to {max(y.max(), c.max())}",
            expected="0 and 1",
            remedy="use f1_macro or f1_micro as competition.metric in kernel.toml",
        )
    return float(_f1(np.array([(y & c).sum()]), np.array([y.sum() + c.sum()]))[0])


def f1_macro(y: Ints, c: Ints) -> float:
    """Mean F1 of the columns; of one class for each row, of the classes that truth or answers have."""
    if y.ndim == 2:
        return float(_f1((y & c).sum(axis=0), y.sum(axis=0) + c.sum(axis=0)).mean())
    right, truth, answer = _counts(y, c)
    return float(_f1(right, truth + answer).mean())


def f1_micro(y: Ints, c: Ints) -> float:
    """F1 of all cells together; of one class for each row that is the accuracy."""
    if y.ndim == 1:
        return accuracy(y, c)
    return float(_f1(np.array([(y & c).sum()]), np.array([y.sum() + c.sum()]))[0])


def f1_samples(y: Ints, c: Ints) -> float:
    """Mean F1 of the rows; 0 for a row without any label in truth and answer."""
    return float(_f1((y & c).sum(axis=1), y.sum(axis=1) + c.sum(axis=1)).mean())


def dice(y: Ints, c: Ints) -> float:
    """Mean Dice coefficient of the rows, whose columns are the pixels of a mask; 1 for a row that is empty in both."""
    total = y.sum(axis=1) + c.sum(axis=1)
    return float(np.where(total == 0, 1.0, _f1((y & c).sum(axis=1), total)).mean())


def mcc(y: Ints, c: Ints) -> float:
    """Matthews' correlation of two or more classes (Gorodkin 2004); 0 when truth or answers are constant."""
    _, truth, answer = (counts / len(y) for counts in _counts(y, c))
    spread = (1.0 - (truth**2).sum()) * (1.0 - (answer**2).sum())
    return float(((y == c).mean() - (truth * answer).sum()) / np.sqrt(spread)) if spread > 0 else 0.0


def kappa(y: Ints, c: Ints) -> float:
    """Cohen's kappa with quadratic weights: one minus the squared distance over that of the same labels shuffled.

    Codes are grades: a class that is missing still lies between its neighbours.
    """
    a, b = y.astype(np.float64), c.astype(np.float64)
    shuffled = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    if shuffled == 0:
        raise UndefinedError(
            "kappa has no value when all rows have one class", found=f"only class {y[0]}", remedy="score rows of more classes"
        )
    return float(1.0 - ((a - b) ** 2).mean() / shuffled)


def _counts(y: Ints, c: Ints) -> tuple[Ints, Ints, Ints]:
    """Of each class that truth or answers have: how many rows are right, have it in the truth, have it in the answer."""
    low, high = int(min(y.min(), c.min())), int(max(y.max(), c.max()))
    if low < 0 or high > len(y) + 1000:  # codes far apart: give them others
        codes = np.unique(np.concatenate([y, c]), return_inverse=True)[1].reshape(-1)
        y, c, high = codes[: len(y)], codes[len(y) :], int(codes.max())
    right, truth, answer = (np.bincount(codes, minlength=high + 1) for codes in (y[y == c], y, c))
    there = truth + answer > 0
    return right[there], truth[there], answer[there]


def _f1(right: NDArray[Any], total: NDArray[Any]) -> Floats:
    """2 * right / total; 0 where there is nothing to find and nothing was found."""
    return np.asarray(np.divide(2.0 * right, total, out=np.zeros(len(total)), where=total > 0))
