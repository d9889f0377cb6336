"""A hidden set before it is written: rows drawn from the training table, each with its truth, its fold and its image, if any.

Expects: the competition's tables; the fold of every row that some model can answer honestly.
Produces: as many rows as wanted. When there are fewer honest ones they are drawn again, under new ids; what they belong to
    (`data.group`) stays.
Never: takes a row that every model was trained on.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder import competition
from builder.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from builder.config import Config

SEED = 7
TEXT, CATEGORY, NUMBER = "text", "category", "number"  # kinds of columns; dates are numbers: something is measured
DATE = re.compile(r"\d{4}-\d\d?-\d\d?\b.*|\d\d?[./]\d\d?[./](\d\d|\d{4})\b.*")
PROBED = 10_000  # cells of a column that are looked at
WORDY = 30  # characters: longer cells on average are text, shorter ones are categories


@dataclass(frozen=True)
class Row:
    """One row of a hidden set.

    Attributes:
        cells: Of the test table, the id among them.
        truth: What only the scorer knows: the cells of the target columns.
        fold: In which it was held out.
        image: The training image that it shows; None where rows have no images.
        spoil: A name in spoils.SPOILS; empty for the image as it is.
        changed: What is odd about this row, in words; it may stay without an answer.
    """

    cells: Mapping[str, str]
    truth: tuple[str, ...]
    fold: int
    image: Path | None = None
    spoil: str = ""
    changed: str = ""


@dataclass(frozen=True)
class Draft:
    """Rows in the order of the test table.

    Attributes:
        id: Name of the id column.
        columns: Of the test table, in order.
        named: Columns that image paths are made of.
        kinds: Column -> TEXT, CATEGORY or NUMBER, by kernel.toml or by the cells of all training rows.
        group: The column that says which rows belong together; empty when none does.
        wanted: Columns that kernel.toml names for the models to read; none: it names none.
        images: Whether rows have images.
        gone: The column that was taken out of the table; empty when it is whole.
        extra: Files that nobody asked for, below the competition's folder.
        reversed: Whether the sample submission has the rows in another order.
    """

    rows: tuple[Row, ...]
    id: str
    columns: tuple[str, ...]
    named: frozenset[str]
    kinds: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    wanted: tuple[str, ...] = ()
    images: bool = True
    gone: str = ""
    extra: tuple[str, ...] = ()
    reversed: bool = False

    @property
    def free(self) -> tuple[str, ...]:
        """Columns that only describe: neither the id nor the group nor part of an image path."""
        return tuple(column for column in self.columns if column not in {self.id, self.group, *self.named})

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Free columns of one kind."""
        return tuple(column for column in self.free if self.kinds.get(column) == kind)


def draw(config: Config, root: Path, fold_of: Mapping[str, int], rows: int) -> Draft:
    """Draw `rows` rows, the same ones each time, spread evenly over the training table while there are enough.

    Args:
        config: Where the tables and images are.
        root: The competition's files.
        fold_of: id -> fold, for the rows whose fold some unit of the plan did not see.
        rows: How many; past the number of such rows, they are drawn with replacement.
    """
    import numpy as np

    data = config.data
    train = competition.read_table(root / data.train)
    columns = _columns(root / data.test, train)
    usable = train[train[data.id].isin(fold_of)].reset_index(drop=True)
    if not len(usable):
        raise UserError(
            "no training row can be answered honestly", found="no unit of the plan left a fold out", remedy="kkb plan NAME"
        )
    random = np.random.default_rng(SEED)
    once = np.sort(random.permutation(len(usable))[:rows])
    again = random.integers(0, len(usable), max(0, rows - len(usable)))
    records = usable.iloc[[*once.tolist(), *again.tolist()]].to_dict("records")
    names = fresh(list(train[data.id]), len(again))
    made: list[Row] = []
    for found in records:
        record = {str(key): str(value) for key, value in found.items()}
        cells = {column: record[column] for column in columns}
        if len(made) >= len(once):
            cells[data.id] = next(names)
        image = root / competition.image_name(data.image, record) if data.image else None
        made.append(Row(cells, tuple(record[name] for name in data.targets), fold_of[record[data.id]], image))
    return Draft(
        rows=tuple(made),
        id=data.id,
        columns=columns,
        named=frozenset(name for _, name, _, _ in string.Formatter().parse(data.test_image) if name),
        kinds={column: _kind(column, train[column], data.text) for column in columns},
        group=data.group,
        wanted=(*data.text, *data.columns),
        images=bool(data.image),
    )


def _kind(column: str, cells: pd.Series[str], texts: Sequence[str]) -> str:
    """What a column holds. One without any cell counts as numbers: there is no word to put in place of another."""
    if column in texts:
        return TEXT
    filled = cells[cells != ""].head(PROBED)
    if all(map(_measures, filled)):
        return NUMBER
    return TEXT if filled.str.len().mean() > WORDY else CATEGORY


def _measures(cell: str) -> bool:
    """Whether a cell is a number or a date."""
    try:
        float(cell)
    except ValueError:
        return DATE.fullmatch(cell) is not None
    return True


def _columns(path: Path, train: pd.DataFrame) -> tuple[str, ...]:
    """Columns of the visible test table. Raises UserError when training rows cannot fill one."""
    columns = tuple(str(column) for column in competition.read_table(path).columns)
    missing = [column for column in columns if column not in train]
    if missing:
        raise UserError(
            "the test table has columns that the training table has not",
            file=path,
            found=", ".join(missing),
            expected="columns that training rows can fill",
            remedy="give a hidden set of your own: kkb rehearse NAME --hidden DIR",
        )
    return columns


def fresh(known: Sequence[str], count: int) -> Iterator[str]:
    """`count` ids in the style of the `known` ones that are none of them: whole numbers go on counting."""
    if known and all(name.isdecimal() and name.isascii() for name in known):
        top, width = max(map(int, known)), len(known[0]) if known[0].startswith("0") else 0
        yield from (f"{top + step:0{width}d}" for step in range(1, count + 1))
        return
    taken = set(known)
    step = made = 0
    while made < count:
        stem, suffix = split(known[step % len(known)])
        name = f"{stem}-{step // len(known) + 2}{suffix}"
        step += 1
        if name not in taken:
            made += 1
            yield name


def split(name: str) -> tuple[str, str]:
    """An id as its stem and the suffix of an image file, which some ids have."""
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix) if stem and f".{suffix.lower()}" in competition.IMAGE_SUFFIXES else (name, "")
