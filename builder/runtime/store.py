"""Decoded images in scratch, so that no sample is decoded twice: one place per sample, whatever samples a task has.

    decoded/<key>.u8    image after image, uint8 (height, width, 3); what was never written takes no room
    decoded/<key>.has   one byte per sample: 1 when its image is there

Expects: arrays of one input key have one shape.
Produces: what was written, whole or not at all: the byte is set after the image, so a killed writer leaves nothing half-read.
Never: fails for want of room: an image that does not fit is decoded again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from .contract import Input

    Image = NDArray[np.uint8]
    Rows = NDArray[np.int64]


class Store:
    """The images of one input key in `folder`."""

    def __init__(self, folder: Path, spec: Input) -> None:
        self._shape = (spec.height, spec.width, 3)
        self._bytes = spec.height * spec.width * 3
        self._images, self._has = folder / f"{spec.key}.u8", folder / f"{spec.key}.has"

    def read(self, rows: Rows, out: Image) -> NDArray[np.bool_]:
        """Fill `out` (m, height, width, 3) with the images of `rows` that are here; bool (m,): which."""
        found = np.zeros(len(rows), dtype=bool)
        with contextlib.suppress(OSError), self._has.open("rb") as marks, self._images.open("rb") as images:
            known = np.frombuffer(marks.read(), dtype=np.uint8)
            wanted = np.flatnonzero(known[rows[rows < len(known)]])
            for at in wanted.tolist():
                read = os.preadv(images.fileno(), [memoryview(out[at]).cast("B")], int(rows[at]) * self._bytes)
                found[at] = read == self._bytes
        return found

    def write(self, rows: Rows, images: Image) -> bool:
        """Put the images of `rows` here, as far as there is room. False when some were not taken."""
        try:
            with _open(self._images) as file, _open(self._has) as marks:
                for at, row in enumerate(rows.tolist()):
                    if os.pwrite(file, memoryview(images[at]).cast("B"), row * self._bytes) != self._bytes:
                        return False
                    os.pwrite(marks, b"\x01", row)
        except OSError:
            return False
        return True


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
