"""A worker's samples as units take them: images decoded, cells read, once for all units that share an input.

Expects: a job's folder with its samples (job.py); tasks one after the other, neighbours often on the same samples.
Produces: batches of arrays, with the places that they stand for; how long that took, and on how many samples.
Never: fails for one bad sample: its cause is told, its place stays in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import cells, inputs, joint, views
from .clock import now
from .contract import Cells, Input
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .contract import Unit
    from .hooks import Hooks

    Rows = NDArray[np.int64]
    Feeds = NDArray[Any] | Mapping[str, NDArray[Any]]

IMAGE = "image"  # what a graph with several inputs calls that of images


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

    def together(self, view: str, places: Rows) -> NDArray[np.uint8]:
        """Those at some places, in any order, as one batch under a view."""
        return views.get(view).apply(self.array[places])


@dataclass(frozen=True)
class Joined:
    """Samples of a model with several inputs.

    Attributes:
        parts: One per input.
        leading: As `joint.leading` says.
    """

    parts: tuple[Images | cells.Material, ...]
    leading: int

    def __len__(self) -> int:
        return len(self.parts[0])

    def pick(self, places: Rows) -> Joined:
        """Those at some places, ascending."""
        return Joined(tuple(part.pick(places) for part in self.parts), self.leading)

    def batches(self, view: str, size: int) -> Iterator[tuple[Rows, Feeds]]:
        """Every sample once, with all its inputs."""
        names = joint.views(view, len(self.parts))
        first = self.parts[self.leading].batches(names[self.leading], size)
        named = ((places, feeds if isinstance(feeds, Mapping) else {IMAGE: feeds}) for places, feeds in first)
        yield from joint.together(named, self.leading, len(self.parts), partial(self._other, names))

    def _other(self, names: Sequence[str], number: int, places: Rows) -> Mapping[str, NDArray[Any]]:
        part = self.parts[number]
        if isinstance(part, Images):
            return {IMAGE: part.together(names[number], places)}
        return cells.together(part.pick(places), names[number])


@dataclass(frozen=True)
class Taken:
    """The samples of one task.

    Attributes:
        material: In the order of the task's rows.
        seconds: That making it took; None when nothing had to be made.
        made: On how many samples.
        bad: Place -> why a sample could not be read.
    """

    material: Images | cells.Material | Joined
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
        self._held: dict[str, tuple[Rows, Images | cells.Material]] = {}  # of the last unit's inputs: no chunk is in memory twice
        self._readers: dict[str, cells.Reader] = {}

    def take(self, unit: Unit, rows: Rows, *, keep: bool) -> Taken:
        """The samples `rows`, ascending, as `unit` takes them; images are left in scratch when they shall be kept."""
        begin, specs = now(), unit.input.parts
        self._held = {key: held for key, held in self._held.items() if key in {spec.key for spec in specs}}
        taken = [self._part(unit, spec, rows) for spec in specs]
        bad: dict[int, str] = {}
        for spec, (part, _) in zip(specs, taken, strict=True):
            if isinstance(part, Images):
                bad.update(part.failed)
                if keep and isinstance(spec, Input):
                    self._leave(spec, part)
        # Where there are images, they are what takes time: cells that are read beside them are not counted as samples read.
        pictured = [made for spec, (_, made) in zip(specs, taken, strict=True) if isinstance(spec, Input)]
        made = max(pictured or [made for _, made in taken])
        parts = tuple(part for part, _ in taken)
        material = parts[0] if len(parts) == 1 else Joined(parts, joint.leading(specs))
        return Taken(material, now() - begin if made else None, made, bad)

    def _part(self, unit: Unit, spec: Input | Cells, rows: Rows) -> tuple[Images | cells.Material, int]:
        """The samples as one input of `unit` takes them, and how many of them had to be read."""
        held, made = self._held.get(spec.key), 0
        if held is None or not np.isin(rows, held[0], assume_unique=True).all():
            self._held.pop(spec.key, None)
            material, made = self._decode(spec, rows) if isinstance(spec, Input) else self._read(unit, spec, rows)
            held = self._held[spec.key] = (rows, material)
        if len(rows) == len(held[0]):
            return held[1], made
        return held[1].pick(np.searchsorted(held[0], rows)), made

    def _leave(self, spec: Input, images: Images) -> None:
        """Put images in scratch, for others."""
        whole = [at for at in range(len(images)) if at not in images.failed]
        array = images.array[whole] if images.failed else images.array
        Store(self.folder / "decoded", spec).write(images.rows[whole], array)

    def _read(self, unit: Unit, spec: Cells, rows: Rows) -> tuple[cells.Material, int]:
        """The cells of `rows`, by the recipe in the unit's dataset."""
        if spec.key not in self._readers:
            self._readers[spec.key] = cells.open(Path(self.recipes[unit.dataset]) / spec.recipe, self.hooks)
        return self._readers[spec.key].read([self.rows[row] for row in rows.tolist()]), len(rows)

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
