"""Rows that a model is asked: arrays by input name, or rows of an array of images that may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.runtime import views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Feeds

INPUT = "image"


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
        return {INPUT: views.get(self.view).apply(images[self.rows])}


Rows = Pictures | dict[str, Any]
"""What is asked: pictures, or arrays by input name with equal leading axes."""


def count(rows: Rows) -> int:
    """How many there are."""
    return len(rows.rows) if isinstance(rows, Pictures) else len(next(iter(rows.values())))


def pick(rows: Rows, chosen: slice | NDArray[np.int64]) -> Rows:
    """Some of them."""
    if isinstance(rows, Pictures):
        return replace(rows, rows=rows.rows[chosen])
    return {name: values[chosen] for name, values in rows.items()}


def batches(rows: Rows, size: int) -> Iterator[Feeds]:
    """Arrays by input name, `size` rows at a time, the last ones with what is left."""
    for start in range(0, count(rows), size):
        part = pick(rows, slice(start, start + size))
        yield part.read() if isinstance(part, Pictures) else part
