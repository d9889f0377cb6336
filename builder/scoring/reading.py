"""Truth and submission as the arrays that a metric takes, in every form that a submission may have.

    truth in the solution            submission
    one column of labels             one column of labels; the probability of class 1; a probability for each class (columns are
                                     named after the classes)
    one column of label strings      one column of label strings (`a c`), a ranking where the metric is one; a column of numbers
                                     for each label
    one column for each label, 0/1   the same columns
    one column for each target       the same columns, numbers
    several columns of labels        the same columns; each is scored on its own, and the score is the mean (`metrics/heads.py`).
                                     Numbers may be among them, where the metric is told for each: `kind=accuracy, price=rmse`

Long: one row for each id and class, `id_class`, numbers in one column. A metric that looks at single classes (`mean(auc)`) gets
them as a table; one that is told for each target gets the rows of each, `id_kind` and `id_price`; to any other each row is a
sample of its own.

Raises Rejected, with Kaggle's label, for what a submission must not hold, and UserError for a solution that is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import metrics
from builder.errors import UserError
from builder.metrics import CLASSES, LABELS, MULTILABEL, NUMBERS, RANKING, Metric
from builder.metrics import heads as by_head
from builder.scoring import SCORING_ERROR, USAGE, Rejected
from builder.scoring.grid import ending, grid

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Table = pd.DataFrame
    Arrays = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """What one metric judges.

    Attributes:
        judge: The metric.
        y, p: The truth and what is judged, as the metric takes them.
        rows: int, the row of the solution with which each row of these arrays begins.
    """

    judge: Metric
    y: NDArray[Any]
    p: NDArray[Any]
    rows: NDArray[Any]


def parts(
    given: Table, truth: Table, columns: Sequence[str], metric: str, folder: Path | None = None, several: Sequence[str] = ()
) -> list[Part]:
    """What is scored, and whose mean is the score: one part, or one for each of several columns of labels.

    Args:
        given: The submission, in the solution's order.
        truth: The solution.
        columns: The columns of answers in the sample submission.
        metric: Its name; `folder` is where one of the user's own lies.
        several: The targets that are scored one by one, where that is known.
    """
    several = several or heads(truth, columns, metric, folder)
    if not several:
        judge = metrics.get(metric, folder)
        return [Part(judge, *read(given, truth, columns, judge))]
    judges = by_head.each(metric, several, folder)
    if len(columns) == 1 and list(several) != list(columns):
        return _long_heads(given, truth, columns[0], several, judges)
    _refuse_other(several, columns)
    every = np.arange(len(truth))
    return [
        Part(judge, *_head(given[name], truth[name], name, judge), every) for name, judge in zip(several, judges, strict=True)
    ]


def _long_heads(given: Table, truth: Table, column: str, several: Sequence[str], judges: Sequence[Metric]) -> list[Part]:
    """One row for each id and target."""
    keys = truth[truth.columns[0]].astype(str).tolist()
    rows = {name: np.array(places, dtype=np.int64) for name, places in ending(keys, several).items()}
    if len({len(places) for places in rows.values()}) != 1 or sum(map(len, rows.values())) != len(keys):
        raise UserError(
            "the solution has not one row for each id and target",
            found=f"ids such as '{keys[0]}'",
            expected=f"each id joined with each of {', '.join(several)}",
            remedy="check the metric, or mend the ids of the solution",
        )
    answers = [str(name) for name in truth.columns[1:] if name != USAGE]
    if answers != [column]:
        _refuse_other(answers, [column])
    return [
        Part(judge, *_head(given[column].iloc[rows[name]], truth[column].iloc[rows[name]], name, judge), rows[name])
        for name, judge in zip(several, judges, strict=True)
    ]


def heads(truth: Table, columns: Sequence[str], metric: str, folder: Path | None = None) -> tuple[str, ...]:
    """The columns of a solution that each hold the one label of a row; none: they are one column, or numbers, or 0 and 1.

    Columns of 0 and 1 are labels of which each is there or not, unless the metric is told for each: `kind=mcc, size=mcc`. Then
    targets may have numbers, too, and a row each in place of a column.
    """
    answers = tuple(str(name) for name in truth.columns[1:] if name != USAGE)
    if by_head.GIVEN in metric:
        return answers if len(answers) > 1 else by_head.told(metric)
    judge = metrics.get(metric, folder)
    if len(answers) < 2 or set(answers) != set(columns) or (judge.truths and CLASSES not in judge.truths):
        return ()
    cells = {canonical(str(cell)) for name in answers for cell in truth[name]}
    plain = cells <= {"0", "1"} if judge.truths else all(map(is_number, cells))
    return () if plain else answers


def read(given: Table, truth: Table, columns: Sequence[str], judge: Metric) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(truth, what is judged, rows) of one part."""
    answers = [str(name) for name in truth.columns[1:] if name != USAGE]
    every = np.arange(len(truth))
    if not answers:
        raise UserError("the solution has no truth", found=", ".join(map(str, truth.columns)), expected=f"id, label, {USAGE}")
    if judge.truths == (NUMBERS,) or len(answers) > 1:
        y, p = _table(given, truth, columns, answers, judge)
    elif judge.truths == (MULTILABEL,) and len(columns) == 1 and all(map(is_number, truth[answers[0]].astype(str))):
        y, p = _pair(given, truth, columns, answers)
    else:
        cells = truth[answers[0]].astype(str).tolist()
        return *_labels(given, cells, list(columns), judge), every
    if judge.name.startswith("mean(") and y.shape[1] == 1 and (found := grid(truth[truth.columns[0]].astype(str).tolist())):
        places, _ = found
        return y[:, 0][places], p[:, 0][places], places[:, 0]
    if MULTILABEL in judge.truths and y.shape[1] == 1 and judge.truths == (MULTILABEL,):
        found = grid(truth[truth.columns[0]].astype(str).tolist())
        places = found[0] if found else every[:, None]
        return y[:, 0][places], p[:, 0][places], places[:, 0]
    one = judge.truths == (NUMBERS,) and y.shape[1] == 1
    return (y[:, 0], p[:, 0], every) if one else (y, p, every)


