"""From numbers to cells: what a model's outputs are called in the submission, in each of its forms.

Expects: the plan's `Answer`, and finite answers (n, outputs).
Produces: text, one row for each answer and one cell for each column of the file (in the long form: for each output).
Never: rounds what was not decided to be rounded, but to nine significant digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import BY_HEAD
from .decide import Decision, DecisionError, Step, apply
from .heads import IDENTITY, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Answer, Head

    Floats = NDArray[np.floating[Any]]
    Cells = NDArray[np.object_]

__all__ = ["DecisionError", "cells", "decision_of", "named", "places", "row_key"]

HALF = 0.5
MOST_PROBABLE = Decision((Step("argmax"),))


def decision_of(answer: Answer) -> Decision:
    """The decision in `answer`, or the plain one of its form. Raises DecisionError when it is none."""
    if answer.decision is not None:
        return Decision.from_json(answer.decision)
    if answer.form == "labels":
        return MOST_PROBABLE
    if answer.form == "strings":
        return Decision((Step("thresholds", (HALF,) * len(answer.classes), least=1),))
    return Decision()


def cells(answer: Answer, values: Floats) -> Cells:
    """object (n, columns of the file), or (n, outputs) in the long form: the text of every cell.

    Raises DecisionError when the decision is not for these outputs, or not for this form.
    """
    if answer.form in BY_HEAD:
        return _of_heads(answer, values)
    decision = decision_of(answer)
    decided = apply(decision, values)
    if answer.form == "labels":
        return _column(_labels(decided, answer.form, answer.classes))
    if answer.form == "strings":
        return _column(_strings(decided, decision.kind, answer.classes))
    if decided.ndim == 1 and answer.form in {"columns", "long"} and len(answer.classes) > 1:
        decided = np.eye(len(answer.classes), dtype=np.int64)[_codes(decided, answer.form, len(answer.classes))]
    if decided.ndim == 1:
        decided = decided[:, None]
    if answer.form == "probability":
        decided = decided[:, -1:]
    elif decided.shape[1] != len(answer.classes):
        raise DecisionError(f"found {decided.shape[1]} numbers for each row, expected {len(answer.classes)}")
    elif answer.form != "long":
        decided = decided[:, places(answer.columns, answer.classes)]
    out = np.empty(decided.shape, dtype=object)
    for column in range(decided.shape[1]):
        out[:, column] = [number(value) for value in decided[:, column].tolist()]
    return out


def number(value: float) -> str:
    """Nine significant digits; whole numbers with all of theirs."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return f"{value:.0f}" if whole else f"{value:.9g}"


def places(columns: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Which output each column shows: by name, by the name after what all columns begin with (`prob_cat`), else by place."""
    if len(columns) != len(classes):
        raise DecisionError(f"found {len(columns)} columns for {len(classes)} outputs")
    for label in classes:
        begin = columns[0].removesuffix(label)
        named = {begin + other: place for place, other in enumerate(classes)}
        if columns[0].endswith(label) and set(named) == set(columns):
            return [named[name] for name in columns]
    return list(range(len(columns)))


def row_key(pattern: str, name: str, label: str) -> str:
    """The id of a row of the long form: `{id}_{class}` filled in."""
    parts = re.split(r"(\{id\}|\{class\})", pattern)
    return "".join({"{id}": name, "{class}": label}.get(part, part) for part in parts)


def named(answer: Answer) -> tuple[str, ...]:
    """What the ids of a long form are joined with: classes, or heads."""
    return tuple(head.name for head in answer.heads) if answer.form in BY_HEAD else answer.classes


def _of_heads(answer: Answer, values: Floats) -> Cells:
    """One column per head, of labels or of numbers, each head decided on its own outputs."""
    columns = answer.columns if answer.form == "heads" else named(answer)
    if set(columns) != {head.name for head in answer.heads} or len(columns) != len(answer.heads):
        raise DecisionError(f"found columns {', '.join(columns)} of heads {', '.join(h.name for h in answer.heads)}")
    made = {
        head.name: _column(_of_head(head, values[:, place], answer.form))
        for head, place in zip(answer.heads, slices(answer.heads), strict=True)
    }
    return np.concatenate([made[name] for name in columns], axis=1)


def _of_head(head: Head, values: Floats, form: str) -> list[str]:
    plain = Decision() if head.link == IDENTITY else MOST_PROBABLE
    decided = apply(plain if head.decision is None else Decision.from_json(head.decision), values)
    if head.link != IDENTITY:
        return _labels(decided, form, head.classes)
    if decided.size != len(values):
        raise DecisionError(f"the form {form!r} has one number for each row of {head.name!r}, found {values.shape[1]}")
    return [number(value) for value in decided.reshape(-1).tolist()]


def _labels(decided: NDArray[Any], form: str, classes: Sequence[str]) -> list[str]:
    return [classes[code] for code in _codes(decided, form, len(classes))]


def _codes(decided: NDArray[Any], form: str, count: int) -> list[int]:
    if decided.ndim != 1 or decided.dtype.kind != "i":
        raise DecisionError(f"the form {form!r} needs one class for each row, and none was decided")
    if len(decided) and not 0 <= decided.min() <= decided.max() < count:
        raise DecisionError(f"class number {decided.max()} was decided, and there are {count}")
    return [int(code) for code in decided]


def _strings(decided: NDArray[Any], kind: str, classes: Sequence[str]) -> list[str]:
    if kind == "top":
        return [" ".join(classes[code] for code in row) for row in decided.tolist()]
    if kind != "thresholds":
        raise DecisionError(f"the form 'strings' needs thresholds or the top classes, found {kind or 'nothing decided'}")
    return [" ".join(label for label, there in zip(classes, row, strict=True) if there) for row in decided.tolist()]


def _column(texts: list[str]) -> Cells:
    out = np.empty((len(texts), 1), dtype=object)
    out[:, 0] = texts
    return out
