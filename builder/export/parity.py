"""The parity ladder: how far a portable model is from its source, at every batch, size and view in use, and in the metric.

Pure but for the two models that are asked: `source` and `other` take feeds by input name and give logits by output name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import GateError
from builder.export import refusals
from builder.export.record import Gap, Rung, gap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Answers, Feeds, Run, Source
    from builder.metrics import Metric

LIMITS = {"fp32": 1e-4, "fp16": 5e-3}  # int8 has none: the metric decides, or kernel.toml's max_abs_diff
FEW = 16  # rows that the smaller batches are compared on
RAGGED = 3  # rows in the last batch of a ragged run


def probabilities(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Softmax over the last axis, in float64; the logistic function where there is one output. Rows that are not finite: NaN."""
    wide = np.asarray(logits, dtype=np.float64)
    if wide.shape[-1] == 1:
        return (1 / (1 + np.exp(-np.clip(wide, -700, 700)))).astype(np.float32)
    with np.errstate(all="ignore"):
        wide = np.exp(wide - wide.max(axis=-1, keepdims=True))
        shares: NDArray[np.float32] = (wide / wide.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def predict(run: Run, feeds: Feeds, batch: int) -> Answers:
    """Probabilities by output name when the rows of `feeds` come in batches of `batch`, the last one with what is left."""
    parts = [run(part) for part in batches(feeds, batch)]
    return {name: probabilities(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def batches(feeds: Feeds, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    """`feeds` in pieces of `batch` rows."""
    rows = len(next(iter(feeds.values())))
    for start in range(0, rows, batch):
        yield {name: values[start : start + batch] for name, values in feeds.items()}


def resized(source: Source, feeds: Feeds, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """`feeds` with each named axis cut to its size, or repeated up to it."""
    out = dict(feeds)
    for port in source.inputs:
        for place, axis in enumerate(port.axes):
            if place and isinstance(axis, str) and axis in sizes:
                out[port.name] = np.take(out[port.name], np.arange(sizes[axis]), axis=place, mode="wrap")
    return out


def refuse_not_finite(answers: Answers) -> None:
    """Raise GateError, naming output and row, when a source's own answers are no numbers."""
    for name, values in answers.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise refusals.not_finite(name, int(bad.argmax()))


def ladder(
    source: Source, other: Run, step: str, feeds: Feeds, *, planned: int, sizes: Sequence[Mapping[str, int]] = ({},)
) -> Iterator[Rung]:
    """Compare at batch 1, 2, `planned` and with a ragged last batch, at each of `sizes`; `feeds` are some rows.

    The source is asked once per size: what it says of a row does not depend on the others.
    """
    rows = len(next(iter(feeds.values())))
    few, ragged = np.arange(min(FEW, rows)), np.arange(planned + RAGGED) % rows
    for size in sizes:
        cut = resized(source, feeds, size)
        expected = predict(source.answers, cut, planned)
        for batch, label, chosen in (
            (1, "1", few),
            (2, "2", few),
            (planned, str(planned), np.arange(rows)),
            (planned, f"{planned}, ragged", ragged),
        ):
            seen = asked(other, {name: values[chosen] for name, values in cut.items()}, batch)
            before = {name: values[chosen] for name, values in expected.items()}
            yield rung(step, "identity", label, gap(before, seen), sizes=size)


def asked(run: Run, feeds: Feeds, batch: int) -> Answers:
    """`predict`, for a model that may have been traced for one size only: its failure is a refusal."""
    shapes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in feeds.items())
    try:
        found = predict(run, feeds, batch)
    except Exception as error:
        raise refusals.fixed("batch", f"batches of {batch} ({shapes}) fail: {' '.join(str(error).split())[:300]}") from error
    rows = len(next(iter(feeds.values())))
    for name, values in found.items():
        if len(values) != rows:
            raise refusals.fixed("batch", f"{len(values)} answers in '{name}' for {rows} rows in batches of {batch} ({shapes})")
    return found


def rung(
    step: str, view: str, batch: str, seen: Gap, *, sizes: Mapping[str, int] | None = None, score_delta: float | None = None
) -> Rung:
    """One line of the ladder."""
    return Rung(step, view, batch, seen.rows, seen.max_abs_diff, seen.argmax_equal, score_delta, dict(sizes or {}))


def limit(precision: str, max_abs_diff: float | None, *, judged: bool) -> float | None:
    """Largest difference of a probability that is let through; None when the metric alone decides.

    Args:
        precision: Of the exported model.
        max_abs_diff: What kernel.toml says.
        judged: True when the metric is compared on rows that the model had not seen.
    """
    if max_abs_diff is not None:
        return max_abs_diff
    if precision == "fp32" or not judged:
        if precision not in LIMITS:
            raise GateError(
                f"nothing tells whether the {precision} export is good enough",
                found="no rows that this model did not see",
                expected="out-of-fold rows for the metric, or a largest difference of a probability",
                remedy="set export.max_abs_diff in kernel.toml",
            )
        return LIMITS[precision]
    return None


def worst(rungs: Iterable[Rung], allowed: float | None) -> Rung | None:
    """The rung that is furthest off, when it is further than `allowed`; without a limit, one whose answers are no numbers."""
    worst = max(rungs, key=lambda one: one.max_abs_diff, default=None)
    if worst is None or worst.max_abs_diff <= (allowed if allowed is not None else 1.0):
        return None
    return worst


def score_delta(metric: Metric, y: NDArray[np.int64], before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Metric of `after` minus that of `before`; None where it has none."""
    was, now = metric.or_none(y, before), metric.or_none(y, after)
    return None if was is None or now is None else now - was


def ensemble(
    before: Sequence[NDArray[Any]], after: Sequence[NDArray[Any]], weights: Sequence[float], metric: Metric, y: NDArray[np.int64]
) -> Rung:
    """The last rung: weighted means of probabilities float (rows, classes), of sources and of exported models, on honest rows."""
    pooled = [np.tensordot(np.asarray(weights), np.stack(arrays), axes=1) for arrays in (before, after)]
    honest = np.isfinite(pooled[0]).all(axis=1)
    old, new = (array[honest] for array in pooled)
    return rung(
        "ensemble", "all", "", gap({"logits": old}, {"logits": new}), score_delta=score_delta(metric, y[honest], old, new)
    )
