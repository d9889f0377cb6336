"""A submission file against the competition's sample submission, when nobody knows the labels.

Expects: a competition's folder with a sample submission; optionally its train.csv, which tells the classes of a text column.
Produces: nothing, or scoring.Rejected with Kaggle's label: columns, rows and ids are the form, values are the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import UserError
from builder.scoring import FORMAT_ERROR, NOT_FOUND, SCORING_ERROR, Rejected, read_table

TABLES = (".csv", ".parquet")
MOST_CLASSES = 1000
MOST_FILES = 1000  # looked at to say where a missing file is instead
TRAIN_BYTES = 1 << 30


@dataclass(frozen=True)
class Column:
    """What a column of answers must hold.

    Attributes:
        name: Its name.
        number: Whether every value must be a finite number.
        blank: Whether a value may be empty.
        classes: The only values allowed; empty when any text is.
        several: Whether a value may be several of the classes, separated by blanks.
    """

    name: str
    number: bool
    blank: bool
    classes: frozenset[str]
    several: bool = False


@dataclass(frozen=True)
class Form:
    """What a submission must look like: the id column, the ids, the columns of answers."""

    id: str
    ids: tuple[str, ...]
    columns: tuple[Column, ...]


def find_sample(competition: Path) -> Path:
    """The sample submission. Raises UserError when there is none, or more than one."""
    found = sorted(path for path in competition.iterdir() if path.suffix in TABLES and _is_sample(path.stem))
    exact = [path for path in found if path.stem.lower() in ("sample_submission", "samplesubmission")]
    if len(exact or found) == 1:
        return (exact or found)[0]
    raise UserError(
        "several files may be the sample submission" if found else "no sample submission here",
        file=competition,
        found=", ".join(path.name for path in found) or ", ".join(sorted(path.name for path in competition.iterdir())[:10]),
        expected="one sample_submission.csv: it decides rows, columns and kinds",
        remedy="leave only the right one" if found else "put the competition's sample_submission.csv there",
    )


def _is_sample(stem: str) -> bool:
    return "sample" in stem.lower() and "sub" in stem.lower()


def form_of(competition: Path) -> Form:
    """The form that the sample submission of `competition` gives. Raises UserError when it has none."""
    path = find_sample(competition)
    try:
        sample = read_table(path)
    except Rejected as rejected:
        raise UserError("the sample submission cannot be read", file=path, found=rejected.reason) from None
    names = [str(name) for name in sample.columns]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            "the sample submission is not in sample form",
            file=path,
            found=f"columns {', '.join(names) or 'none'}",
            expected="an id column and at least one column of answers",
        )
    texts = sample.astype(str)
    train = _text_columns(competition / "train.csv", names[1:])
    columns = tuple(_column(name, texts[name], train.get(name)) for name in names[1:])
    return Form(names[0], tuple(texts[names[0]]), columns)


def _column(name: str, shown: Any, trained: Any) -> Column:
    """What a column must hold by what the sample shows, and by what the training table has there, if these are words."""
    blank = bool((shown.str.strip() == "").any())
    if trained is None:  # a sample may hold zeros where the labels are words
        return Column(name, _all_numbers(shown), blank, frozenset())
    values, most = frozenset(trained), min(MOST_CLASSES, len(trained) // 2)
    labels = _labels_in_strings(trained, shown)
    if labels:
        return Column(name, False, blank or "" in values, labels if len(labels) <= most else frozenset(), several=True)
    return Column(name, False, blank, values if len(values) <= most else frozenset())


def _labels_in_strings(trained: Any, shown: Any) -> frozenset[str]:
    """The labels of which cells hold several, separated by blanks; empty where a cell is one class, or a text."""
    values, rows = frozenset(trained), [cell.split() for cell in trained]
    labels = frozenset(label for row in rows for label in row)
    if any(len(row) > 1 for row in rows):  # a set of labels holds none twice, and they come back in other sets
        return labels if len(labels) < len(values) and all(len(row) == len(set(row)) for row in rows) else frozenset()
    return labels if any(len(row := cell.split()) > 1 and set(row) <= values for cell in shown) else frozenset()


def _all_numbers(values: Any) -> bool:
    """Whether every value that is there is a number; a column without any is taken for numbers."""
    import pandas as pd

    filled = values[values.str.strip() != ""]
    return bool(pd.to_numeric(filled, errors="coerce").notna().all()) and (len(filled) > 0 or not len(values))


def _text_columns(train: Path, names: list[str]) -> dict[str, Any]:
    """The columns of the training table that hold words."""
    import pandas as pd

    if not train.is_file() or train.stat().st_size > TRAIN_BYTES:
        return {}
    try:
        table = pd.read_csv(train, dtype=str, keep_default_na=False, usecols=lambda name: name in names)
    except (ValueError, OSError):
        return {}
    return {str(name): table[name] for name in table.columns if not _all_numbers(table[name])}


def judge(working: Path, file: str, form: Form) -> int:
    """The rows of the submission `working/file`. Raises Rejected with Kaggle's label and a reason when it would not be scored."""
    path = working / file
    if not path.is_file():
        raise Rejected(NOT_FOUND, _instead(working, file))
    given = read_table(path)
    _check_columns([str(name) for name in given.columns], [form.id, *(column.name for column in form.columns)])
    _check_ids(given[form.id].astype(str).tolist(), form.ids)
    for column in form.columns:
        _check_values(given[column.name], column)
    return len(given)


