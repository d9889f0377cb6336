"""The parity ladder as data: how far a portable model is from its source, in probabilities and in the metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

CLOSE = 1e-3  # rows whose two best source probabilities are closer than this say nothing about the argmax


@dataclass(frozen=True)
class Gap:
    """How far some probabilities are from their source's.

    Attributes:
        rows: Number of rows compared.
        max_abs_diff: Largest difference of a probability; infinite when one is not finite.
        argmax_equal: Share of rows with the same most likely class, close calls (CLOSE) left out.
    """

    rows: int
    max_abs_diff: float
    argmax_equal: float


@dataclass(frozen=True)
class Rung:
    """One step of the parity ladder, always against the source in the same rows, view and sizes.

    Attributes:
        step: What was compared: `fp32`, `fp16`, `int8`, `int8-static`.
        view: The view under which both were asked.
        batch: Samples per call; `32, ragged` ends with fewer.
        sizes: Sizes that change from call to call, `batch` left out.
        score_delta: Metric of the exported model minus that of the source, on rows that the model had not seen.
    """

    step: str
    view: str
    batch: str
    rows: int
    max_abs_diff: float
    argmax_equal: float
    score_delta: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)


def gap(before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]) -> Gap:
    """How far probabilities `after` are from those `before`, float (rows, ...) by output name; classes are the last axis."""
    largest, same, rows = 0.0, [], 0
    for name, old in before.items():
        new, rows = after[name], len(old)
        if new.shape != old.shape:
            raise ValueError(f"{name}: shapes {old.shape} and {new.shape}")
        if not old.size:
            continue
        largest = max(largest, float(np.nan_to_num(np.abs(new - old), nan=np.inf).max()))
        if old.shape[-1] > 1:
            best = np.sort(old, axis=-1)
            clear = best[..., -1] - best[..., -2] >= CLOSE
            same.append((new.argmax(-1) == old.argmax(-1))[clear])
    equal = np.concatenate(same) if same else np.ones(0, dtype=bool)
    return Gap(rows, largest, float(equal.mean()) if equal.size else 1.0)


def score_delta(metric: Metric, y: NDArray[np.int64], before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Metric of `after` minus that of `before`; None where it has none."""
    was, now = metric.or_none(y, before), metric.or_none(y, after)
    return None if was is None or now is None else now - was


def ensemble(before: NDArray[Any], after: NDArray[Any], metric: Metric, y: NDArray[np.int64]) -> Rung:
    """The last rung: probabilities float (rows, classes) of a blend of sources, and of the same blend of exported models.

    Rows for which either has none are left out.
    """
    honest = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    old, new = before[honest], after[honest]
    seen = gap({"logits": old}, {"logits": new})
    return Rung("ensemble", "all", "", seen.rows, seen.max_abs_diff, seen.argmax_equal, score_delta(metric, y[honest], old, new))
