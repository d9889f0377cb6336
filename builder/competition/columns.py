"""What the columns of two tables look like: texts, groups of rows that belong together, numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    Table = pd.DataFrame

LOOKED_AT = 2000  # rows
WORDS = 3.0  # fewer on average are names and codes
DIFFERENT = 0.3  # of the texts
MOSTLY = 0.5
MANY, VERY_MANY = 20, 100  # different numbers
CHANCE = 0.01  # that a column which is no group would look like one
FEWEST_GROUPS = 10
LETTER = re.compile(r"[^\W\d_]")
# Scripts that put no blanks between words, about two characters of which make one.
DENSE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
NO_GROUP = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?|\d{4}-\d{1,2}-\d{1,2}.*|\d{1,4}[/.]\d{1,2}[/.]\d{1,4}.*")  # measures, dates


def words(values: Iterable[str]) -> float:
    """Words with letters that a value has on average; those of scripts without blanks are estimated."""
    counts = []
    for value in values:
        dense = len(DENSE.findall(value)) / 2
        counts.append(dense + sum(1 for word in DENSE.sub(" ", value).split() if LETTER.search(word)))
    return sum(counts) / len(counts) if counts else 0.0


def texts(train: Table, candidates: Sequence[str]) -> dict[str, float]:
    """The columns that hold texts -> their words on average; empty values don't count, and most must be there."""
    found = {}
    for name in candidates:
        values = [str(value) for value in train[name].head(LOOKED_AT)]
        there = [value for value in values if value.strip()]
        if len(there) < MOSTLY * len(values) or len(set(there)) < DIFFERENT * len(there):
            continue
        mean = words(there)
        if mean >= WORDS:
            found[name] = mean
    return found


def group(train: Table, test: Table, candidates: Sequence[str]) -> str:
    """The column by which training and test rows were kept apart, the coarsest of several; empty when there is none.

    Its values repeat, and no test row has one of the training table. That may be chance: the share of training rows whose value
    is theirs alone estimates how often a new row has a new value (Good 1953), so for n values it happens with this share ** n.
    """
    found = {}
    for name in candidates:
        mine, theirs = list(train[name]), set(test[name])
        counts = train[name].value_counts()
        alone = int((counts == 1).sum()) / max(1, len(mine))
        unfit = "" in theirs or "" in counts.index or any(NO_GROUP.fullmatch(str(value)) for value in mine[:LOOKED_AT])
        if unfit or not theirs or len(counts) < FEWEST_GROUPS or alone > MOSTLY or theirs & set(mine):
            continue
        if alone ** len(theirs) < CHANCE:
            found[name] = len(counts)
    return min(found, key=lambda name: found[name], default="")


def is_numeric(cells: Iterable[str]) -> bool:
    """Whether all cells are finite numbers."""
    return all(_number(cell) is not None for cell in set(cells))


def has_fractions(cells: Iterable[str]) -> bool:
    """Whether some cells are numbers that are not whole."""
    numbers = [_number(cell) for cell in set(cells)]
    return any(number is not None and not number.is_integer() for number in numbers)


def is_scale(cells: Sequence[str]) -> bool:
    """Whether cells are numbers of a scale and not classes: with fractions, hardly ever the same, or very many with gaps."""
    different = set(cells)
    if not is_numeric(different):
        return False
    rare = len(different) > MANY and len(different) > MOSTLY * len(cells)
    numbers = {_number(cell) or 0.0 for cell in different}
    gaps = len(different) > VERY_MANY and max(numbers) - min(numbers) >= len(different)
    return rare or gaps or has_fractions(different)


def _number(cell: str) -> float | None:
    try:
        found = float(cell)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
