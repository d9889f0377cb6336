"""Weights by digest: which files of a kernel's datasets are missing here, and the same files out of folders and archives.

Expects: a kernel whose plan and export records are here (they are committed); folders or .tar files that may hold its files, such
    as the assets of a release, or what `kaggle datasets download` brings.
Produces: the files where the exports keep them, so that `kkb bundle` makes the dataset folders.
Never: takes a file whose sha256 is not the recorded one; writes outside the exports' own folders.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from builder.bundle.record import Content, Dataset
from builder.errors import UserError
from builder.workspace import replacing, sha256_file

ARCHIVES = (".tar",)


def missing(datasets: Iterable[Dataset]) -> list[Dataset]:
    """The datasets of which some file is not here with its recorded size; their digests are checked when they are bundled."""
    return [one for one in datasets if any(not _here(file) for file in one.files)]


def restore(datasets: Iterable[Dataset], places: Sequence[Path]) -> list[str]:
    """Fill in what is missing from `places` (folders, or .tar files). Returns the slugs that are whole now.

    Raises UserError for a place that is not there, or is no archive.
    """
    lacking = missing(datasets)
    wanted = {file.sha256: file for one in lacking for file in one.files if not _here(file)}
    for place in places:
        if wanted:
            _take(place, wanted)
    return [one.slug for one in lacking if all(_here(file) for file in one.files)]


def _here(file: Content) -> bool:
    return file.path.is_file() and file.path.stat().st_size == file.bytes


def _take(place: Path, wanted: Mapping[str, Content]) -> None:
    if place.is_dir():
        for path in sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink()):
            if path.suffix in ARCHIVES:
                _take(path, wanted)
            else:
                _keep(path, wanted)
        return
    if not place.is_file() or not tarfile.is_tarfile(place):
        expected = "a folder, or a .tar file"
        raise UserError("nothing to take weights from", found=place, expected=expected, remedy="check the path that was given")
    with tempfile.TemporaryDirectory(prefix="kkb-weights-") as folder:
        for path in _members(place, Path(folder), {file.name for file in wanted.values()}):
            _keep(path, wanted)


def _members(archive: Path, folder: Path, names: set[str]) -> Iterator[Path]:
    """The plain files of an archive that have one of `names`, one at a time, each written under a name of our own."""
    with tarfile.open(archive) as stream:
        for member in stream:
            source = stream.extractfile(member) if member.isfile() and Path(member.name).name in names else None
            if source is not None:
                target = folder / "member"
                with target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                yield target


def _keep(path: Path, wanted: Mapping[str, Content]) -> None:
    """Copy a file to where it belongs, if it is one that is wanted. The size says no quickly."""
    size = path.stat().st_size
    if not any(file.bytes == size for file in wanted.values()):
        return
    file = wanted.get(sha256_file(path))
    if file and not _here(file):
        with replacing(file.path) as temporary:
            shutil.copyfile(path, temporary)