def _instead(working: Path, file: str) -> str:
    """What is there in place of a missing submission."""
    if (working / file).is_dir():
        return f"{file} is a folder"
    found = []
    for number, path in enumerate(sorted(working.rglob("*"))):
        if number >= MOST_FILES:
            break
        if path.is_file() and (path.suffix in TABLES or path.name.lower() == file.lower()):
            found.append(str(path.relative_to(working)))
    more = f", only {', '.join(found[:5])}" if found else ""
    return f"there is no {file} in /kaggle/working{more}"


def _check_columns(found: list[str], expected: list[str]) -> None:
    if sorted(found) == sorted(expected):
        return
    hint = ""
    if any(name.startswith("Unnamed:") for name in found):
        hint = "; a column without a name is an index: write with to_csv(index=False)"
    elif len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
        hint = "; the separator must be a comma"
    raise Rejected(FORMAT_ERROR, f"found the columns {_some(found)}, expected {_some(expected)}{hint}")


def _check_ids(found: list[str], expected: tuple[str, ...]) -> None:
    wanted, seen = set(expected), set(found)
    if len(found) != len(expected):
        raise Rejected(FORMAT_ERROR, f"found {len(found)} rows, expected {len(expected)}{_difference(seen, wanted)}")
    if len(seen) != len(found) and len(wanted) == len(expected):
        twice: set[str] = set()
        first = next(key for key in found if key in twice or twice.add(key))  # type: ignore[func-returns-value]
        raise Rejected(FORMAT_ERROR, f"the id '{first}' occurs more than once")
    if seen != wanted:
        raise Rejected(FORMAT_ERROR, f"the ids differ from the sample's{_difference(seen, wanted)}")


def _difference(seen: set[str], wanted: set[str]) -> str:
    missing, strange = sorted(wanted - seen), sorted(seen - wanted)
    text = f"; {len(missing)} ids are missing, first '{missing[0]}'" if missing else ""
    return text + (f"; {len(strange)} ids are unknown, first '{strange[0]}'" if strange else "")


def _check_values(values: Any, column: Column) -> None:
    import numpy as np
    import pandas as pd

    texts = values.astype(str).str.strip()
    blank = values.isna() | (texts == "")
    if blank.any() and not column.blank:
        raise Rejected(SCORING_ERROR, f"the column '{column.name}' has {int(blank.sum())} empty values")
    texts = texts[~blank]
    if column.number:
        numbers = np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=np.float64)
        bad = ~np.isfinite(numbers)
        if bad.any():
            first = texts[bad].iloc[0]
            words = f"the column '{column.name}' has {int(bad.sum())} values that are not finite numbers, first '{first}'"
            raise Rejected(SCORING_ERROR, words)
        return
    given = {label for text in texts for label in text.split()} if column.several else set(texts)
    if column.classes and not given <= column.classes:
        strange = sorted(given - column.classes)
        words = f"the column '{column.name}' has values that are not among the {len(column.classes)} classes of train.csv"
        raise Rejected(SCORING_ERROR, f"{words}, first '{strange[0]}'")


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
