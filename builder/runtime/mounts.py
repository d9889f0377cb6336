"""Where Kaggle mounted things: exact places first, then a bounded search for the manifest; never a recursive walk.

    kind                places, in order, below <root>/input
    dataset             datasets/<owner>/<slug>    <slug>    d/<owner>/<slug>
    model               models/<owner>/<model>/<framework>/<variation>/<version>    <model>/...    m/<owner>/<model>/...
    competition         competitions/<slug>        <slug>
    notebook's output   notebooks/<owner>/<slug>   <slug>

Expects: root is `/kaggle`, or `KKB_KAGGLE` in a rehearsal.
Produces: folders; whether their files have the expected content is integrity.py's affair.
Never: writes; asks the file system more than 200 times for one folder, however large the inputs are.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = "KKB_KAGGLE"
MANIFEST = "manifest.json"
MANIFEST_BYTES = 4 << 20  # what is larger is not one of ours
DEPTH = 8  # levels below input: those of a model, and a wrapper that unpacking may add
FOLDER_ENTRIES = 500  # entries looked at in one folder
LOOKS = 180  # questions to the file system for one folder; naming what is there takes the rest


class MountError(FileNotFoundError):
    """Raised when a dataset or the competition is not mounted, or is not the one that was bundled."""


class _EnoughError(Exception):
    """Raised when a search has used up its looks."""


@dataclass(frozen=True)
class Mounts:
    """What is mounted where: the competition's folder, and the dataset folders by their key."""

    competition: Path
    datasets: Mapping[str, Path]


def root() -> Path:
    """`/kaggle`, or what stands in for it."""
    return Path(os.environ.get(ROOT) or "/kaggle")


def working() -> Path:
    """The folder whose content becomes the run's output."""
    return root() / "working"


def dataset(owner: str, slug: str, files: Iterable[str]) -> Path:
    """The folder of a dataset or a model.

    Args:
        owner: Its owner.
        slug: A dataset's slug; for a model `<model>/<framework>/<variation>/<version>`.
        files: Names that it holds; with their sha256, when it is a mapping, by which its manifest tells it from another version.

    Raises:
        MountError: Says what was looked for, where, and what is there.
    """
    if "/" in slug:
        places = (f"models/{owner}/{slug}", slug, f"m/{owner}/{slug}")
        return _find(_Wanted(f"model {owner}/{slug}", places, files))
    return _find(_Wanted(f"dataset {owner}/{slug}", (f"datasets/{owner}/{slug}", slug, f"d/{owner}/{slug}"), files))


def competition(slug: str, files: Iterable[str]) -> Path:
    """The folder of the competition that holds `files`. Raises MountError like `dataset`."""
    return _find(_Wanted(f"competition {slug}", (f"competitions/{slug}", slug), files))


def output(owner: str, slug: str, files: Iterable[str]) -> Path:
    """The folder with the output of another notebook. Raises MountError like `dataset`."""
    return _find(_Wanted(f"notebook {owner}/{slug}", (f"notebooks/{owner}/{slug}", slug), files))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The entries of `folder`'s manifest by file name; empty when there is none that can be read."""
    try:
        with (folder / MANIFEST).open("rb") as stream:
            raw = json.loads(stream.read(MANIFEST_BYTES))
        return {entry["name"]: entry for entry in raw["files"]}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # a foreign file of that name can hold anything
        return {}


class _Wanted:
    """What is looked for: in words, where it should be, and how to recognise it."""

    def __init__(self, what: str, places: tuple[str, ...], files: Iterable[str]) -> None:
        self.what, self.places, self.files = what, places, tuple(files)
        self.sha256 = dict(files) if isinstance(files, Mapping) else {}
        self.name = places[0].rpartition("/")[2].casefold()
        self.hints = {part.casefold() for place in places for part in place.split("/")}

    def other(self, told: Mapping[str, Any]) -> list[str]:
        """Files of which a manifest names another content, or none."""
        return [name for name in self.files if name != MANIFEST and told.get(name, {}).get("sha256") != self.sha256[name]]

    def recognises(self, look: _Look, folder: Path, listing: _Listing, *, placed: bool) -> bool:
        """True when the folder's manifest names the expected content; without one, when the place and all names are right.

        With a manifest files may be missing: what Kaggle has unpacked is told later, with the reason.
        """
        if self.sha256 and MANIFEST in listing.names:
            told = look.manifest(folder)
            if told:
                return not self.other(told)
        if not placed and folder.name.casefold() != self.name:
            return False
        # A competition's folder can hold more than is listed.
        return all(name in listing.names or ((listing.cut or "/" in name) and look.exists(folder / name)) for name in self.files)


