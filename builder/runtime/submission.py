"""The submission file: what it must look like, a fallback that exists from the first minute, and its atomic replacement.

Expects: test ids in row order, answers (n, outputs), the plan's `Answer`, and the sample submission where there
    is one.
Produces: a CSV or Parquet file with ids verbatim, in the sample submission's order when that names the same ids, else in the
    test's; numbers with nine significant digits.
Never: leaves a half-written or invalid file; an invalid frame raises and the file of before stays.
"""

from __future__ import annotations

import csv
import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .answers import DecisionError, cells, decision_of, named, row_key
from .columns import typed
from .contract import BY_HEAD
from .heads import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .contract import Answer

    Floats = NDArray[np.floating[Any]]

FORMS = ("labels", "columns", "probability", "strings", "numbers", "long", *BY_HEAD)
PARQUET = ".parquet"
WHOLE = re.compile(r"(-?[0-9]+)\.0+")  # an id that pandas once read as a float


class SubmissionError(ValueError):
    """Raised when a submission would be refused: columns, ids, order, or values."""


@dataclass(frozen=True)
class Template:
    """The file's shape, fixed before the first prediction.

    Attributes:
        answer: Its columns and form.
        ids: The ids in file order.
        order: int (rows of the file,): which test row stands at each place of the file.
        fallback: What the file holds for a sample that no unit answered; columns as in the file, all text.
        place: Of the long forms, int (rows of the file,): which output, or head, stands at each place; else empty.
    """

    answer: Answer
    ids: tuple[str, ...]
    order: NDArray[np.int64]
    fallback: pd.DataFrame
    place: NDArray[np.int64]

    @property
    def key(self) -> str:
        """The file's id column."""
        return self.answer.key_column or self.answer.id


def template(answer: Answer, ids: Sequence[str], sample: pd.DataFrame | None, prior: Sequence[float]) -> Template:
    """The template for the test ids. `sample` is the sample submission as text; if valid, its values are the fallback."""
    if answer.form not in FORMS:
        raise SubmissionError(f"unknown form {answer.form!r}; known are {', '.join(FORMS)}")
    shape = _shape(answer, ids)
    given = None if sample is None else _arranged(shape, sample)
    if given is not None:
        order, spelled = given
        place = shape.place[order] if answer.key else shape.place
        shape = Template(answer, spelled, shape.order[order], shape.fallback, place)
    if given is not None and sample is not None and set(answer.columns) <= set(sample.columns):
        values = sample[[shape.key, *answer.columns]].reset_index(drop=True)
        if not faults(values, shape):
            return Template(answer, shape.ids, shape.order, values, shape.place)
    constant = np.tile(np.asarray(prior, dtype=np.float64), (len(ids), 1))
    return Template(answer, shape.ids, shape.order, _frame(shape, constant), shape.place)


def _shape(answer: Answer, ids: Sequence[str]) -> Template:
    """The template in the test's own order, without a fallback."""
    order, empty = np.arange(len(ids), dtype=np.int64), np.zeros(0, dtype=np.int64)
    if not answer.key:
        return Template(answer, tuple(ids), order, pd.DataFrame(), empty)
    labels = named(answer)
    keys = tuple(row_key(answer.key, name, label) for name in ids for label in labels)
    place = np.tile(np.arange(len(labels), dtype=np.int64), len(ids))
    return Template(answer, keys, order.repeat(len(labels)), pd.DataFrame(), place)


def _arranged(shape: Template, sample: pd.DataFrame) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """Where the ids of `sample` stand in `shape`, and their spelling; None when it names others.

    Spellings differ where the sample was written by a program that read whole ids as floats: `7.0` is then the id 7.
    """
    if shape.key not in sample.columns:
        return None
    spelled = tuple(str(name) for name in sample[shape.key])
    for same in (str, whole):
        place = {same(name): index for index, name in enumerate(shape.ids)}
        found = [place.get(same(name)) for name in spelled]
        if len(place) == len(shape.ids) == len(found) and len(set(found)) == len(found) and None not in found:
            return np.array(found, dtype=np.int64), spelled
    return None


