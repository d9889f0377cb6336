"""Training rows as a model is shown them: decoded images, cells that were read, or both; in batches, by the graph's input names.

Training, out-of-fold prediction and export look at the same rows through it, which are what the notebook will make of them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from builder.runtime import cells, joint, views
from builder.runtime.contract import Cells, Input, Joint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Picks = NDArray[np.int64]
    Feeds = dict[str, NDArray[Any]]

IMAGE = "image"  # the one input of a graph for images
PORTS = {
    "tokens": {"input_ids": "int64", "attention_mask": "int64"},
    "terms": {"terms": "int64", "counts": "float32"},
    "table": {"table": "float32"},
}  # inputs by name, in the order of a network's arguments -> dtype


class Shown(Protocol):
    """All training rows."""

    def __len__(self) -> int: ...

    def batches(self, view: str, rows: Picks, size: int) -> Iterator[tuple[Picks, Feeds]]:
        """`rows` under a view, at most `size` at a time, each once, in any order: places among `rows`, arrays by input name."""
        ...

    def together(self, view: str, rows: Picks) -> Feeds:
        """All of `rows` under a view as one batch, in order."""
        ...


@dataclass(frozen=True)
class Pixels:
    """Images: view -> uint8 (n, height, width, 3), decoded as that view asks for them (`images.seen`)."""

    arrays: Mapping[str, NDArray[np.uint8]]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batches(self, view: str, rows: Picks, size: int) -> Iterator[tuple[Picks, Feeds]]:
        """In order."""
        for at in range(0, len(rows), size):
            yield np.arange(at, min(at + size, len(rows))), self.together(view, rows[at : at + size])

    def together(self, view: str, rows: Picks) -> Feeds:
        """One array `image`."""
        return {IMAGE: views.get(view).apply(self.arrays[view][rows])}

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process is sent the files of arrays that are mapped from some, not the images of a whole competition."""
        kept = {
            view: Path(array.filename) if isinstance(array, np.memmap) and array.filename else array
            for view, array in self.arrays.items()
        }
        return _pixels, (kept,)


def _pixels(kept: Mapping[str, Any]) -> Pixels:
    return Pixels({view: np.load(one, mmap_mode="r") if isinstance(one, Path) else one for view, one in kept.items()})


@dataclass(frozen=True)
class Read:
    """Rows of cells, read by the runtime's own reader."""

    material: cells.Material

    def __len__(self) -> int:
        return len(self.material)

    def batches(self, view: str, rows: Picks, size: int) -> Iterator[tuple[Picks, Feeds]]:
        """As the material makes them: rows of like length come together."""
        return self.material.pick(rows).batches(view, size)

    def together(self, view: str, rows: Picks) -> Feeds:
        """Padded to the longest of them, as the material pads."""
        return cells.together(self.material.pick(rows), view)


@dataclass(frozen=True)
class Several:
    """Rows of a model with several inputs, in the order of its arguments; a view is one of the first part's.

    Attributes:
        leading: As `joint.leading` says.
    """

    parts: tuple[Pixels | Read, ...]
    leading: int

    def __len__(self) -> int:
        return len(self.parts[0])

    def batches(self, view: str, rows: Picks, size: int) -> Iterator[tuple[Picks, Feeds]]:
        """As the leading part makes them."""
        names = joint.views(view, len(self.parts))

        def other(number: int, places: Picks) -> Feeds:
            return self.parts[number].together(names[number], rows[places])

        made = self.parts[self.leading].batches(names[self.leading], rows, size)
        yield from joint.together(made, self.leading, len(self.parts), other)

    def together(self, view: str, rows: Picks) -> Feeds:
        """All of `rows`, each input as its part has it."""
        made: Feeds = {}
        for part, name in zip(self.parts, joint.views(view, len(self.parts)), strict=True):
            made.update(part.together(name, rows))
        return made


def pictured(shown: Shown) -> bool:
    """Whether the first thing that a model is shown is an image."""
    return isinstance(shown.parts[0] if isinstance(shown, Several) else shown, Pixels)


def input_of(view: str, given: Input | Cells | Joint) -> Input | Cells | Joint:
    """How a sample is read for a view of a model that takes `given`."""
    if isinstance(given, Joint):
        first, *others = given.parts
        return Joint((views.input_of(view, first) if isinstance(first, Input) else first, *others))
    return given if isinstance(given, Cells) else views.input_of(view, given)


def views_of(names: Sequence[str], given: Input | Cells | Joint) -> tuple[str, ...]:
    """Those of `names` that samples of a model that takes `given` can be seen under."""
    given = given.parts[0]
    if isinstance(given, Input):
        return tuple(names)
    found = []
    for name in names:
        with contextlib.suppress(ValueError):
            cells.check_view(given.kind, name)
            found.append(name)
    return tuple(found)


def ports_of(given: Input | Cells) -> Mapping[str, str]:
    """The arrays that a network takes of an input, in the order of its arguments: name -> dtype."""
    return PORTS[given.kind] if isinstance(given, Cells) else {IMAGE: "uint8"}


def size_of(view: str, given: Input | Cells | Joint) -> str:
    """What prices call the size of what a model sees under a view: `288x288`, `64 tokens`; empty for the model's own size."""
    given = given.parts[0]
    if isinstance(given, Cells):
        length = view.partition("@")[2]
        return f"{length} tokens" if length else ""
    height, width = views.shape_of(view, given)
    return "" if {height, width} == {given.height, given.width} else f"{height}x{width}"


def input_from(raw: Mapping[str, Any]) -> Input | Cells | Joint:
    """An input from the JSON values of a record."""
    if "parts" in raw:
        return Joint(tuple(_one_from(part) for part in raw["parts"]))
    return _one_from(raw)


def _one_from(raw: Mapping[str, Any]) -> Input | Cells:
    return Cells(**raw) if "recipe" in raw else Input(**raw)


def reader_of(path: Path, hooks_file: Path | None) -> cells.Reader:
    """The reader of a recipe at home, with the competitor's hooks when there are some."""
    from builder.runtime import hooks

    return cells.open(path, hooks.load(str(hooks_file) if hooks_file and hooks_file.is_file() else None))
