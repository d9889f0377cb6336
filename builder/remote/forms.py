"""A submission file against sample_submission: what would end in a format or scoring error, found before it costs a slot."""

from __future__ import annotations

import csv
from pathlib import Path

from builder.errors import RunError, UserError

REMEDY = "compare what the notebook writes with sample_submission, then push again"
EMPTY = ("", "nan", "none", "null", "inf", "-inf")


def check(file: Path, sample: Path) -> int:
    """The number of rows of `file`, when it has the columns and ids of `sample` and no empty value.

    Both are CSV. The ids are those of the visible test, so this holds for a commit run and not for a rerun.

    Raises:
        RunError: `file` does not fit.
        UserError: `sample` cannot be read.
    """
    try:
        header, expected = _read(sample)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            "the sample submission cannot be read", file=sample, found=error, remedy="run `kkb fetch` again"
        ) from None
    try:
        columns, rows = _read(file)
    except (OSError, ValueError, csv.Error) as error:
        raise RunError("the submission file cannot be read", file=file, found=error, remedy=REMEDY) from None
    if columns != header:
        raise RunError("the submission has other columns", file=file, found=columns, expected=header, remedy=REMEDY)
    _check_ids(file, [row[0] for row in rows], [row[0] for row in expected])
    _check_values(file, columns, rows)
    return len(rows)


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if not rows:
        raise ValueError("the file is empty")
    broken = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if broken:
        raise ValueError(f"row {broken} has {len(rows[broken - 1])} columns, the first one {len(rows[0])}")
    return rows[0], rows[1:]


def _check_ids(file: Path, found: list[str], expected: list[str]) -> None:
    if len(found) != len(expected):
        raise RunError(
            "the submission has another number of rows", file=file, found=len(found), expected=len(expected), remedy=REMEDY
        )
    if len(set(found)) != len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise RunError("the submission has an id twice", file=file, found=twice, remedy=REMEDY)
    missing = set(expected) - set(found)
    if missing:
        raise RunError(
            "the submission lacks ids of the sample",
            file=file,
            found=f"{len(missing)} missing, for example {min(missing)}",
            remedy=REMEDY,
        )


def _check_values(file: Path, columns: list[str], rows: list[list[str]]) -> None:
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            if value.strip().lower() in EMPTY:
                raise RunError(
                    "the submission has an empty value", file=file, found=f"{column} of id {row[0]}: '{value}'", remedy=REMEDY
                )
