"""The submission file: what it must look like, a fallback that exists from the first minute, and its atomic replacement.

Expects: test ids in row order, probabilities (n, classes), the plan's `Answer`, and the sample submission where there is one.
Produces: a CSV file with ids verbatim, in the sample submission's order when that names the same ids, else in the test's;
    numbers with nine significant digits.
Never: leaves a half-written or invalid file; an invalid frame raises and the file of before stays.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .contract import Answer

    Floats = NDArray[np.floating[Any]]

FORMS = ("labels", "columns", "probability")


class SubmissionError(ValueError):
    """Raised when a submission would be refused: columns, ids, order, or values."""


@dataclass(frozen=True)
class Template:
    """The file's shape, fixed before the first prediction.

    Attributes:
        answer: Its columns and form.
        ids: The ids in file order.
        order: int (n,): which test row stands at each place of the file.
        fallback: What the file holds for a sample that no unit answered; columns as in the file, all text.
    """

    answer: Answer
    ids: tuple[str, ...]
    order: NDArray[np.int64]
    fallback: pd.DataFrame


def template(answer: Answer, ids: Sequence[str], sample: pd.DataFrame | None, prior: Sequence[float]) -> Template:
    """The template for the test ids. `sample` is the sample submission as text; if valid, its values are the fallback."""
    if answer.form not in FORMS:
        raise SubmissionError(f"unknown form {answer.form!r}; known are {', '.join(FORMS)}")
    order = np.arange(len(ids), dtype=np.int64)
    same = sample is not None and answer.id in sample.columns and sorted(sample[answer.id]) == sorted(ids)
    if same and sample is not None:
        place = {name: index for index, name in enumerate(ids)}
        order = np.array([place[name] for name in sample[answer.id]], dtype=np.int64)
    ordered = tuple(ids[index] for index in order.tolist())
    shape = Template(answer, ordered, order, pd.DataFrame())
    if same and sample is not None and set(answer.columns) <= set(sample.columns):
        given = sample[[answer.id, *answer.columns]].reset_index(drop=True)
        if not faults(given, shape):
            return Template(answer, ordered, order, given)
    constant = np.tile(np.asarray(prior, dtype=np.float64), (len(ids), 1))
    return Template(answer, ordered, order, _frame(answer, ordered, constant))


def compose(shape: Template, probabilities: Floats) -> pd.DataFrame:
    """The file's content for probabilities float (n, classes) in test order; NaN rows keep the fallback."""
    values = np.asarray(probabilities, dtype=np.float64)[shape.order]
    answered = np.asarray(np.isfinite(values).all(axis=1))
    frame = _frame(shape.answer, shape.ids, np.where(answered[:, None], values, 0.0))
    for name in shape.answer.columns:
        frame[name] = np.where(answered, frame[name].to_numpy(dtype=object), shape.fallback[name].to_numpy(dtype=object))
    return frame


def faults(frame: pd.DataFrame, shape: Template) -> list[str]:
    """Why Kaggle would refuse this frame; empty when it would not."""
    expected = [shape.answer.id, *shape.answer.columns]
    if list(frame.columns) != expected:
        return [f"found columns {list(frame.columns)}, expected {expected}"]
    found = [str(value) for value in frame[shape.answer.id]]
    if len(found) != len(shape.ids):
        return [f"found {len(found)} rows, expected {len(shape.ids)}"]
    out = [
        f"row {at + 1} has id {a!r}, expected {b!r}" for at, (a, b) in enumerate(zip(found, shape.ids, strict=True)) if a != b
    ][:3]
    if len(set(found)) != len(found):
        out.append("an id is there more than once")
    for name in shape.answer.columns:
        wrong = [str(value) for value in frame[name] if not _valid(value, shape.answer.form)]
        if wrong:
            out.append(f"column {name!r} has {len(wrong)} values like {wrong[0]!r}")
    return out


def validate(frame: pd.DataFrame, shape: Template) -> None:
    """Raise SubmissionError with every fault of the frame."""
    found = faults(frame, shape)
    if found:
        raise SubmissionError("the submission is not valid: " + "; ".join(found))


def validate_own(frame: pd.DataFrame) -> None:
    """Raise SubmissionError when a frame that a hook made has no rows' worth of columns or an empty cell."""
    if len(frame.columns) < 2 or len(set(frame.columns)) != len(frame.columns):
        raise SubmissionError(f"hooks.submission returned columns {list(frame.columns)}, expected an id and at least one value")
    empty = [str(name) for name in frame.columns if bool(frame[name].isna().any())]
    if empty:
        raise SubmissionError(f"hooks.submission left cells empty in columns {', '.join(empty)}")


def write(path: Path, frame: pd.DataFrame) -> None:
    """Write the frame as CSV by atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    columns = [frame[name].tolist() for name in frame.columns]
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(list(frame.columns))
        writer.writerows(zip(*columns, strict=True))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def _frame(answer: Answer, ids: Sequence[str], values: NDArray[np.float64]) -> pd.DataFrame:
    """All cells as text."""
    cells: dict[str, list[str]] = {answer.id: list(ids)}
    if answer.form == "labels":
        best = values.argmax(axis=1) if len(values) else np.zeros(0, dtype=np.int64)
        cells[answer.columns[0]] = [answer.classes[index] for index in best]
    elif answer.form == "probability":
        cells[answer.columns[0]] = [f"{value:.9g}" for value in values[:, -1].tolist()]
    else:
        # Columns that are called like the classes go by name, others (`prob_0`, ...) by place.
        by_name = set(answer.columns) == set(answer.classes)
        for place, name in enumerate(answer.columns):
            source = answer.classes.index(name) if by_name else place
            cells[name] = [f"{value:.9g}" for value in values[:, source].tolist()]
    return pd.DataFrame(cells, dtype=object)


def _valid(value: object, form: str) -> bool:
    if form == "labels":
        return value is not None and str(value) not in {"", "nan"}
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False