@dataclass(frozen=True)
class _Listing:
    """The first entries of a folder; `cut` when there are more."""

    names: frozenset[str]
    folders: tuple[str, ...]
    cut: bool


class _Look:
    """Questions to the file system, counted: no search asks more than LOOKS."""

    def __init__(self) -> None:
        self._left = LOOKS

    def _count(self) -> None:
        if self._left <= 0:
            raise _EnoughError
        self._left -= 1

    def exists(self, path: Path) -> bool:
        self._count()
        return path.exists()

    def list(self, folder: Path) -> _Listing:
        self._count()
        return _list(folder)

    def manifest(self, folder: Path) -> dict[str, Any]:
        self._count()
        return read_manifest(folder)


def _list(folder: Path) -> _Listing:
    """What a folder holds; nothing when it is none."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in islice(entries, FOLDER_ENTRIES + 1)]
    except OSError:
        found = []
    first = found[:FOLDER_ENTRIES]
    names = frozenset(name for name, _ in first)
    return _Listing(names, tuple(sorted(name for name, is_folder in first if is_folder)), len(found) > len(first))


def _find(wanted: _Wanted) -> Path:
    base, look = root() / "input", _Look()
    exact = [base / place for place in wanted.places]
    gave_up = ""
    try:
        for folder in exact:
            if wanted.recognises(look, folder, look.list(folder), placed=folder.is_dir()):
                return folder
        for folder, listing in _search(base, wanted, look):
            if wanted.recognises(look, folder, listing, placed=False):
                return folder
    except _EnoughError:
        gave_up = f"; the search ended after {LOOKS} looks"
    there = [folder for folder in exact if folder.is_dir()]
    raise MountError(
        f"{wanted.what} is not mounted: looked for a folder with {', '.join(wanted.files[:5]) or 'anything'} at "
        f"{', '.join(map(str, exact))}, then up to {DEPTH} levels below {base}{gave_up}; "
        f"{'; '.join(_difference(folder, wanted) for folder in there) or 'none of these exists'}; {base} holds {_tell(base)}. "
        "Attach it to the notebook, or wait until it is ready."
    )


def _search(base: Path, wanted: _Wanted, look: _Look) -> Iterator[tuple[Path, _Listing]]:
    """Folders below `base`: those on the way of expected names first, then level by level."""
    queue = [(0, 0, str(base))]
    while queue:
        misses, depth, path = heapq.heappop(queue)
        listing = look.list(Path(path))
        if depth:
            yield Path(path), listing
        for name in listing.folders if depth < DEPTH else ():
            heapq.heappush(queue, (misses + (name.casefold() not in wanted.hints), depth + 1, str(Path(path, name))))


def _difference(folder: Path, wanted: _Wanted) -> str:
    """What is wrong with a folder at an expected place."""
    told = read_manifest(folder) if wanted.sha256 else {}
    if told and wanted.other(told):
        return f"{folder} is another version: its {MANIFEST} names other content for {', '.join(wanted.other(told)[:5])}"
    present = _list(folder).names
    return f"{folder} lacks {', '.join([name for name in wanted.files if name not in present][:5])}"


def _tell(base: Path) -> str:
    names: list[str] = []
    for name in _list(base).folders[:8]:
        names.extend([f"{name}/{child}" for child in _list(base / name).folders[:10]] or [name])
    return ", ".join(names[:20]) or "nothing"