def _pair(given: Table, truth: Table, columns: Sequence[str], answers: Sequence[str]) -> Arrays:
    """Two tables of numbers with the same columns, by name or, of one, by place."""
    if not len(columns) == len(answers) == 1:
        _refuse_other(answers, columns)
    named = list(columns) if len(columns) > 1 else list(answers)
    y = np.column_stack([_known(truth[name], name) for name in named])
    return y, np.column_stack([numbers(given[name], name) for name in columns])


def _table(given: Table, truth: Table, columns: Sequence[str], answers: Sequence[str], judge: Metric) -> Arrays:
    """Several columns of truth, or numbers: the submission has the same columns."""
    y, p = _pair(given, truth, columns, answers)
    if judge.truths and judge.truths != (NUMBERS,) and MULTILABEL not in judge.truths:
        if not ((y == 0) | (y == 1)).all() or not (y.sum(axis=1) == 1).all():
            raise UserError(
                f"the metric {judge.name} takes one class for each row",
                found="rows of the solution with none or several",
                expected="one 1 in each row",
                remedy="use a metric of several labels, or one column of labels",
            )
        return y.argmax(axis=1), p
    return y, p


def _refuse_other(answers: Sequence[str], columns: Sequence[str]) -> None:
    if set(columns) != set(answers):
        raise UserError(
            "the solution has other columns than the sample submission",
            found=", ".join(answers),
            expected=", ".join(columns),
            remedy="give the solution the columns of the sample submission",
        )


def _head(given: Any, truth: Any, name: str, judge: Metric) -> Arrays:
    """One of several columns, of labels, or of numbers where its metric takes these."""
    if judge.truths == (NUMBERS,):
        return _known(truth, name), numbers(given, name)
    cells = truth.astype(str).tolist()
    if (judge.truths and CLASSES not in judge.truths) or judge.prediction == RANKING:
        found = f"'{name}' of several columns"
        raise UserError(f"the metric {judge.name} does not take one label for each row", found=found, remedy="check the metric")
    return _one_class(given.to_frame(name), cells, [name], judge)


def _labels(given: Table, cells: list[str], columns: list[str], judge: Metric) -> Arrays:
    """One column of labels, or of strings of them."""
    tokens = {token for cell in cells for token in cell.split()}
    wide = len(columns) > 1 and MULTILABEL in judge.truths and not {canonical(cell) for cell in cells} <= set(_names(columns))
    if wide and tokens <= set(columns):
        y = _sets([cell.split() for cell in cells], columns)
        return y, np.column_stack([numbers(given[name], name) for name in columns])
    if len(columns) == 1 and (judge.prediction == RANKING or _strings(cells, tokens, judge)):
        return _of_strings(given[columns[0]], cells, columns[0], judge)
    return _one_class(given, cells, columns, judge)


def _one_class(given: Table, cells: list[str], columns: list[str], judge: Metric) -> Arrays:
    """One column of labels, of which each row has one."""
    if len(columns) == 1 and judge.name == "kappa" and all(map(is_number, cells)):
        return _grades(given[columns[0]], cells, columns[0])
    y, p = as_probabilities(given, cells, columns)
    return y, (p.argmax(axis=1) if judge.prediction == LABELS and len(columns) == 1 else p)


