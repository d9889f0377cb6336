"""The training rows that a kernel.toml describes: ids, truth, and what models read of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.competition import targets
from builder.competition.tables import read_table
from builder.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from builder.config import Config
    from builder.runtime.contract import Head

    Table = pd.DataFrame


@dataclass(frozen=True)
class Rows:
    """Training rows; everything is in the order of `ids`.

    Attributes:
        heads, y, told: As in `Targets`.
        paths: The images; empty for other tasks.
        cells: The rows of the table as text, without the targets; empty where no model reads them.
        groups, times: What `data.group` and `data.time` say of each row; empty without them.
    """

    ids: tuple[str, ...]
    heads: tuple[Head, ...]
    y: NDArray[Any]
    told: tuple[str, ...]
    paths: tuple[Path, ...] = ()
    cells: tuple[Mapping[str, str], ...] = ()
    groups: tuple[str, ...] = ()
    times: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all outputs: class labels, labels or targets, of all heads."""
        return tuple(name for head in self.heads for name in head.classes)

    @property
    def strata(self) -> NDArray[np.int64]:
        """int64 (rows,): what rows are spread over folds by."""
        return targets.strata(self.heads, self.y)

    @property
    def prior(self) -> tuple[float, ...]:
        """What is answered where nothing is known, one number per output."""
        return targets.prior(self.heads, self.y)


def train_rows(config: Config, root: Path) -> Rows:
    """The training rows that kernel.toml describes.

    Raises UserError for columns that are not there, ids that repeat, and rows without a label or an image.
    """
    from builder.config import IMAGES, reads_cells

    data, path = config.data, root / config.data.train
    table = read_table(path)
    named = [("data.id", data.id), *(("data.target", column) for column in data.targets or ("",))]
    named += [(f"data.{key}", getattr(data, key)) for key in ("group", "time") if getattr(data, key)]
    _refuse_absent(named, table, path)
    # No label at all is an answer where labels are there or not.
    _refuse_unfit(table, data.id, data.targets if data.truth != "multilabel" else (), path)
    truth = targets.read(data, table, path)
    ids, groups, times = tuple(table[data.id]), _told(table, data.group, path), _told(table, data.time, path)
    facts = (ids, truth.heads, truth.y, truth.told)
    paths: tuple[Path, ...] = ()
    cells: list[Any] = []
    if data.task == IMAGES:
        paths = tuple(root / image_name(data.image, row) for row in table.to_dict("records"))
        _refuse_missing(paths, ids, path)
    if reads_cells(config):
        columns_of(config, root, table)
        cells = table.drop(columns=list(data.targets)).to_dict("records")
    return Rows(*facts, paths, tuple(cells), groups, times)


def columns_of(config: Config, root: Path, train: Table | None = None) -> tuple[str, ...]:
    """The columns that models of texts and tables may read, which the training and the test table have.

    Those that kernel.toml names; for tables that name none, all of the test table but the id, the target and the group, which
    never comes again. Raises UserError for one that is not there.
    """
    data = config.data
    train = read_table(root / data.train) if train is None else train
    # A machine that only trains may have no test table.
    test = read_table(root / data.test) if (root / data.test).is_file() else None
    asked = [("data.text", name) for name in data.text] + [("data.columns", name) for name in data.columns]
    if not asked:
        usual = map(str, (train if test is None else test).columns)
        asked = [("data.columns", name) for name in usual if name not in {data.id, *data.targets, data.group}]
    for table, path in ((train, root / data.train), (test, root / data.test)):
        if table is not None:
            _refuse_absent(asked, table, path)
    named = tuple(dict.fromkeys(name for _, name in asked))
    if not named:
        raise UserError(
            "the tables have no column to learn from",
            file=root / data.test,
            found=f"only {data.id}",
            expected="columns that the training table has, too",
            remedy="check data.task and data.columns in kernel.toml",
        )
    return named


def _refuse_absent(named: Iterable[tuple[str, str]], table: Table, path: Path) -> None:
    """Raise UserError for the first column of `named`, (key of kernel.toml, column), that the table has not."""
    for key, column in named:
        if column not in table:
            raise UserError(
                f"{key} names a column that is not there",
                file=path,
                found=", ".join(map(str, table.columns)),
                expected=repr(column),
                remedy=did_you_mean(column, map(str, table.columns)),
            )


def _refuse_unfit(table: Table, identity: str, labelled: Sequence[str], path: Path) -> None:
    if not len(table):
        raise UserError("the training table has no rows", file=path, remedy="check the download")
    repeated = table[identity][table[identity].duplicated()]
    if len(repeated):
        raise UserError(f"{len(repeated)} ids stand twice", file=path, found=repeated.iloc[0], remedy="remove the duplicates")
    for column in labelled:
        unlabelled = table[identity][table[column] == ""]
        if len(unlabelled):
            where = f"id {unlabelled.iloc[0]}" + (f", column '{column}'" if len(labelled) > 1 else "")
            raise UserError(f"{len(unlabelled)} rows have no label", file=path, found=where, remedy="label or remove them")


def _told(table: Table, column: str, path: Path) -> tuple[str, ...]:
    """The values of a column that folds are made by; none when there is no such column. Raises UserError for empty ones."""
    if not column:
        return ()
    values = tuple(str(value).strip() for value in table[column])
    empty = values.count("")
    if empty:
        raise UserError(
            f"{empty} rows have no {column}",
            file=path,
            found=f"row {values.index('') + 1} with an empty {column}",
            expected="a value in every row, because folds are made by it",
            remedy="fill it in, or choose another cv.scheme",
        )
    return values


def image_name(pattern: str, row: Mapping[Any, Any]) -> str:
    """The relative path that `pattern` (`train_images/{id}.jpg`) gives for a row of a table."""
    try:
        name = pattern.format_map(row)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UserError(
            "the image pattern does not fit the table",
            found=f"{pattern} ({error})",
            expected=", ".join(map(str, row)),
            remedy="mend data.image",
        ) from None
    _refuse_escape(name, pattern)
    return name


def _refuse_escape(name: str, pattern: str) -> None:
    """Raise UserError for a path that leaves the competition's folder: its tables are not ours to trust."""
    parts = Path(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise UserError(
            "an image path leaves the competition's folder",
            found=repr(name),
            expected=f"a path below it ({pattern})",
            remedy="check the table's ids",
        )


def _refuse_missing(paths: tuple[Path, ...], ids: tuple[str, ...], table: Path) -> None:
    present = {
        folder: {entry.name for entry in folder.iterdir()} if folder.is_dir() else set() for folder in {p.parent for p in paths}
    }
    missing = [(identity, path) for identity, path in zip(ids, paths, strict=True) if path.name not in present[path.parent]]
    if missing:
        identity, path = missing[0]
        raise UserError(
            f"{len(missing)} of {len(paths)} rows have no image",
            file=table,
            found=f"id {identity} without {path}",
            expected="an image for every row",
            remedy="mend data.image in kernel.toml, or download the files again",
        )
