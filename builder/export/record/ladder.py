"""The parity ladder as data: how far a portable model is from its source, in answers and in the metric.

Numbers differ in units of their spread, wherever a difference is told or judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.runtime.backends import OUTPUT
from builder.runtime.heads import SOFTMAX, apart, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric
    from builder.runtime.contract import Head

CLOSE = 1e-3  # rows whose two best source probabilities are closer than this say nothing about the argmax


@dataclass(frozen=True)
class Gap:
    """How far some answers are from their source's.

    Attributes:
        rows: Number of rows compared.
        max_abs_diff: Largest difference of an answer; infinite when one is not finite.
        argmax_equal: Share of rows with the same most likely class, close calls (CLOSE) left out; the least share of all heads of
            classes, 1 without one.
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


def gap(before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]], heads: Sequence[Head] = ()) -> Gap:
    """How far answers `after` are from those `before`, float (rows, ...) by output name.

    Args:
        heads: Those of `logits`. Other outputs, and `logits` without any, are probabilities whose last axis are classes.
    """
    largest, same, rows = 0.0, [], 0
    for name, old in before.items():
        new, rows = after[name], len(old)
        if new.shape != old.shape:
            raise ValueError(f"{name}: shapes {old.shape} and {new.shape}")
        if not old.size:
            continue
        told = heads if name == OUTPUT else ()
        largest = max(largest, float(np.nan_to_num(apart(old, new, told), nan=np.inf).max()))
        places = (
            [place for head, place in zip(told, slices(told), strict=True) if head.link == SOFTMAX] if told else [slice(None)]
        )
        same += [_same(old[..., place], new[..., place]) for place in places if old[..., place].shape[-1] > 1]
    return Gap(rows, largest, _least(same))


def _same(old: NDArray[Any], new: NDArray[Any]) -> NDArray[np.bool_]:
    """Of the rows that are no close call: whether the most likely class is the same."""
    best = np.sort(old, axis=-1)
    clear = best[..., -1] - best[..., -2] >= CLOSE
    equal: NDArray[np.bool_] = (new.argmax(-1) == old.argmax(-1))[clear]
    return equal


def _least(same: Sequence[NDArray[np.bool_]]) -> float:
    return min((float(one.mean()) for one in same if one.size), default=1.0)


def score_delta(metric: Metric, y: NDArray[Any], before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Metric of `after` minus that of `before`; None where it has none."""
    was, now = metric.or_none(y, before), metric.or_none(y, after)
    return None if was is None or now is None else now - was


def ensemble(before: NDArray[Any], after: NDArray[Any], metric: Metric, y: NDArray[Any], heads: Sequence[Head] = ()) -> Rung:
    """The last rung: answers float (rows, outputs) of a blend of sources, and of the same blend of exported models.

    Rows for which either has none are left out. Without `heads` they are probabilities of the classes of one.
    """
    honest = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    old, new = before[honest], after[honest]
    seen = gap({OUTPUT: old}, {OUTPUT: new}, heads)
    return Rung("ensemble", "all", "", seen.rows, seen.max_abs_diff, seen.argmax_equal, score_delta(metric, y[honest], old, new))
