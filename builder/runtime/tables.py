"""Rows of a table as numbers: each feature of a recipe is one column's cell, seen one way.

Expects: a recipe of recipes/table.py: {"columns": [names], "hooked": whether the hook `transform` made what features read,
    "state": what the hook `fit` found, "features": [{"name", "column", "part": a name in TEXTS or NUMBERS, and one of
    "values": [texts, a code each] | "counts": {text: rows in training} | nothing, for numbers}]}.
Produces: float32 (n, features), NaN where a cell says nothing; a text that training did not know is NaN where there are codes,
    and counts as 1. What a row becomes depends on no other row.
Never: fails for a strange cell.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import CellsError, refuse_missing
from .hooks import HookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .hooks import Hooks

    Columns = dict[str, Sequence[str]]

VIEWS = ("identity",)
INPUT = "table"
NAN = math.nan
LARGEST = 3e38  # float32 ends a little above
LONGEST_NUMBER, LONGEST_TEXT = 64, 200  # characters that are looked at; lengths and words are counted in all
SAMPLE = 1000  # cells that tell whether a column repeats itself
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_DRESSED = re.compile(r"([-+]?)\s*[$€£¥₩]?\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(\.[0-9]+)?\s*%?")
_DIGITS = re.compile("[0-9]+")
_TITLE = re.compile(r"[^,]*,\s*([^,.]{1,20})\.")
_CLOCK = r"(?:[T ]\s*([0-9]{1,2}):[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?\s*([AaPp][Mm])?\s*(?:Z|UTC|[-+][0-9]{2}:?[0-9]{2})?)?"
_DATE = re.compile(r"([0-9]{1,4})([-/.])([0-9]{1,2})\2([0-9]{1,4})" + _CLOCK)
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")


@dataclass(frozen=True)
class Table:
    """Rows that were read: `array` float32 (n, features)."""

    array: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def padding(self) -> Mapping[str, int]:
        """Zeros."""
        return {}

    def pick(self, places: NDArray[Any]) -> Table:
        """Some of the rows."""
        return Table(self.array[places])

    def batches(self, view: str, size: int) -> Iterator[tuple[NDArray[Any], dict[str, NDArray[Any]]]]:
        """Every row once, in order."""
        check_view("table", view)
        for start in range(0, len(self), size):
            places = np.arange(start, min(start + size, len(self)), dtype=np.int64)
            yield places, {INPUT: self.array[start : start + size]}


@dataclass(frozen=True)
class TableReader:
    """What makes tables of rows: how each feature is seen, and the hook that comes before."""

    columns: tuple[str, ...]
    features: tuple[tuple[str, Callable[[str], float]], ...]
    hooks: Hooks
    hooked: bool
    state: Any

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Table:
        """The rows as numbers. Raises CellsError for a column that is missing, HookError when the hook's answer is none."""
        refuse_missing(self.columns, rows)
        found: Columns = {name: column_of(rows, name) for name in self.columns}
        return Table(matrix(self.features, transformed(found, self.hooks, self.state) if self.hooked else found))


