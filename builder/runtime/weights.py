"""The files that a plan's units load: found, checked as far as that is quick, mended where Kaggle has unpacked them.

Expects: the plan's units, the notebook's dataset list, scratch that is not output.
Produces: folders by dataset key, one model path per unit, and a verification under way for what takes longer.
Never: hands out a path whose content is neither verified nor about to be (integrity.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import integrity, mend
from .contract import Cells
from .mounts import MountError, dataset, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .contract import Carried, Unit

OURS = ("runtime", "wheels-")  # keys of what the bootstrap cell has checked already


@dataclass(frozen=True)
class Attached:
    """What the units need, mounted.

    Attributes:
        folders: Dataset key -> folder.
        models: Path of each unit's model file, in the order of the units.
        verification: The check that is under way; close it when the run ends.
        notes: What was mended, for people.
    """

    folders: Mapping[str, Path]
    models: tuple[str, ...]
    verification: integrity.Verification
    notes: tuple[str, ...]


def attach(units: Sequence[Unit], carried: Mapping[str, Carried], scratch: Path) -> Attached:
    """Find the units' datasets, check names, sizes and small files, and start checking the others in the order of their use.

    Raises MountError (IntegrityError among them) that names what is missing or differs.
    """
    _refuse_unlisted(units, carried)
    keys = dict.fromkeys(unit.dataset for unit in units)
    keys |= dict.fromkeys(key for key in carried if not key.startswith(OURS))
    opened = {key: _Opened(carried[key], {u.file for u in units if u.dataset == key}, scratch) for key in keys}
    return Attached(
        folders={key: one.folder for key, one in opened.items()},
        models=tuple(str(opened[unit.dataset].path(unit.file)) for unit in units),
        verification=integrity.begin(_order(units, opened), scratch, [path for one in opened.values() for path in one.verified]),
        notes=tuple(note for one in opened.values() for note in one.notes),
    )


def _refuse_unlisted(units: Sequence[Unit], carried: Mapping[str, Carried]) -> None:
    for unit in units:
        needed = [unit.file, *(part.recipe for part in unit.input.parts if isinstance(part, Cells))]
        lacking = [name for name in needed if unit.dataset not in carried or name not in carried[unit.dataset].files]
        if lacking:
            raise MountError(
                f"the plan needs {lacking[0]} of dataset {unit.dataset!r}, which the notebook's list does not have; "
                "render the notebook again"
            )


def _order(units: Sequence[Unit], opened: Mapping[str, _Opened]) -> list[tuple[Path, str]]:
    """What is still to be verified, in the order of its use: a model with the weights beside it (`m.onnx.data`), then others."""
    used = [opened[u.dataset].pending[name] for u in units for name in opened[u.dataset].of(u.file)]
    return list(dict.fromkeys([*used, *(entry for one in opened.values() for entry in one.pending.values())]))


class _Opened:
    """One dataset: where it is, what of it is verified, and what is still to be."""

    def __init__(self, item: Carried, models: set[str], scratch: Path) -> None:
        self.folder = dataset(item.owner, item.slug, item.files)
        self.verified: list[Path] = []
        self.pending: dict[str, tuple[Path, str]] = {}
        self.notes: list[str] = []
        self._moved: dict[str, Path] = {}
        integrity.check_manifest(self.folder)  # first: sizes, and the entries of archives, are taken from it
        told = read_manifest(self.folder)
        here = {name: self.folder / name for name in item.files if (self.folder / name).is_file()}
        integrity.check_sizes(
            self.folder, {name: told[name]["bytes"] for name in here if isinstance(told.get(name, {}).get("bytes"), int)}
        )
        for name in item.files.keys() - here.keys():
            self._mend(name, told.get(name, {}), scratch, pack=name in models)
        small = {name for name, path in here.items() if path.stat().st_size < integrity.SMALL}
        integrity.check(self.folder, {name: item.files[name] for name in sorted(small)})
        self.verified += [here[name] for name in sorted(small)]
        self.pending = {name: (here[name], item.files[name]) for name in here if name not in small}

    def of(self, model: str) -> list[str]:
        """Files of a model that are still to be verified."""
        return [name for name in self.pending if name == model or name.startswith(f"{model}.")]

    def _mend(self, name: str, told: Mapping[str, Any], scratch: Path, *, pack: bool) -> None:
        unpacked = mend.recognise(self.folder, name, told.get("entries") or {})
        if not pack:
            self.notes.append(f"{unpacked.note}; use it as a folder")
            return
        self._moved[name] = mend.pack(unpacked, name, scratch)
        self.verified.append(self._moved[name])
        self.notes.append(f"{unpacked.note}; put together again in {self._moved[name]}, with a sha256 of its own")

    def path(self, name: str) -> Path:
        """Where the file is, mended or not."""
        return self._moved.get(name, self.folder / name)
