"""Where Kaggle mounted things: exact candidates first, then a bounded search; never a recursive walk.

Expects: `<root>/input` in the typed layout (`datasets/<owner>/<slug>`, `competitions/<slug>`) or the classic one (`<slug>`),
    where root is `/kaggle`, or `KKB_KAGGLE` in a rehearsal.
Produces: folders, whose files have the expected content when `verify` returned.
Never: writes, or lists a folder of thousands of images to find something beside it.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = "KKB_KAGGLE"
DEPTH = 4
FOLDER_ENTRIES = 500  # entries looked at in one folder, and ...
TOTAL_ENTRIES = 20_000  # ... in all, before the search gives up
_CHUNK = 1 << 20


class MountError(FileNotFoundError):
    """Raised when a dataset or the competition is not mounted, or is not the one that was bundled."""


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
    """The folder of the dataset that holds `files`. Raises MountError that says what was looked for, where, and what is there."""
    places = (f"datasets/{owner}/{slug}", slug, f"d/{owner}/{slug}")
    return _find(f"dataset {owner}/{slug}", slug, places, list(files))


def competition(slug: str, files: Iterable[str]) -> Path:
    """The folder of the competition that holds `files`. Raises MountError like `dataset`."""
    return _find(f"competition {slug}", slug, (f"competitions/{slug}", slug), list(files))


def verify(folder: Path, files: Mapping[str, str]) -> None:
    """Check the sha256 of `files` (name -> hexadecimal digest) in `folder`. Raises MountError that names every file at fault."""
    with ThreadPoolExecutor(4) as pool:  # a cold mount gives one reader a quarter of what it gives four
        found = list(pool.map(lambda name: _sha256(folder / name), files))
    faults = [
        f"{name}: {'missing' if digest is None else f'sha256 {digest[:12]}'}, expected {expected[:12]}"
        for (name, expected), digest in zip(files.items(), found, strict=True)
        if digest != expected
    ]
    if faults:
        raise MountError(
            f"{folder} is not the dataset that this notebook was rendered for: {'; '.join(faults[:5])} "
            f"({len(faults)} of {len(files)} files). It may not be ready yet, or another version is attached."
        )


def _find(what: str, slug: str, places: Iterable[str], files: list[str]) -> Path:
    base = root() / "input"
    exact = [base / place for place in places]
    for folder in exact:
        if _holds(folder, files):
            return folder
    for folder in _named(base, slug):
        if _holds(folder, files):
            return folder
    looked = ", ".join(str(folder) for folder in exact)
    incomplete = [f"{folder} lacks {', '.join(_lacking(folder, files)[:5])}" for folder in exact if folder.is_dir()]
    raise MountError(
        f"{what} is not mounted: looked for a folder with {', '.join(files[:5]) or 'anything'} at {looked}, "
        f"then for a folder named {slug} up to {DEPTH} levels below {base}; "
        f"{'; '.join(incomplete) or 'none of these exists'}; {base} holds {_listing(base)}. "
        "Attach it to the notebook, or wait until it is ready."
    )


def _holds(folder: Path, files: list[str]) -> bool:
    return folder.is_dir() and not _lacking(folder, files)


def _lacking(folder: Path, files: list[str]) -> list[str]:
    return [name for name in files if not (folder / name).exists()]


def _named(base: Path, slug: str) -> Iterator[Path]:
    """Folders called `slug` below `base`, level by level, within the bounds."""
    level, seen = [base], 0
    for _ in range(DEPTH):
        below: list[Path] = []
        for folder in level:
            entries = _folders(folder)
            seen += len(entries)
            if seen > TOTAL_ENTRIES:
                return
            yield from (entry for entry in entries if entry.name == slug)
            below.extend(entries)
        level = below


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in islice(entries, FOLDER_ENTRIES) if entry.is_dir())
    except OSError:
        return []


def _listing(base: Path) -> str:
    names: list[str] = []
    for folder in _folders(base)[:10]:
        below = [f"{folder.name}/{child.name}" for child in _folders(folder)[:10]]
        names.extend(below or [folder.name])
    return ", ".join(names[:20]) or "nothing"


def _sha256(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
