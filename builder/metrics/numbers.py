"""Metrics of numbers, float64 (rows,) or (rows, columns).

Of several columns all cells count alike, but for r2; `mean(rmse)` is the mean of the columns' own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import UndefinedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


def rmse(y: Floats, p: Floats) -> float:
    """Root of the mean squared difference."""
    return float(np.sqrt(((y - p) ** 2).mean()))


def mae(y: Floats, p: Floats) -> float:
    """Mean absolute difference."""
    return float(np.abs(y - p).mean())


def rmsle(y: Floats, p: Floats) -> float:
    """Root of the mean squared difference of log(1 + number)."""
    for what, values in (("truth", y), ("prediction", p)):
        if values.min() < 0:
            raise UndefinedError(
                f"rmsle has no value where a {what} is negative",
                found=f"{values.min():g}",
                expected="numbers of at least 0",
                remedy="clip the predictions at 0" if what == "prediction" else "use rmse as competition.metric in kernel.toml",
            )
    return rmse(np.log1p(y), np.log1p(p))


def r2(y: Floats, p: Floats) -> float:
    """Share of the variance that is explained; of several columns, the mean."""
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    if not np.all(spread > 0):
        raise UndefinedError(
            "r2 has no value when a target is constant", found=f"{y.reshape(-1)[0]:g} in every row", remedy="score more rows"
        )
    return float(np.mean(1.0 - ((y - p) ** 2).sum(axis=0) / spread))
