"""Rows that a model is asked: arrays by input name, images that may be more than memory holds, or rows of cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.runtime import views
from builder.shown import IMAGE, Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Feeds
    from builder.shown import Shown


@dataclass(frozen=True)
class Pictures:
    """Some images as a model sees them under a view.

    Attributes:
        images: uint8 (n, height, width, 3), or the .npy file that holds them, decoded as the view asks for.
        rows: int64, which of them.
    """

    images: Path | NDArray[np.uint8]
    rows: NDArray[np.int64]
    view: str = "identity"

    @classmethod
    def of(cls, images: NDArray[np.uint8], rows: NDArray[np.int64], view: str = "identity") -> Pictures:
        """The same, by file where `images` are mapped from one: another process opens it again, and need not be sent it."""
        file = images.filename if isinstance(images, np.memmap) else None
        return cls(Path(file) if file else images, rows, view)

    def read(self) -> dict[str, NDArray[Any]]:
        """All of them by input name."""
        images = np.load(self.images, mmap_mode="r") if isinstance(self.images, Path) else self.images
        return {IMAGE: views.get(self.view).apply(images[self.rows])}


@dataclass(frozen=True)
class Lines:
    """Some rows of cells as a model sees them under a view."""

    shown: Shown
    rows: NDArray[np.int64]
    view: str = "identity"

    def read(self) -> dict[str, NDArray[Any]]:
        """All of them by input name."""
        return self.shown.together(self.view, self.rows)


Rows = Pictures | Lines | dict[str, Any]
"""What is asked: pictures, lines, or arrays by input name with equal leading axes."""


def of(shown: Shown, rows: NDArray[np.int64], view: str = "identity") -> Pictures | Lines:
    """Some of the training rows under a view."""
    return Pictures.of(shown.arrays[view], rows, view) if isinstance(shown, Pixels) else Lines(shown, rows, view)


def count(rows: Rows) -> int:
    """How many there are."""
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows.rows)


def pick(rows: Rows, chosen: slice | NDArray[np.int64]) -> Rows:
    """Some of them."""
    if isinstance(rows, dict):
        return {name: values[chosen] for name, values in rows.items()}
    return replace(rows, rows=rows.rows[chosen])


def batches(rows: Rows, size: int) -> Iterator[Feeds]:
    """Arrays by input name, `size` rows at a time, the last ones with what is left."""
    for start in range(0, count(rows), size):
        part = pick(rows, slice(start, start + size))
        yield part if isinstance(part, dict) else part.read()
