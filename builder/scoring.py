"""A submission file against the solution: checked as Kaggle checks it, scored with the competition's metric.

The solution has the columns id, label, Usage (Public, Private or Ignored). A submission has the id column and either one column
with labels, one column with the probability of class 1, or one probability column per class, named after the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import metrics
from builder.errors import KkbError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

USAGE = "Usage"
PUBLIC, PRIVATE, IGNORED = "Public", "Private", "Ignored"
NOT_FOUND = "Submission CSV Not Found"
FORMAT_ERROR = "Submission Format Error"
SCORING_ERROR = "Submission Scoring Error"


class Rejected(Exception):  # noqa: N818 - the submission is rejected; nothing is wrong with us
    """A submission that cannot be scored: Kaggle's label, and a reason for a person."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self.reason = reason
        super().__init__(f"{label}: {reason}")


@dataclass(frozen=True)
class Scores:
    """Scores as Kaggle shows them."""

    public: str
    private: str


def read_table(path: Path) -> Any:
    """A submission as a table of strings (csv) or of its own types (parquet). Raises Rejected when it cannot be read."""
    import pandas as pd

    if not path.is_file():
        raise Rejected(NOT_FOUND, f"there is no file {path.name}")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, ImportError) as error:
        raise Rejected(FORMAT_ERROR, f"{path.name} cannot be read: {error}") from None


def score(submission: Path, solution: Path, sample: Path, metric: str) -> Scores:
    """Public and private score of a submission. Raises Rejected when it does not fit the sample or has invalid values."""
    given, truth = read_table(submission), read_table(solution)
    columns = list(read_table(sample).columns)
    ids = truth[truth.columns[0]].astype(str)
    given = _aligned(given, ids.tolist(), columns)
    labels = truth[truth.columns[1]].astype(str)
    y, p = as_probabilities(given, labels.tolist(), columns[1:])
    judge = metrics.get(metric)
    results = {}
    for part in (PUBLIC, PRIVATE):
        chosen = (truth[USAGE] == part).to_numpy()
        results[part] = _value(judge, y[chosen], p[chosen]) if chosen.any() else ""
    return Scores(results[PUBLIC], results[PRIVATE])


def _value(judge: metrics.Metric, y: Any, p: Any) -> str:
    try:
        value = judge(y, p)
    except KkbError:
        raise
    except (ValueError, ArithmeticError, IndexError) as error:
        raise Rejected(SCORING_ERROR, f"the metric {judge.name} fails: {error}") from None
    if not math.isfinite(value):
        raise Rejected(SCORING_ERROR, f"the metric {judge.name} is {value}")
    return f"{value:.5f}"


def _aligned(given: Any, ids: list[str], columns: list[str]) -> Any:
    """The submission's rows in the order of the solution. Raises Rejected when columns, ids or row count differ."""
    found = [str(name) for name in given.columns]
    if sorted(found) != sorted(columns):
        raise Rejected(FORMAT_ERROR, f"found the columns {_some(found)}, expected {_some(columns)}")
    if len(given) != len(ids):
        raise Rejected(FORMAT_ERROR, f"found {len(given)} rows, expected {len(ids)}")
    keys = given[columns[0]].astype(str)
    if keys.duplicated().any():
        raise Rejected(FORMAT_ERROR, f"the id '{keys[keys.duplicated()].iloc[0]}' occurs more than once")
    missing = sorted(set(ids) - set(keys))
    if missing:
        raise Rejected(FORMAT_ERROR, f"the id '{missing[0]}' is missing ({len(missing)} in all)")
    return given.set_index(keys).loc[ids, columns]


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def as_probabilities(given: Any, labels: list[str], columns: list[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(y (rows,), p (rows, classes)) of a submission in any of its forms. Raises Rejected on invalid values."""
    import numpy as np

    truth = [_canonical(label) for label in labels]
    if len(columns) > 1:
        names = {_canonical(name): position for position, name in enumerate(columns)}
        y = np.array([names[label] for label in truth], dtype=np.int64)
        return y, np.column_stack([_numbers(given[name], name) for name in columns])
    name = columns[0]
    values = [_canonical(str(value)) for value in given[name]]
    if "" in values:
        raise Rejected(SCORING_ERROR, f"the column '{name}' has empty values")
    binary = set(truth) <= {"0", "1"}
    if binary and not set(values) <= {"0", "1"}:
        ones = _numbers(given[name], name)
        if ((ones < 0) | (ones > 1)).any():
            raise Rejected(SCORING_ERROR, f"the column '{name}' has values that are not between 0 and 1")
        return np.array([int(label) for label in truth], dtype=np.int64), np.column_stack([1 - ones, ones])
    if all(_is_number(label) for label in truth):
        _numbers(given[name], name)
    known = sorted({*truth, *values}) if not binary else ["0", "1"]
    codes = {label: code for code, label in enumerate(known)}
    y = np.array([codes[label] for label in truth], dtype=np.int64)
    return y, np.eye(len(known))[[codes[value] for value in values]]


def _canonical(label: str) -> str:
    """One spelling of a label: `1.0` and `1` are the same class."""
    text = label.strip()
    if _is_number(text):
        number = float(text)
        return str(int(number)) if number.is_integer() else repr(number)
    return text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(column: Any, name: str) -> NDArray[np.float64]:
    """A column as finite numbers. Raises Rejected."""
    import numpy as np
    import pandas as pd

    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        first = str(np.asarray(column.astype(str))[bad][0])
        raise Rejected(
            SCORING_ERROR, f"the column '{name}' has {int(bad.sum())} values that are not finite numbers, first '{first}'"
        )
    return values
