"""The door to rows of cells, text and tables: a recipe of what was fitted at home, rows in, the arrays that models take out.

Expects: a recipe, one JSON object: {"schema": 1, "kind": one of contract.CELLS, "columns": what is read, ...};
    rows as mappings from column to text, every cell as in the file.
Produces: a reader. Training, out-of-fold prediction, parity and the notebook all read with it, so they cannot disagree.
Never: fails for a strange cell. A row that means nothing gets the arrays of a row that says nothing.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .contract import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .hooks import Hooks

    Feeds = dict[str, NDArray[Any]]

SCHEMA = 1


class CellsError(ValueError):
    """Raised when a recipe cannot be read, or rows lack a column, which is named."""


class Material(Protocol):
    """Rows that were read.

    Attributes:
        padding: What stands behind the end of a row, by input name; 0 where nothing is said.
    """

    @property
    def padding(self) -> Mapping[str, int]: ...

    def __len__(self) -> int: ...

    def pick(self, places: NDArray[Any]) -> Material:
        """Some of the rows, int64 places among them."""
        ...

    def batches(self, view: str, size: int) -> Iterator[tuple[NDArray[Any], Feeds]]:
        """Every row once, in any order, at most `size` at a time: int64 places, and arrays by the graph's input names."""
        ...


class Reader(Protocol):
    """What makes material of rows."""

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Material:
        """The rows as models take them. Raises CellsError when a column is missing."""
        ...


def open(path: Path, hooks: Hooks) -> Reader:  # noqa: A001  the word for it
    """The reader of the recipe in the file `path`. Raises CellsError when it is none."""
    try:
        recipe = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CellsError(f"{path}: {error}") from None
    return reader(recipe, hooks)


def reader(recipe: Mapping[str, Any], hooks: Hooks) -> Reader:
    """The reader of a recipe. Raises CellsError for one of another schema or kind."""
    found = (recipe.get("schema"), recipe.get("kind")) if isinstance(recipe, dict) else None
    if found is None or found[0] != SCHEMA or found[1] not in CELLS:
        raise CellsError(f"found a recipe of schema and kind {found}, expected schema {SCHEMA} and one of {', '.join(CELLS)}")
    made: Reader = _module(str(found[1])).reader(recipe, hooks)
    return made


def together(material: Material, view: str) -> Feeds:
    """All rows as one batch, in order, padded to the longest as the material pads."""
    parts = list(material.batches(view, max(1, len(material))))
    made: Feeds = {}
    for name, first in parts[0][1].items() if parts else ():
        longest = max(feeds[name].shape[1] for _, feeds in parts)
        made[name] = np.full((len(material), longest), material.padding.get(name, 0), dtype=first.dtype)
        for places, feeds in parts:
            made[name][places, : feeds[name].shape[1]] = feeds[name]
    return made


def check_view(kind: str, name: str) -> None:
    """Raise ValueError, listing what there is, when material of `kind` has no view `name`."""
    _module(kind).check_view(kind, name)


def _module(kind: str) -> Any:
    """Where a kind lives: late, for whoever reads tables need not wait for what texts need."""
    return importlib.import_module(".tables" if kind == "table" else ".texts", __package__)


def refuse_missing(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise CellsError, naming them, for columns that the rows lack; all rows of a table have the same."""
    missing = [column for column in columns if rows and column not in rows[0]]
    if missing:
        raise CellsError(f"the table has no column {', '.join(map(repr, missing))}; found {', '.join(map(str, rows[0]))}")