def reader(recipe: Mapping[str, Any], hooks: Hooks) -> TableReader:
    """The reader of a recipe. Raises CellsError for a broken one, HookError when hooks.py is not that of the training."""
    try:
        columns, hooked = tuple(map(str, recipe["columns"])), bool(recipe.get("hooked", False))
        if not columns or not recipe["features"]:
            raise ValueError("no columns or no features")
        features = tuple((str(each["column"]), seen(each)) for each in recipe["features"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CellsError(f"the recipe of the table is broken: {type(error).__name__}: {error}") from None
    if hooked != (hooks.transform is not None):
        here, there = ("without", "with") if hooked else ("with", "without")
        raise HookError(
            f"the model was trained {there} a hook transform(table, state), and hooks.py comes {here} one: train again"
        )
    return TableReader(columns, features, hooks, hooked, recipe.get("state"))


def check_view(kind: str, name: str) -> None:
    """Raise ValueError when there is no such view."""
    if name not in VIEWS:
        raise ValueError(f"a {kind} has no view {name!r}; known are {', '.join(VIEWS)}")


def seen(feature: Mapping[str, Any]) -> Callable[[str], float]:
    """What a feature makes of a cell. Raises KeyError for a part that there is not."""
    part = str(feature["part"])
    if part in NUMBERS:
        return NUMBERS[part]
    if part not in TEXTS:
        raise KeyError(f"no part {part!r}")
    text, counted = TEXTS[part], feature.get("counts")
    codes = {str(value): float(code) for code, value in enumerate(feature["values"])} if counted is None else dict(counted)
    unknown = NAN if counted is None else 1.0

    def known(cell: str) -> float:
        found = text(cell)
        return codes.get(found, unknown) if found else NAN

    return known


def matrix(features: Sequence[tuple[str, Callable[[str], float]]], columns: Columns) -> NDArray[np.float32]:
    """float32 (rows, features). A text that many rows have is looked at once. Raises HookError for a lost column."""
    lost = sorted({column for column, _ in features} - set(columns))
    if lost:
        raise HookError(f"transform returned no column {', '.join(map(repr, lost))}; found {', '.join(columns)}")
    length = len(next(iter(columns.values()), ()))
    out = np.empty((length, len(features)), dtype=np.float32)
    for column in {column: None for column, _ in features}:
        cells = columns[column]
        repeated = 2 * len(set(cells[:SAMPLE])) <= len(cells[:SAMPLE])  # if not, looking twice costs less than finding out
        places = dict.fromkeys(cells) if repeated else cells
        index = dict(zip(places, range(len(places)), strict=True)) if repeated else {}
        codes = np.fromiter(map(index.__getitem__, cells), np.int64, length) if repeated else slice(None)
        for at, (name, number_of) in enumerate(features):
            if name == column:
                out[:, at] = np.fromiter(map(number_of, places), np.float64, len(places)).astype(np.float32)[codes]
    return out


def transformed(columns: Columns, hooks: Hooks, state: Any) -> Columns:
    """What the hook `transform` makes of a table of texts, as texts. Raises HookError when it does not return the same rows."""
    if hooks.transform is None:
        raise HookError("there is no hook that transforms tables")
    import pandas as pd  # only here: a table without hooks needs none of it

    given = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
    length = len(given)
    found = hooks.transform(given, state)
    if not isinstance(found, pd.DataFrame):
        raise HookError(f"transform returned {type(found).__name__}, expected a DataFrame")
    names = [str(name) for name in found.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if len(found) != length or repeated or not names:
        problem = f"columns {', '.join(repeated)} more than once" if repeated else f"{len(found)} rows of {len(names)} columns"
        raise HookError(f"transform returned {problem}, expected the {length} rows that it was given, each column once")
    order = found.index.tolist()
    if order != list(range(length)) and set(order) == set(range(length)):
        raise HookError("transform returned the rows in another order than it was given")
    return {name: texts_of(found.iloc[:, at].tolist()) for at, name in enumerate(names)}


def column_of(rows: Sequence[Mapping[str, Any]], name: str) -> Sequence[str]:
    """One column of rows, as texts."""
    try:
        return texts_of(list(map(operator.itemgetter(name), rows)))
    except KeyError:  # some row lacks what the first one has
        return texts_of([row.get(name) for row in rows])


def texts_of(cells: Sequence[Any]) -> Sequence[str]:
    """Cells as they would stand in a file."""
    return cells if set(map(type, cells)) <= {str} else [text_of(cell) for cell in cells]


def text_of(cell: Any) -> str:
    """A cell as it would stand in a file, whatever type it has: of whole numbers no `.0`, of missing ones nothing."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (bool, np.bool_)):
        return str(bool(cell))
    if isinstance(cell, (float, np.floating)):
        value = float(cell)
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    missing = cell is None or type(cell).__name__ in {"NAType", "NaTType"}
    return "" if missing else str(cell)


def number(cell: str) -> float:
    """The number that a cell says, `1,234`, `$5` and `7 %` included; NaN when it says none that a float32 can hold."""
    cell = cell.strip() if len(cell) > LONGEST_NUMBER else cell
    if len(cell) > LONGEST_NUMBER or "_" in cell:
        return NAN
    try:
        value = float(cell)
    except ValueError:
        found = _DRESSED.fullmatch(cell.strip())
        value = float(found[1] + found[2].replace(",", "") + (found[3] or "")) if found else NAN
    return value if -LARGEST <= value <= LARGEST else NAN


def whole(cell: str) -> str:
    """The text itself."""
    return cell.strip()[:LONGEST_TEXT]


def letter(cell: str) -> str:
    """The first character, when it is a letter: `C` of `C85`."""
    first = cell.strip()[:1]
    return first.upper() if first.isalpha() else ""


def prefix(cell: str) -> str:
    """The letters before the first digit: `STONO` of `STON/O 2. 310`."""
    head = _DIGITS.split(whole(cell), maxsplit=1)[0]
    return "".join(filter(str.isalpha, head)).upper()


def title(cell: str) -> str:
    """What stands between the first comma and a dot: `Mr` of `Braund, Mr. Owen Harris`."""
    found = _TITLE.match(whole(cell))
    return found[1].strip() if found else ""


def lead(cell: str) -> str:
    """What stands before the first comma: `Braund` of `Braund, Mr. Owen Harris`."""
    head, comma, _ = whole(cell).partition(",")
    return head.strip() if comma else ""


def inside(cell: str) -> float:
    """The last number in a text: 85 of `C85`."""
    found = _DIGITS.findall(whole(cell))
    value = float(found[-1]) if found else NAN
    return value if value <= LARGEST else NAN


def length(cell: str) -> float:
    """Characters; NaN of an empty cell."""
    return float(len(cell.strip())) or NAN


def words(cell: str) -> float:
    """Words; NaN of an empty cell."""
    return float(len(cell.split())) or NAN


def date(form: str, cell: str) -> tuple[int, int, int, int] | None:
    """Year, month, day and hour of a text in the order of `form`, `ymd`, `dmy` or `mdy`; None when it is no such day."""
    cell = cell.strip()
    found = _DATE.fullmatch(cell) if len(cell) <= LONGEST_NUMBER else None
    if found:
        three = dict(zip(form, (found[1], found[3], found[4]), strict=True))
    else:
        compact = _COMPACT.fullmatch(cell) if form == "ymd" and len(cell) == 8 else None
        if not compact:
            return None
        three = dict(zip(form, compact.groups(), strict=True))
    year, month, day = (int(three[key]) for key in "ymd")
    if len(three["y"]) == 2 and form != "ymd":
        year += 2000 if year < 69 else 1900
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (year >= 1000 and 1 <= month <= 12 and 1 <= day <= MONTHS[month - 1] + leap):
        return None
    hour = int(found[5] or 0) if found else 0
    half = (found[6] or "").lower() if found else ""
    hour = hour % 12 + 12 * (half == "pm") if half else hour
    return (year, month, day, hour) if hour < 24 else None


def _date_part(form: str, place: int, cell: str) -> float:
    found = date(form, cell)
    return NAN if found is None else float(found[place])


def _days(form: str, cell: str) -> float:
    """Days since 1970-01-01, by the calendar's own arithmetic: years that begin in March, in eras of 400."""
    found = date(form, cell)
    if found is None:
        return NAN
    year, month, day, _ = found
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return float(era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468)


def _weekday(form: str, cell: str) -> float:
    days = _days(form, cell)
    return (days + 3) % 7  # 0 is Monday


DATES = ("ymd", "dmy", "mdy")
TEXTS: dict[str, Callable[[str], str]] = {"text": whole, "letter": letter, "prefix": prefix, "title": title, "lead": lead}
NUMBERS: dict[str, Callable[[str], float]] = {"number": number, "inside": inside, "length": length, "words": words}
for _form in DATES:
    for _place, _name in enumerate(("year", "month", "day", "hour")):
        NUMBERS[f"{_name} {_form}"] = functools.partial(_date_part, _form, _place)
    NUMBERS[f"weekday {_form}"] = functools.partial(_weekday, _form)
    NUMBERS[f"days {_form}"] = functools.partial(_days, _form)
