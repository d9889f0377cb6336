"""A worker's samples as units take them: images decoded, cells read, once for all units that share an input.

Expects: a job's folder with its samples (job.py); tasks one after the other, neighbours often on the same samples.
Produces: batches of arrays, with the places that they stand for; how long that took, and on how many samples.
Never: fails for one bad sample: its cause is told, its place stays in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import cells, inputs, views
from .clock import now
from .contract import Cells
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract import Input, Unit
    from .hooks import Hooks

    Rows = NDArray[np.int64]
    Feeds = NDArray[Any] | Mapping[str, NDArray[Any]]


class Images(NamedTuple):
    """Images of some samples."""

    rows: Rows  # ascending
    array: NDArray[np.uint8]
    failed: Mapping[int, str]  # place -> cause

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, places: Rows) -> Images:
        """Those at some places, ascending."""
        if len(places) == len(self.rows):
            return self
        failed = {at: self.failed[place] for at, place in enumerate(places.tolist()) if place in self.failed}
        return Images(self.rows[places], self.array[places], failed)

    def batches(self, view: str, size: int) -> Iterator[tuple[Rows, Feeds]]:
        """The images under a view, in order."""
        apply = views.get(view).apply
        for at in range(0, len(self.array), size):
            places = np.arange(at, min(at + size, len(self.array)))
            yield places, apply(self.array[at : at + size])


@dataclass(frozen=True)
class Taken:
    """The samples of one task.

    Attributes:
        material: In the order of the task's rows.
        seconds: That making it took; None when nothing had to be made.
        made: On how many samples.
        bad: Place -> why a sample could not be read.
    """

    material: Images | cells.Material
    seconds: float | None
    made: int
    bad: Mapping[int, str]


@dataclass
class Samples:
    """What a worker reads from.

    Attributes:
        paths: Image of each sample; empty when no unit takes images.
        rows: Cells of each sample; empty when no unit reads cells.
        recipes: Folder of each dataset, for the recipes in it.
        folder: The job's, where decoded images are left for others.
    """

    paths: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    recipes: Mapping[str, str]
    folder: Path
    threads: int
    hooks: Hooks

    def __post_init__(self) -> None:
        self._key = ""
        self._held: Rows = np.empty(0, dtype=np.int64)  # what was made last: one chunk need not be in memory twice
        self._material: Images | cells.Material | None = None
        self._readers: dict[str, cells.Reader] = {}

    def take(self, unit: Unit, rows: Rows, *, keep: bool) -> Taken:
        """The samples `rows`, ascending, as `unit` takes them; images are left in scratch when they shall be kept."""
        key, begin, made = unit.input.key, now(), 0
        if self._material is None or key != self._key or not np.isin(rows, self._held, assume_unique=True).all():
            self._material = None
            self._material, made = self._read(unit, rows)
            self._key, self._held = key, rows
        material = self._material
        if len(rows) != len(self._held):
            material = material.pick(np.searchsorted(self._held, rows))
        seconds = now() - begin if made else None
        if not isinstance(material, Images):
            return Taken(material, seconds, made, {})
        if keep and not isinstance(unit.input, Cells):
            whole = [at for at in range(len(rows)) if at not in material.failed]
            array = material.array[whole] if material.failed else material.array
            Store(self.folder / "decoded", unit.input).write(rows[whole], array)
        return Taken(material, seconds, made, material.failed)

    def _read(self, unit: Unit, rows: Rows) -> tuple[Images | cells.Material, int]:
        """The material, and how many samples had to be read for it."""
        if not isinstance(unit.input, Cells):
            return self._decode(unit.input, rows)
        if unit.input.key not in self._readers:
            path = Path(self.recipes[unit.dataset]) / unit.input.recipe
            self._readers[unit.input.key] = cells.open(path, self.hooks)
        return self._readers[unit.input.key].read([self.rows[row] for row in rows.tolist()]), len(rows)

    def _decode(self, spec: Input, rows: Rows) -> tuple[Images, int]:
        """The images of `rows`: from scratch when an earlier unit of equal input left them there."""
        out = np.zeros((len(rows), spec.height, spec.width, 3), dtype=np.uint8)
        missing = np.flatnonzero(~Store(self.folder / "decoded", spec).read(rows, out))
        if not len(missing):
            return Images(rows, out, {}), 0
        images, failed = inputs.decode_many([self.paths[row] for row in rows[missing].tolist()], spec, self.threads)
        if len(missing) == len(rows):
            out = images
        else:
            out[missing] = images
        return Images(rows, out, {int(missing[at]): cause for at, cause in failed}), len(missing)
