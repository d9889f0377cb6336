"""From cells to words: what the readers of tokens and of terms share. Their door, and their views.

Expects: a recipe of kind `tokens` (tokens.py) or `terms` (terms.py).
Produces: a reader; one text per row, and batches of rows that are about equally long.
Never: fails for a strange cell: what is no text becomes one, half a surrogate pair becomes a question mark.

Views of tokens say which part of a text is seen, and how much of it:

    identity          as the recipe says: `length` tokens, of the end that `side` leaves
    tail              the same number from the other end
    ...@256           at most 256 tokens, the special ones included
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import CellsError, refuse_missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .cells import Reader
    from .hooks import Hooks

PARTS = ("identity", "tail")
SHORTEST, LONGEST = 8, 4096  # tokens that a view may ask for
STEP = 8  # widths of batches are multiples of it: fewer shapes to plan for, and what fast kernels like
NAME = re.compile(r"([a-z]+)(?:@([1-9][0-9]{0,5}))?", re.ASCII)


def reader(recipe: Mapping[str, Any], hooks: Hooks) -> Reader:  # noqa: ARG001  tables ask them
    """The reader of a recipe for text. Raises CellsError when it lacks something, or its tokenizer cannot be read."""
    from . import terms, tokens

    try:
        return tokens.reader(recipe) if recipe["kind"] == "tokens" else terms.reader(recipe)
    except (KeyError, TypeError, ValueError) as error:
        raise CellsError(f"a recipe of kind {recipe.get('kind')!r} is broken: {type(error).__name__}: {error}") from None


def check_view(kind: str, name: str) -> None:
    """Raise ValueError, listing what there is, when material of `kind` has no view `name`."""
    if kind == "tokens":
        part_of(name)
    elif name != "identity":
        raise ValueError(f"unknown view {name!r} of {kind}; known is identity")


def part_of(view: str) -> tuple[str, int | None]:
    """Which of PARTS a view of tokens shows, and how many tokens at most; None: as many as the recipe says. ValueError."""
    found = NAME.fullmatch(view)
    if not found or found[1] not in PARTS:
        raise ValueError(f"unknown view {view!r} of tokens; known are {', '.join(PARTS)}, identity@64, tail@256 and their like")
    if found[2] is None:
        return found[1], None
    if not SHORTEST <= int(found[2]) <= LONGEST:
        raise ValueError(f"impossible length in view {view!r}; possible are {SHORTEST} to {LONGEST} tokens")
    return found[1], int(found[2])


def passages(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], joiner: str, longest: int) -> list[str]:
    """One text per row: its cells in the order of `columns`, `joiner` between them; of a longer one the middle is missing.

    A text of a megabyte says no more to a model that reads a thousand words than its two ends do, and would take seconds.
    """
    refuse_missing(columns, rows)
    half = longest // 2
    texts = (joiner.join(_text(row.get(column)) for column in columns) for row in rows)
    return [text if len(text) <= longest else text[:half] + text[-half:] for text in texts]


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else str(cell)
    return cell if cell.isascii() else cell.encode("utf-8", "replace").decode("utf-8")


def buckets(lengths: NDArray[np.int64], size: int, room: int, limit: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Places of rows of about equal length, the longest first, and how wide their batch is.

    Args:
        lengths: Of each row.
        size: Rows in a batch, at most.
        room: Cells in a batch, padding included, at most; a row that is longer is alone.
        limit: No batch is wider.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        width = min(-(-int(lengths[order[start]]) // STEP) * STEP, limit)
        count = max(1, min(size, room // width))
        yield order[start : start + count], width
        start += count


def padded(flat: NDArray[Any], starts: NDArray[np.int64], counts: NDArray[np.int64], width: int, fill: Any) -> NDArray[Any]:
    """Rows of `flat` side by side, (len(starts), width): `counts` cells from each of `starts`, then `fill`."""
    offsets = np.arange(width)
    inside = offsets < counts[:, None]
    out = np.full(inside.shape, fill, dtype=flat.dtype)
    out[inside] = flat[(starts[:, None] + offsets)[inside]]
    return out
