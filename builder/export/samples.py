"""Training rows as an exported model will be asked them: what is read, by what, and how long reading takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import images
from builder.export.record import File, recipe_name
from builder.progress import Report, silent
from builder.runtime import cells, inputs, joint
from builder.runtime.contract import Cells
from builder.shown import Pixels, Read, Several, Shown, input_of, reader_of
from builder.workspace import write_bytes

if TYPE_CHECKING:
    from builder.competition import Rows
    from builder.runtime.contract import Input, Joint
    from builder.train.record import TrainedModel, Version

DECODED_FOR_PRICE, READ_FOR_PRICE = 32, 512  # images, rows of cells


@dataclass(frozen=True)
class Samples:
    """The training rows of a version.

    Attributes:
        hooks: The competitor's hooks.py, which may not be there.
    """

    version: Version
    rows: Rows
    root: Path
    cache: Path
    hooks: Path
    views: tuple[str, ...]
    report: Report = silent

    def reader(self, model: TrainedModel, given: Cells) -> cells.Reader:
        """What reads the cells for a model."""
        return reader_of(self.version.source_of(model) / given.recipe, self.hooks)

    def shown(self, model: TrainedModel) -> Shown:
        """All rows as the model is shown them."""
        parts = tuple(self._part(model, given) for given in model.input.parts)
        return parts[0] if len(parts) == 1 else Several(parts, joint.leading(model.input.parts))

    def _part(self, model: TrainedModel, given: Input | Cells) -> Pixels | Read:
        if isinstance(given, Cells):
            return Read(self.reader(model, given).read(self.rows.cells))
        return Pixels(images.seen(self.rows.paths, given, self.views, root=self.root, cache=self.cache, report=self.report))

    def recipe(self, model: TrainedModel, folder: Path) -> tuple[File, ...]:
        """What must lie beside a model that reads cells: its recipes, written into `folder` under names of their own."""
        found = []
        for given in model.input.parts:
            if isinstance(given, Cells):
                path = folder / recipe_name(model.name, given)
                write_bytes(path, (self.version.source_of(model) / given.recipe).read_bytes())
                found.append(File.of(path))
        return tuple(found)

    def prices(self) -> dict[str, float]:
        """Preprocessing key -> milliseconds to read one sample, one thread."""
        found: dict[str, float] = {}
        for model in self.version.models:
            for wanted in (input_of(view, model.input) for view in self.views):
                if wanted.key not in found:
                    found[wanted.key] = sum(self._price(model, part) for part in wanted.parts)
        return found

    def _price(self, model: TrainedModel, wanted: Input | Cells) -> float:
        if isinstance(wanted, Cells):
            reader, some = self.reader(model, wanted), self.rows.cells[:READ_FOR_PRICE]
            reader.read(some[:1])  # what it imports is not the price of a row
            started = time.perf_counter()
            reader.read(some)
            return (time.perf_counter() - started) * 1e3 / len(some)
        paths = self.rows.paths[:DECODED_FOR_PRICE]
        started = time.perf_counter()
        inputs.decode_many(paths, wanted)
        return (time.perf_counter() - started) * 1e3 / len(paths)


def features(shown: Shown, given: Input | Cells | Joint) -> int:
    """Columns of the array that a model of tables takes; 0 for any other."""
    if not any(isinstance(part, Cells) and part.kind == "table" for part in given.parts):
        return 0
    return int(shown.together("identity", np.arange(1))["table"].shape[1])
