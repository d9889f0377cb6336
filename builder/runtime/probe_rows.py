"""The probe's files: which training rows, where their images are, and what home made of them.

Expects: for each probe of the plan, its table and its values in an attached dataset (`contract.Probe`).
Produces: the rows that can be read here, those of one member and fold side by side.
Never: fails: a probe that cannot be read, and images that are not mounted, are notes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import integrity, launch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from .contract import Head, Probe, Unit
    from .state import State

SCHEMA = 1


class _UnreadableError(ValueError):
    """Raised when a probe's files are not what they must be."""


@dataclass(frozen=True)
class _Table:
    """One member's probe.

    Attributes:
        folds: int (rows,), the fold that predicts each row.
        cells, images: Of each row: what the training table says, and the path in the competition's folder.
        values: float32 (views, rows, outputs).
    """

    probe: Probe
    views: tuple[str, ...]
    folds: NDArray[np.int64]
    cells: tuple[dict[str, Any], ...]
    images: tuple[str, ...]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """The rows of all members.

    Attributes:
        cells, images: Of each row.
        spans: (member, fold) -> where its rows are.
        tables: Member -> its probe, its rows in order.
        starts: Member -> where its rows begin.
        notes: What could not be read.
        heads: What the outputs are.
    """

    cells: tuple[dict[str, Any], ...]
    images: tuple[str, ...]
    spans: Mapping[tuple[str, int], tuple[int, int]]
    tables: Mapping[str, _Table]
    starts: Mapping[str, int]
    notes: tuple[str, ...]
    heads: tuple[Head, ...] = ()

    def span(self, unit: Unit) -> tuple[int, int]:
        """Where the rows are that home predicted with this unit; empty when there are none."""
        table = self.tables.get(unit.member)
        return self.spans.get((unit.member, unit.fold), (0, 0)) if table and unit.view in table.views else (0, 0)

    def expected(self, unit: Unit) -> NDArray[np.float64]:
        """Float (all rows, outputs): what home made of this unit's rows, NaN elsewhere."""
        table, (start, stop) = self.tables[unit.member], self.span(unit)
        out = np.full((len(self.cells), table.values.shape[2]), np.nan)
        first = self.starts[unit.member]
        out[start:stop] = table.values[table.views.index(unit.view), start - first : stop - first]
        return out

    def limit(self, unit: Unit) -> float:
        """By how much an answer of this unit may differ, as `heads.apart` measures it."""
        return self.tables[unit.member].probe.max_abs_diff

    def samples(self, state: State) -> tuple[list[str], list[dict[str, Any]]]:
        """As a job takes them: image paths where units take images, the rows where anything reads cells."""
        images, cells = launch.reads(state)
        paths = [str(state.mounts.competition / image) for image in self.images]
        return paths if images else [], list(self.cells) if cells else []


def read(state: State) -> Rows:
    """The probe rows of all members."""
    cells: list[dict[str, Any]] = []
    images: list[str] = []
    spans: dict[tuple[str, int], tuple[int, int]] = {}
    tables, starts, notes = {}, {}, []
    for probe in state.plan.probes:
        try:
            table = _table(probe, state)
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"the probe of {probe.member} cannot be read, it is left out: {type(error).__name__}: {error}")
            continue
        table, told = _readable(table, state)
        notes += told
        tables[probe.member], starts[probe.member] = table, len(cells)
        for fold in np.unique(table.folds).tolist():
            first = len(cells) + int(np.searchsorted(table.folds, fold))
            spans[probe.member, fold] = (first, first + int((table.folds == fold).sum()))
        cells += table.cells
        images += table.images
    return Rows(tuple(cells), tuple(images), spans, tables, starts, tuple(notes), state.plan.answer.parts)


def _table(probe: Probe, state: State) -> _Table:
    """The files, checked and in the order of folds. Raises OSError, ValueError, KeyError or TypeError."""
    folder, files = _folder(probe, state), state.carried[probe.dataset].files
    integrity.check(folder, {name: files[name] for name in (probe.table, probe.values)})
    raw = json.loads((folder / probe.table).read_text("utf-8"))
    if raw["schema"] != SCHEMA:
        raise _UnreadableError(f"found schema {raw['schema']!r}, this runtime reads schema {SCHEMA}")
    values = np.load(folder / probe.values, allow_pickle=False)
    rows, views = raw["rows"], tuple(map(str, raw["views"]))
    expected = (len(views), len(rows), len(state.plan.answer.classes))
    if values.shape != expected:
        raise _UnreadableError(f"{probe.values} has shape {values.shape}, expected {expected}")
    folds = np.array([int(row["fold"]) for row in rows], dtype=np.int64)
    order = np.argsort(folds, kind="stable").tolist()
    cells = tuple(dict(rows[at]["row"]) for at in order)
    images = tuple(str(rows[at].get("image", "")) for at in order)
    return _Table(probe, views, folds[order], cells, images, values[:, order])


def _folder(probe: Probe, state: State) -> Path:
    folder = state.mounts.datasets.get(probe.dataset)
    missing = [name for name in (probe.table, probe.values) if folder is None or name not in state.carried[probe.dataset].files]
    if folder is None or missing:
        raise _UnreadableError(f"the notebook's list has no {', '.join(missing)} of dataset {probe.dataset!r}")
    return folder


def _readable(table: _Table, state: State) -> tuple[_Table, list[str]]:
    """The rows whose images are mounted; a hook that loads samples knows itself where they are."""
    if not launch.reads(state)[0]:
        return table, []
    root = state.mounts.competition
    there = [at for at, image in enumerate(table.images) if image and (root / image).is_file()]
    gone = len(table.images) - len(there)
    if not gone:
        return table, []
    first = next(image for at, image in enumerate(table.images) if at not in set(there))
    kept = _Table(
        table.probe,
        table.views,
        table.folds[there],
        tuple(table.cells[at] for at in there),
        tuple(table.images[at] for at in there),
        table.values[:, there],
    )
    note = f"probe of {table.probe.member}: {gone} of {len(table.images)} rows are left out, their images are not mounted"
    return kept, [f"{note}; first: {first or 'a row without an image'}"]
