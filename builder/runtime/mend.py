"""What Kaggle unpacked on its way, put together again in scratch, or a precise word on what happened.

Kaggle unpacks archives that are uploaded to a dataset, whatever they are called: a torch file becomes a folder, a `.gz` loses
its suffix. The sha256 of such a file is lost with it: the same content gives another archive. So a manifest may name, for files
that are archives, the sha256 of every entry (`entries`); by these a file that is put together again is verified whole. Without
them nothing can be verified, and the file is refused.

Expects: a dataset's folder, read-only; a file name of its manifest that is not there as a file.
Produces: `<scratch>/mended/<name>`, an archive that holds exactly the entries of the manifest.
Never: writes beside the inputs or among the outputs; uses an entry whose content differs.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .integrity import CHUNK, IntegrityError, fault

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = "mended"
MOST_ENTRIES = 20_000
TORCH = "data.pkl"
SEALED = "again with `kkb bundle` (its manifest then names the entries of archives) or export it as ONNX"


@dataclass(frozen=True)
class Unpacked:
    """An archive that became a folder, whose every entry is the expected one.

    Attributes:
        top: Where its entries begin.
        entries: Their names, in the order of the archive.
        note: What happened, for people.
    """

    top: Path
    entries: tuple[str, ...]
    note: str


def entries(path: Path) -> dict[str, str]:
    """Entry -> sha256 of the archive at `path`, without the folder that all may share; empty when it is no zip archive."""
    if not zipfile.is_zipfile(path):
        return {}
    found = {}
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        shared = _shared([info.filename for info in infos])
        for info in infos:
            digest = hashlib.sha256()
            with archive.open(info) as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
            found[info.filename.removeprefix(shared)] = digest.hexdigest()
    return found


def _shared(names: list[str]) -> str:
    """`top/` when all names begin with it, else an empty text."""
    top = names[0].partition("/")[0] + "/" if names else ""
    return top if all(name.startswith(top) for name in names) else ""


def recognise(folder: Path, name: str, known: Mapping[str, str]) -> Unpacked:
    """The file `name` of `folder`, which is not there as a file, as the folder that it became.

    Args:
        folder: Where the dataset is mounted.
        name: The file that is missing, or is a folder.
        known: Entry -> sha256, from the manifest; empty when it names none.

    Raises:
        IntegrityError: It is not there, or not verified, with what was found and what to do.
    """
    place = _place(folder, name)
    if place is None:
        raise IntegrityError(f"{folder / name}: missing{_cause(folder, name)}. Make the dataset {SEALED}.")
    top = _top(place, known)
    present = _files(top)
    kind = "a torch archive" if TORCH in present else "a wheel" if _is_wheel(present) else "an archive"
    happened = f"{folder / name}: Kaggle unpacked {kind} into the folder {place.name} with {len(present)} files"
    if not known:
        raise IntegrityError(
            f"{happened}. The manifest does not name their sha256, so nothing of it can be verified. Make the dataset {SEALED}."
        )
    faults = [f"{entry} is missing" for entry in known if entry not in present]
    faults += [f"{entry} is not part of it" for entry in present if entry not in known]
    faults += [found for entry in known if entry in present and (found := fault(top / entry, known[entry]))]
    if faults:
        raise IntegrityError(f"{happened}, and they are not those of the manifest: {'; '.join(faults[:5])}. Make it {SEALED}.")
    return Unpacked(top, tuple(known), f"{happened}; the sha256 of all {len(known)} entries is right")


def pack(unpacked: Unpacked, name: str, scratch: Path) -> Path:
    """Put an archive together again, below `scratch`, as one that torch and zipfile read; its own sha256 is another one now."""
    target = scratch / FOLDER / hashlib.sha256(os.fsencode(unpacked.top)).hexdigest()[:8] / name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for entry in unpacked.entries:
            info = zipfile.ZipInfo(f"archive/{entry}", date_time=(1980, 1, 1, 0, 0, 0))
            with (unpacked.top / entry).open("rb") as source, archive.open(info, "w", force_zip64=True) as sink:
                while chunk := source.read(CHUNK):
                    sink.write(chunk)
    partial.replace(target)
    return target


def _place(folder: Path, name: str) -> Path | None:
    """The folder that the archive `name` became: under its own name, or without its suffixes."""
    names = [name]
    while "." in names[-1]:
        names.append(names[-1].rpartition(".")[0])
    return next((folder / each for each in names if each and (folder / each).is_dir()), None)


def _cause(folder: Path, name: str) -> str:
    """What may have become of a missing file."""
    plain = name.removesuffix(".gz")
    if plain != name and (folder / plain).is_file():
        return f", but {plain} is there: Kaggle unpacks .gz files, and of several members keeps the first only"
    return ""


def _top(place: Path, known: Mapping[str, str]) -> Path:
    """Where the entries begin: unpacking may keep, lose or add the folder that all of them share."""
    for _ in range(3):
        inside = sorted(place.iterdir())
        if any((place / entry).is_file() for entry in known) or len(inside) != 1 or not inside[0].is_dir():
            break
        place = inside[0]
    return place


def _files(top: Path) -> dict[str, None]:
    """Files below `top`, relative, with slashes. Raises IntegrityError when there are too many to be one archive."""
    found: dict[str, None] = {}
    for folder, _, names in os.walk(top):
        for name in names:
            found[Path(folder, name).relative_to(top).as_posix()] = None
        if len(found) > MOST_ENTRIES:
            raise IntegrityError(f"{top}: more than {MOST_ENTRIES} files; this is no unpacked model")
    return found


def _is_wheel(present: Mapping[str, None]) -> bool:
    return any(name.endswith(".dist-info/RECORD") for name in present)
