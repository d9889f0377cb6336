"""The parity ladder: how far a portable model is from its source, at every batch, size and view in use, and in the metric.

Pure but for the models that are asked: they take feeds by input name and give logits by output name. `heads` say what the output
`logits` is; without any, it is one of classes, like all other outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import float_info
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import GateError
from builder.export import refusals
from builder.export.pictures import Rows, batches, count, pick
from builder.export.record import Gap, Rung, gap
from builder.runtime.backends import OUTPUT
from builder.runtime.heads import answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Answers, Run
    from builder.runtime.contract import Head

LIMITS = {"fp32": 1e-4, "fp16": 5e-3}  # int8 has none: the metric decides, or kernel.toml's max_abs_diff
FEW = 16  # rows that the smaller batches are compared on
RAGGED = 3  # rows in the last batch of a ragged run


@dataclass(frozen=True)
class Case:
    """Some rows, the view that they are seen under, and the sizes that are not the model's own, `batch` left out."""

    rows: Rows
    view: str = "identity"
    sizes: Mapping[str, int] = field(default_factory=dict)


def probabilities(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Softmax over the last axis, in float64; the logistic function where there is one output. Rows that are not finite: NaN."""
    wide = np.asarray(logits, dtype=np.float64)
    if wide.shape[-1] == 1:
        return (1 / (1 + np.exp(-np.clip(wide, -700, 700)))).astype(np.float32)
    with np.errstate(all="ignore"):
        wide = np.exp(wide - wide.max(axis=-1, keepdims=True))
        shares: NDArray[np.float32] = (wide / wide.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def predict(run: Run, rows: Rows, batch: int, heads: Sequence[Head] = ()) -> Answers:
    """Answers by output name when `rows` come in batches of `batch`, the last one with what is left."""
    parts = [run(part) for part in batches(rows, batch)]
    logits = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: answers(one, heads) if heads and name == OUTPUT else probabilities(one) for name, one in logits.items()}


def refuse_not_finite(answers: Answers) -> None:
    """Raise GateError, naming output and row, when a source's own answers are no numbers."""
    for name, values in answers.items():
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise refusals.not_finite(name, int(bad.argmax()))


def ladder(expected: Answers, other: Run, step: str, case: Case, planned: int, heads: Sequence[Head] = ()) -> Iterator[Rung]:
    """Compare with what the source said of the rows, `expected`, at batch 1, 2, `planned` and with a ragged last batch."""
    rows = count(case.rows)
    few, ragged = np.arange(min(FEW, rows)), np.arange(planned + RAGGED) % rows
    for batch, label, chosen in (
        (1, "1", few),
        (2, "2", few),
        (planned, str(planned), np.arange(rows)),
        (planned, f"{planned}, ragged", ragged),
    ):
        seen = asked(other, pick(case.rows, chosen), batch, heads, next(iter(case.sizes), "batch"))
        before = {name: values[chosen] for name, values in expected.items()}
        yield rung(step, case.view, label, gap(before, seen, heads), sizes=case.sizes)


def asked(run: Run, rows: Rows, batch: int, heads: Sequence[Head] = (), axis: str = "batch") -> Answers:
    """`predict`, for a model that may have been traced for one size of `axis` only: its failure is a refusal."""
    first = next(batches(rows, batch))
    shapes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in first.items())
    try:
        found = predict(run, rows, batch, heads)
    except Exception as error:
        raise refusals.fixed(axis, f"batches of {batch} ({shapes}) fail: {' '.join(str(error).split())[:300]}") from error
    for name, values in found.items():
        if len(values) != count(rows):
            told = f"{len(values)} answers in '{name}' for {count(rows)} rows in batches of {batch} ({shapes})"
            raise refusals.fixed(axis, told)
    return found


def rung(
    step: str, view: str, batch: str, seen: Gap, *, sizes: Mapping[str, int] | None = None, score_delta: float | None = None
) -> Rung:
    """One line of the ladder."""
    return Rung(step, view, batch, seen.rows, seen.max_abs_diff, seen.argmax_equal, score_delta, dict(sizes or {}))


def limit(precision: str, max_abs_diff: float | None, *, judged: bool) -> float | None:
    """Largest difference of an answer that is let through; None when the metric alone decides.

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
    if worst is None or worst.max_abs_diff <= (allowed if allowed is not None else float_info.max):
        return None
    return worst
