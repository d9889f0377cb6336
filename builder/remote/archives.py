"""Unpack what the server sends, without believing what it says about paths."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from builder.errors import RemoteError, UserError

CHUNK = 1 << 20


def inside(folder: Path, name: str) -> Path:
    """The path of the file that the server calls `name`, below `folder`.

    Raises:
        RemoteError: `name` leads out of `folder`, or to no file.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    if not parts or path.is_absolute() or ".." in parts or ":" in parts[0] or "\0" in name:
        raise RemoteError("the server sent a file name that leads out of its folder", found=name, remedy="do not use this data")
    return folder.joinpath(*parts)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a zip into `folder`, which exists; the names of its files, sorted.

    Only plain files and folders are made: an entry that leads out of `folder`, a link or a broken archive is refused.

    Raises:
        RemoteError: The archive is broken or hostile.
        UserError: The disk is too small for it.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not entry.is_dir()]
            _check_space(sum(entry.file_size for entry in entries), folder)
            for entry in entries:
                _unpack_one(source, entry, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise RemoteError("the archive that was downloaded is broken", found=error, remedy="download it again") from None
    return sorted(entry.filename for entry in entries)


def _unpack_one(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = inside(folder, entry.filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise RemoteError("the archive holds a link", found=entry.filename, remedy="do not use this data")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as stream, target.open("xb") as out:
        shutil.copyfileobj(stream, out, CHUNK)


def _check_space(wanted: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise UserError(
            "the disk is too small for this data",
            file=folder,
            found=f"{free} bytes free",
            expected=f"{wanted} bytes",
            remedy="free some space, or set [data] root to another disk",
        )
