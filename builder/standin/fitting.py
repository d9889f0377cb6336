"""Whether the tables of a competition belong together: solution, hidden test set, sample submissions and metric.

A solution has the id column of the sample submission, the truth in one column or several, and Usage. In the long form these ids
are made of an id of the test table and a class; scoring/reading.py says what truth may stand beside what submission.

Expects: the competition's folder as enrol.py builds it.
Produces: nothing, or UserError that names what does not fit. `data` and `hidden` are what a person gave, for messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builder import metrics, scoring
from builder.errors import UserError
from builder.metrics import heads as by_head
from builder.scoring import reading
from builder.scoring.grid import joined

SAMPLE, TEST, SOLUTION = "sample_submission.csv", "test.csv", "solution.csv"


def check(folder: Path, metric: str, data: Path, hidden: Path) -> None:
    """Raises UserError when solution, test set and sample submission do not belong together."""
    solution, sample = _table(folder / SOLUTION, hidden), _table(folder / "hidden" / SAMPLE, hidden)
    shown, test = _table(folder / "visible" / SAMPLE, data), _table(folder / "hidden" / TEST, hidden)
    _check_solution(solution, hidden)
    if list(shown.columns) != list(sample.columns):
        found = f"{', '.join(map(str, shown.columns))} and {', '.join(map(str, sample.columns))}"
        raise UserError("the visible and the hidden sample_submission.csv have different columns", file=hidden, found=found)
    key = str(solution.columns[0])
    if sample.columns[0] != key:
        raise UserError(
            "the id columns differ", file=hidden, found=f"{sample.columns[0]} in {SAMPLE}", expected=f"{key} as in {SOLUTION}"
        )
    truth = solution[key].tolist()
    _same_ids(SAMPLE, sample[key].tolist(), truth, hidden)
    if key in test.columns:
        _same_ids(TEST, test[key].tolist(), truth, hidden)
    elif not any(joined(truth, test[name].tolist()) for name in test.columns):
        found = ", ".join(map(str, test.columns))
        expected = f"{key}, or a column of ids that {key} joins with classes, each with each"
        raise UserError(f"{TEST} lacks the id column", file=hidden, found=found, expected=expected)
    check_metric(folder, metric, hidden)


def _check_solution(solution: Any, hidden: Path) -> None:
    """Raises UserError when the solution has not the columns that a scorer reads."""
    columns = [str(name) for name in solution.columns]
    if len(columns) < 3 or columns[-1] != scoring.USAGE:
        expected = f"an id column, one label column or several columns of truth, and '{scoring.USAGE}'"
        raise UserError(
            "wrong columns of the solution", file=hidden, found=f"{SOLUTION}: {', '.join(columns)}", expected=expected
        )
    usages = set(solution[scoring.USAGE])
    odd = sorted(usages - {scoring.PUBLIC, scoring.PRIVATE, scoring.IGNORED})
    if odd:
        raise UserError("wrong Usage in the solution", file=hidden, found=odd[0], expected="Public, Private or Ignored")
    if not usages - {scoring.IGNORED}:
        found = ", ".join(usages) or "no rows"
        raise UserError("no row of the solution is scored", file=hidden, found=found, expected="rows that are Public or Private")


def _same_ids(name: str, ids: list[str], truth: list[str], file: Path) -> None:
    if len(set(truth)) != len(truth):
        raise UserError("an id occurs more than once in the solution", file=file)
    if sorted(ids) != sorted(truth):
        odd = sorted(set(ids) ^ set(truth))
        found = f"{len(ids)} rows in {name}, {len(truth)} in {SOLUTION}" + (f"; '{odd[0]}' is only in one of them" if odd else "")
        raise UserError(
            f"the ids of the solution are not those of the hidden {name}", file=file, found=found, expected="the same ids"
        )


def check_metric(folder: Path, metric: str, hidden: Path) -> None:
    """The sample submission must be scorable, or nothing would be."""
    sample, solution = folder / "hidden" / SAMPLE, folder / SOLUTION
    try:
        _check_truth(_table(solution, hidden), _table(sample, hidden), metric, hidden)
        scoring.score(sample, solution, sample, metric)
    except scoring.Rejected as error:
        what = f"the sample submission cannot be scored with the metric '{metric}'"
        raise UserError(what, file=hidden, found=error.reason, remedy="choose another metric or mend the hidden data") from None
    except UserError as error:  # it speaks of the solution, and does not know where that lies
        raise UserError(error.what, file=hidden, found=error.found, expected=error.expected, remedy=error.remedy) from None


def _check_truth(solution: Any, sample: Any, metric: str, hidden: Path) -> None:
    """Raises UserError for a truth beside which any submission would get a score that means nothing."""
    names, answers = [str(name) for name in solution.columns[1:-1]], [str(name) for name in sample.columns[1:]]
    heads = reading.heads(solution, answers, metric)
    if heads:
        for name, one in zip(heads, by_head.each(metric, heads), strict=True):
            if one.truths != (metrics.NUMBERS,) and name in solution:  # numbers say themselves what they cannot be
                _check_labels(solution, name, sample[name] if name in answers else None, one, hidden)
        return
    judge = metrics.get(metric)
    if not judge.truths or metrics.NUMBERS in judge.truths or judge.truths == (metrics.MULTILABEL,):
        return  # a table of numbers, which says itself what it cannot be; or label strings, which may be empty
    _check_labels(solution, names[0], sample[answers[0]] if len(names) == len(answers) == 1 else None, judge, hidden)


def _check_labels(solution: Any, name: str, given: Any, judge: metrics.Metric, hidden: Path) -> None:
    """The labels in the column `name`; `given` is the one column of answers to them, None where there are more."""
    cells = solution[name].astype(str)
    strings = metrics.MULTILABEL in judge.truths and bool(cells.str.contains(r"\S\s+\S").any())
    if bool((cells.str.strip() == "").any()) and not strings:
        row = solution[solution.columns[0]][cells.str.strip() == ""].iloc[0]
        raise UserError("a row of the solution has no truth", file=hidden, found=f"id {row}", expected=f"a value of {name}")
    labels = {reading.canonical(cell) for cell in cells}
    values = {reading.canonical(str(value)) for value in (() if given is None else given)}
    fractions = sorted(value for value in values - labels if reading.is_number(value) and "." in value)
    if judge.prediction != metrics.RANKING and fractions and not labels <= {"0", "1"}:
        raise UserError(
            "one probability for each row cannot be compared with this truth",
            file=hidden,
            found=f"{given.name} {fractions[0]} in {SAMPLE}, {name} {', '.join(sorted(labels)[:5])} in {SOLUTION}",
            expected=f"0 and 1 in {SOLUTION}, or a column for each class in {SAMPLE}",
        )


def _table(path: Path, source: Path) -> Any:
    try:
        return scoring.read_table(path)
    except scoring.Rejected as error:
        raise UserError("a table cannot be read", file=source, found=error.reason) from None