def whole(name: str) -> str:
    """The id without the `.0` of a program that read it as a float."""
    match = WHOLE.fullmatch(name)
    return match[1] if match else name


def compose(shape: Template, answers: Floats) -> pd.DataFrame:
    """The file's content for answers float (n, outputs) in test order; NaN rows keep the fallback."""
    values = np.asarray(answers, dtype=np.float64)
    answered = np.asarray(np.isfinite(values).all(axis=1))
    frame = _frame(shape, values[answered], answered)
    there = answered[shape.order]
    for name in shape.answer.columns:
        frame[name] = np.where(there, frame[name].to_numpy(dtype=object), shape.fallback[name].to_numpy(dtype=object))
    return typed(frame, shape.answer) if shape.answer.file.endswith(PARQUET) else frame


def faults(frame: pd.DataFrame, shape: Template) -> list[str]:
    """Why Kaggle would refuse this frame; empty when it would not."""
    expected = [shape.key, *shape.answer.columns]
    if list(frame.columns) != expected:
        return [f"found columns {list(frame.columns)}, expected {expected}"]
    found = [str(value) for value in frame[shape.key]]
    if len(found) != len(shape.ids):
        return [f"found {len(found)} rows, expected {len(shape.ids)}"]
    out = [
        f"row {at + 1} has id {a!r}, expected {b!r}" for at, (a, b) in enumerate(zip(found, shape.ids, strict=True)) if a != b
    ][:3]
    if len(set(found)) != len(found):
        out.append("an id is there more than once")
    for name in shape.answer.columns:
        kinds = zip(frame[name], _are_labels(shape, name), strict=True)
        wrong = [str(value) for value, is_label in kinds if not _valid(value, shape.answer, is_label=is_label)]
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
    """Write the frame as CSV, or as Parquet when the file is called so, by atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix == PARQUET:
        frame.to_parquet(partial, index=False)
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
    else:
        _write_csv(partial, frame)
    partial.replace(path)


def _write_csv(partial: Path, frame: pd.DataFrame) -> None:
    columns = [frame[name].tolist() for name in frame.columns]
    with partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(list(frame.columns))
        writer.writerows(zip(*columns, strict=True))
        stream.flush()
        os.fsync(stream.fileno())


def _frame(shape: Template, values: Floats, answered: NDArray[np.bool_] | None = None) -> pd.DataFrame:
    """All cells as text, of answers to those test rows that are `answered` (all); the cells of others are None."""
    try:
        table = cells(shape.answer, values)
    except DecisionError as error:
        raise SubmissionError(str(error)) from None
    if answered is not None:
        whole = np.full((len(answered), table.shape[1]), None, dtype=object)
        whole[answered] = table
        table = whole
    if shape.answer.key:
        columns = {shape.answer.columns[0]: table[shape.order, shape.place]}
    else:
        columns = {name: table[shape.order, column] for column, name in enumerate(shape.answer.columns)}
    return pd.DataFrame({shape.key: list(shape.ids), **columns}, dtype=object)


def _are_labels(shape: Template, column: str) -> list[bool]:
    """Whether each cell of a column names a class."""
    answer, rows = shape.answer, len(shape.ids)
    if answer.form not in BY_HEAD:
        return [answer.form == "labels"] * rows
    found = [head.link != IDENTITY for head in answer.heads]
    if answer.form == "heads":
        return [found[[head.name for head in answer.heads].index(column)]] * rows
    return [found[place] for place in shape.place.tolist()]


def _valid(value: object, answer: Answer, *, is_label: bool) -> bool:
    if is_label:
        return value is not None and str(value) not in {"", "nan"}
    if answer.form == "strings":
        last = decision_of(answer).steps[-1]
        blank = answer.decision is not None and last.kind == "thresholds" and not last.least
        return value is not None and (blank or str(value).strip() not in {"", "nan"})
    try:
        return math.isfinite(float(str(value)))
    except ValueError:
        return False
