"""A submission file against the solution: checked as Kaggle checks it, scored with the competition's metric.

The solution has the id column, the truth, and Usage (Public, Private or Ignored); reading.py says what truth and submission may
look like. A submission has the columns of the sample submission, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import metrics
from builder.errors import KkbError
from builder.metrics import heads as by_head

if TYPE_CHECKING:
    import pandas as pd

    Table = pd.DataFrame

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


def score(
    submission: Path, solution: Path, sample: Path, metric: str, folder: Path | None = None, *, heads: Sequence[str] = ()
) -> Scores:
    """Public and private score of a submission. Raises Rejected when it does not fit the sample or has invalid values.

    Args:
        submission: The file that is scored, csv or parquet.
        solution: The truth.
        sample: The sample submission of the same rows.
        metric: Its name; for several targets also one for each, `kind=accuracy, price=rmse`.
        folder: Where a metric of the user's own lies; a stand-in knows none.
        heads: The targets that are scored one by one, where that is known; else `reading.heads` tells.
    """
    from builder.scoring import reading

    given, truth = read_table(submission), read_table(solution)
    columns = [str(name) for name in read_table(sample).columns]
    given = _aligned(given, truth[truth.columns[0]].astype(str).tolist(), columns)
    parts = reading.parts(given, truth, columns[1:], metric, folder, heads)
    results = {}
    for usage in (PUBLIC, PRIVATE):
        here = (truth[USAGE] == usage).to_numpy()
        some = [part for part in parts if here[part.rows].any()]
        values = [_value(part.judge, part.y[here[part.rows]], part.p[here[part.rows]]) for part in some]
        results[usage] = f"{by_head.mean([part.judge for part in some], values):.5f}" if values else ""
    return Scores(results[PUBLIC], results[PRIVATE])


def _value(judge: metrics.Metric, y: Any, p: Any) -> float:
    try:
        value = judge(y, p)
    except metrics.UnfitError as error:
        raise Rejected(SCORING_ERROR, ": ".join(filter(None, [error.what, error.found]))) from None
    except KkbError:
        raise
    except (ValueError, ArithmeticError, IndexError) as error:
        raise Rejected(SCORING_ERROR, f"the metric {judge.name} fails: {error}") from None
    if not math.isfinite(value):
        raise Rejected(SCORING_ERROR, f"the metric {judge.name} is {value}")
    return value


def _aligned(given: Table, ids: list[str], columns: list[str]) -> Table:
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
