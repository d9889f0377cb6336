"""The recipe of a table: what each column is (number, category, date, code or prose), and the features that are made of it.

Expects: the cells of all training rows as text, exactly as in the file; hooks, of which `fit` and `transform` are used.
Produces: JSON values for runtime/tables.py, which reads with them at home and in the notebook.
Never: sees a target; keeps a feature that says nothing in training, or the same as another.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError, did_you_mean
from builder.runtime import tables
from builder.runtime.cells import SCHEMA
from builder.runtime.hooks import HookError, Hooks

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Feature = dict[str, Any]

KIND = "table"
NOTHING = {"na", "n/a", "nan", "null", "none", "nil", "?", "-", "--", "."}  # words by which files say that a number is missing
NUMBERS, DATES, CODES = 0.9, 0.95, 0.5  # share of a column's cells from which on it holds numbers, dates, or codes (`C85`)
CODE_WORDS = 3  # the most that a code has
CATEGORY, PART = 0.5, 0.1  # share of rows that the repeated values must have, of a column and of a part of its texts
SHARED = 0.05  # share of rows with a value that others have too, from which on it is told how many
RARE, MOST = 5, 254  # rows that a category must have (fewer in a small table), and how many categories there are
COUNTED = 20_000  # values whose frequency is kept
SKEWED = 3.0  # skewness from which on a network sees the logarithm
ALONE = 5  # rows that the hook is asked for once more, without the others


def table(frame: pd.DataFrame, columns: Sequence[str], hooks: Hooks) -> dict[str, Any]:
    """The recipe of `columns` of a table of texts.

    Raises:
        UserError: A column is not there, or no column says anything.
        HookError: A hook's answer is not what it must be.
    """
    known = [str(column) for column in frame.columns]
    for column in columns:
        if column not in known:
            raise UserError(
                "the table lacks a column that models are to read",
                found=", ".join(known),
                expected=repr(column),
                remedy=did_you_mean(column, known),
            )
    cells = {column: tables.texts_of(frame[column].tolist()) for column in columns}
    state = _fitted(cells, hooks)
    seen = tables.transformed(cells, hooks, state) if hooks.transform else cells
    features = _telling([feature for column, texts in seen.items() for feature in proposed(column, texts)], seen)
    if not features:
        raise UserError(
            "no column says anything",
            found=f"{', '.join(columns) or 'no columns'}: empty, or the same in every row",
            expected="at least one column with two different values",
            remedy="name other columns in data.columns",
        )
    if hooks.transform:
        _refuse_dependence(cells, seen, features, hooks, state)
    hooked = {"hooked": hooks.transform is not None, "state": state}
    return {"schema": SCHEMA, "kind": KIND, "columns": list(columns), **hooked, "features": features}


def categories(recipe: dict[str, Any]) -> dict[int, int]:
    """Which features are codes: index -> number of codes."""
    return {index: len(each["values"]) for index, each in enumerate(recipe["features"]) if "values" in each}


def proposed(column: str, texts: Sequence[str]) -> list[Feature]:
    """All features that a column of texts may have."""
    filled = Counter(text for text in texts if text.strip())
    if not filled:
        return []
    form = _date_form(filled)
    if form:
        parts = ("year", "month", "day", "weekday", "hour", "days")
        return [{"name": f"{column} {part}", "column": column, "part": f"{part} {form}"} for part in parts]
    if _are_numbers(filled):
        return [{"name": column, "column": column, "part": "number"}]
    values = _values(filled, "text")
    if sum(values.values()) >= CATEGORY * filled.total():
        return [_category(column, column, "text", values), *_frequency(column, filled, "text", most=len(values))]
    return [*_of_texts(column, filled), *_frequency(column, filled, "text")]


def _of_texts(column: str, filled: Counter[str]) -> list[Feature]:
    """Of texts that hardly repeat: codes have letters and a number, prose has titles and a beginning before a comma."""
    coded = _most(filled, _is_code, CODES)
    found = [{"name": f"{column} {part}", "column": column, "part": part} for part in ("length", "words")]
    if coded:
        found.append({"name": f"{column} number", "column": column, "part": "inside"})
    for part in ("letter", "prefix") if coded else ("title", "lead"):
        values = _values(filled, part)
        if sum(values.values()) >= PART * filled.total():
            found.append(_category(f"{column} {part}", column, part, values))
    return found if coded else [*found, *_frequency(column, filled, "lead")]


def _is_code(text: str) -> bool:
    return tables.words(text) <= CODE_WORDS and not math.isnan(tables.inside(text))


def _category(name: str, column: str, part: str, values: dict[str, int]) -> Feature:
    return {"name": name, "column": column, "part": part, "values": list(values)}


def _frequency(column: str, filled: Counter[str], part: str, most: int = 0) -> list[Feature]:
    """How many training rows have the same value, when that tells anything beyond `most` categories."""
    counts = _parts(filled, part)
    shared = dict(_ordered(counts, 2)[:COUNTED])
    if len(counts) <= most or sum(shared.values()) < SHARED * filled.total():
        return []
    name = f"{column} rows" if part == "text" else f"{column} {part} rows"
    return [{"name": name, "column": column, "part": part, "counts": shared}]


def _values(filled: Counter[str], part: str) -> dict[str, int]:
    """The values that enough rows have, the most frequent first."""
    least = max(2, min(RARE, filled.total() // 100))
    return dict(_ordered(_parts(filled, part), least)[:MOST])


def _parts(filled: Counter[str], part: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text, rows in filled.items():
        counts[tables.TEXTS[part](text)] += rows
    counts.pop("", None)
    return counts


def _ordered(counts: Counter[str], least: int) -> list[tuple[str, int]]:
    """Those with at least so many rows, by frequency, ties by alphabet: the order of the rows must not matter."""
    return sorted(((value, rows) for value, rows in counts.items() if rows >= least), key=lambda pair: (-pair[1], pair[0]))


def _most(filled: Counter[str], holds: Callable[[str], bool], share: float) -> bool:
    """Whether `holds` is true of at least that share of the rows; looks no further than it must."""
    left = (1 - share) * filled.total() + 1e-6
    for text, rows in filled.items():
        if not holds(text):
            left -= rows
            if left < 0:
                return False
    return True


def _are_numbers(filled: Counter[str]) -> bool:
    """Whether a column holds numbers, few words aside. Not when zeros lead: `007` is a name."""
    if not _most(filled, lambda text: not _is_word(text), NUMBERS):
        return False  # the cheap question: words that say nothing count as numbers here
    others = {text: rows for text, rows in filled.items() if math.isnan(tables.number(text))}
    numbers, words = filled.total() - sum(others.values()), sum(rows for text, rows in others.items() if _is_word(text))
    return numbers > 0 and words <= (1 - NUMBERS) * (numbers + words) and not _most(filled, _zero_leads, 1 - DATES)


def _is_word(text: str) -> bool:
    return math.isnan(tables.number(text)) and (len(text) > tables.LONGEST_NUMBER or text.strip().lower() not in NOTHING)


def _zero_leads(text: str) -> bool:
    return text.lstrip()[:1] == "0" and text.strip().isdigit() and len(text.strip()) > 1


def _date_form(filled: Counter[str]) -> str:
    """The order of day, month and year in a column of dates; empty for another column. Of 03/04/2021 the month is first."""
    known = {form: functools.partial(_is_date, form) for form in ("ymd", "mdy", "dmy")}
    if not _most(filled, lambda text: any(holds(text) for holds in known.values()), DATES):
        return ""
    rows = {form: sum(number for text, number in filled.items() if holds(text)) for form, holds in known.items()}
    if rows["mdy"] == rows["dmy"] and any("." in text for text in filled):
        rows["mdy"] = 0  # with dots the day comes first
    best = max(rows, key=rows.__getitem__)
    compact = all(text.strip().isdigit() for text in filled)  # eight digits are a date only when all of them are
    return best if rows[best] >= (1.0 if compact else DATES) * filled.total() else ""


def _is_date(form: str, text: str) -> bool:
    return tables.date(form, text) is not None


def _telling(features: list[Feature], seen: dict[str, Sequence[str]]) -> list[Feature]:
    """Those that differ between rows and from all before them, with what a network must know of them.

    `missing` is true of the first feature that is missing in just these rows: one flag is enough for all.
    """
    values = tables.matrix([(each["column"], tables.seen(each)) for each in features], seen)
    kept: list[Feature] = []
    known: set[bytes] = set()  # columns, and which of their cells say something
    for index, feature in enumerate(features):
        column = values[:, index]
        present = ~np.isnan(column)
        pattern = present.tobytes()
        if not present.any() or column.tobytes() in known:
            continue
        alike = bool((column[present] == column[present][0]).all())
        if alike and (present.all() or pattern in known):
            continue
        kept.append({**feature, "missing": not (present.all() or pattern in known), **_scale(feature, column[present])})
        known |= {column.tobytes(), pattern}
    return kept


def _scale(feature: Feature, column: NDArray[np.float32]) -> Feature:
    """Of a number, what makes it comparable with others: its logarithm when few are very large, mean and deviation."""
    if "values" in feature:
        return {}
    known = column.astype(np.float64)
    spread = known.std()
    skewness = float((((known - known.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
    log = skewness > SKEWED and bool(known.min() >= 0)
    known = np.log1p(known) if log else known
    return {"log": log, "mean": float(known.mean()), "std": float(known.std()) or 1.0}


def _fitted(cells: dict[str, Sequence[str]], hooks: Hooks) -> Any:
    """What the hook `fit` answers, as it comes back from JSON."""
    if hooks.fit is None:
        return None
    if hooks.transform is None:
        raise HookError("hooks.py has fit(table) without transform(table, state), which would use what it finds")
    import pandas as pd

    state = hooks.fit(pd.DataFrame({name: pd.Series(texts, dtype=object) for name, texts in cells.items()}))
    try:
        return json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise HookError(f"fit returned what JSON cannot hold ({error}): return numbers, texts, lists and dicts of them") from None


def _refuse_dependence(
    cells: dict[str, Sequence[str]], seen: dict[str, Sequence[str]], features: list[Feature], hooks: Hooks, state: Any
) -> None:
    """Raise HookError when rows become something else without the others: a notebook reads other rows together than we do."""
    looks = [(each["column"], tables.seen(each)) for each in features]
    alone = tables.transformed({name: texts[:ALONE] for name, texts in cells.items()}, hooks, state)
    few, whole = tables.matrix(looks, alone), tables.matrix(looks, {name: texts[:ALONE] for name, texts in seen.items()})
    for index, feature in enumerate(features):
        if not np.array_equal(few[:, index], whole[:, index], equal_nan=True):
            raise HookError(
                f"transform gives column {feature['column']!r} other values when it sees only some of the rows: "
                "what it needs to know of other rows belongs into what fit(table) returns"
            )
