"""Out-of-fold predictions: every row answered, under every view, by the model that did not see it.

float32 (rows, outputs) per view, in the order of the training table; NaN where no model left the row out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.workspace import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from builder.metrics import Metric
    from builder.shown import Shown
    from builder.train.fitted import Fitted

Oof = dict[str, "NDArray[np.float32]"]


def empty(rows: int, outputs: int, views: Sequence[str]) -> Oof:
    """Nothing predicted yet."""
    return {view: np.full((rows, outputs), np.nan, dtype=np.float32) for view in views}


def fill(found: Oof, fitted: Fitted, shown: Shown, rows: NDArray[np.int64]) -> None:
    """Predict `rows`, under every view, with the model that did not see them."""
    for view, predicted in found.items():
        if len(rows):
            predicted[rows] = fitted.answers(shown, rows, view)


def save(found: Oof, folder: Path, model: str) -> None:
    """Write oof/<model>-<view>.npy below the version's folder."""
    for view, predicted in found.items():
        with replacing(folder / "oof" / f"{model}-{view}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, predicted)


def score(metric: Metric, y: NDArray[Any], predicted: NDArray[np.float32]) -> float | None:
    """The metric on the rows that have a prediction; None when there are none, or it has no value there."""
    known = np.isfinite(predicted).all(axis=1)
    return metric.or_none(y[known], predicted[known]) if known.any() else None