def _strings(cells: list[str], tokens: set[str], judge: Metric) -> bool:
    """Whether cells are strings of labels. Where one class would do as well, labels must come back in other strings."""
    if MULTILABEL not in judge.truths:
        return False
    several = any(len(cell.split()) > 1 for cell in cells)
    return CLASSES not in judge.truths or (several and len(tokens) < len(set(cells)))


def _of_strings(column: Any, cells: list[str], name: str, judge: Metric) -> Arrays:
    truth = [cell.split() for cell in cells]
    given = [str(value).split() for value in column.where(column.notna(), "")]
    if [] in given and [] not in truth:
        raise Rejected(SCORING_ERROR, f"the column '{name}' has {given.count([])} empty values")
    known = sorted({label for row in (*truth, *given) for label in row})
    if judge.prediction != RANKING:
        return _sets(truth, known), _sets(given, known)
    code = {label: number for number, label in enumerate(known)}
    ranked = np.full((len(given), max(1, judge.top)), -1, dtype=np.int64)
    for row, labels in enumerate(given):
        chosen = [code[label] for label in labels[: judge.top]]
        ranked[row, : len(chosen)] = chosen
    if all(len(row) == 1 for row in truth):
        return np.array([code[row[0]] for row in truth], dtype=np.int64), ranked
    return _sets(truth, known), ranked


def _sets(rows: list[list[str]], known: Sequence[str]) -> NDArray[np.int64]:
    code = {label: number for number, label in enumerate(known)}
    out = np.zeros((len(rows), max(1, len(known))), dtype=np.int64)
    for row, labels in enumerate(rows):
        out[row, [code[label] for label in labels]] = 1
    return out


def _grades(column: Any, cells: list[str], name: str) -> Arrays:
    """Grades keep their distances, also from a grade that no row has."""
    y, c = np.array([float(cell) for cell in cells]), numbers(column, name)
    if not (c == np.floor(c)).all() or not (y == np.floor(y)).all():
        raise Rejected(SCORING_ERROR, f"the column '{name}' has values that are not whole numbers")
    low = min(y.min(), c.min())
    return (y - low).astype(np.int64), (c - low).astype(np.int64)


def as_probabilities(given: Table, labels: list[str], columns: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(y (rows,), p (rows, classes)) of a submission for one class a row. Raises Rejected on invalid values."""
    truth = [canonical(label) for label in labels]
    if len(columns) > 1:
        names = {name: position for position, name in enumerate(_names(columns))}
        unknown = sorted(set(truth) - set(names))
        if unknown:
            raise UserError(
                "the solution has a label that is no column of the sample submission",
                found=unknown[0],
                expected=", ".join(columns[:12]),
                remedy="name the columns after the labels",
            )
        y = np.array([names[label] for label in truth], dtype=np.int64)
        return y, np.column_stack([numbers(given[name], name) for name in columns])
    name = columns[0]
    values = [canonical(str(value)) for value in given[name].where(given[name].notna(), "")]
    if "" in values:
        raise Rejected(SCORING_ERROR, f"the column '{name}' has empty values")
    binary = set(truth) <= {"0", "1"}
    if binary and not set(values) <= {"0", "1"}:
        ones = numbers(given[name], name)
        if ((ones < 0) | (ones > 1)).any():
            raise Rejected(SCORING_ERROR, f"the column '{name}' has values that are not between 0 and 1")
        return np.array([int(label) for label in truth], dtype=np.int64), np.column_stack([1 - ones, ones])
    if all(is_number(label) for label in truth):
        numbers(given[name], name)
    known = sorted({*truth, *values}) if not binary else ["0", "1"]
    codes = {label: code for code, label in enumerate(known)}
    y = np.array([codes[label] for label in truth], dtype=np.int64)
    return y, np.eye(len(known))[[codes[value] for value in values]]


def _names(columns: Sequence[str]) -> list[str]:
    return [canonical(name) for name in columns]


def canonical(label: str) -> str:
    """One spelling of a label: `1.0` and `1` are the same class."""
    text = label.strip()
    if is_number(text):
        number = float(text)
        return str(int(number)) if number.is_integer() else repr(number)
    return text


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def numbers(column: Any, name: str) -> NDArray[np.float64]:
    """A column as finite numbers. Raises Rejected."""
    import pandas as pd

    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        first = str(np.asarray(column.astype(str))[bad][0])
        raise Rejected(
            SCORING_ERROR, f"the column '{name}' has {int(bad.sum())} values that are not finite numbers, first '{first}'"
        )
    return values


def _known(column: Any, name: str) -> NDArray[np.float64]:
    """A column of the solution as numbers. Raises UserError."""
    try:
        return numbers(column, name)
    except Rejected as rejected:
        raise UserError(
            "the solution has a truth that is no number", found=rejected.reason, expected="numbers", remedy="check the metric"
        ) from None
