"""What Kaggle does to archives in a dataset: they arrive as folders.

`x.zip` and `x.tar.gz` become the folder `x/`, archives inside them too; `x.csv.gz` becomes `x.csv` (of several members only the
first survives); a zipped `.pt` or `.pth` becomes a folder of the same name. Everything else arrives as it is, and so does an
archive that cannot be read.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from builder import workspace

TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
TORCH = (".pt", ".pth")
DEPTH = 5


def is_opened(path: Path) -> bool:
    """Whether Kaggle would open this file."""
    return _exploded_name(path, path.name) is not None or path.name.lower().endswith(".gz")


def place(source: Path, folder: Path, name: str, depth: int = DEPTH) -> None:
    """Put `source` into `folder` under `name`, as Kaggle would. `source` stays; plain files are hard links to it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = _exploded_name(source, name) if depth > 0 else None
    if target is not None and _explode(source, folder / target, depth):
        return
    if target is None and name.lower().endswith(".gz") and _gunzip(source, folder / name[:-3]):
        return
    _link(source, folder / name)


def _exploded_name(source: Path, name: str) -> str | None:
    """The folder that an archive becomes; None when it is not one of the archives that Kaggle opens."""
    lower = name.lower()
    if lower.endswith(".zip"):
        return name[:-4] if zipfile.is_zipfile(source) else None
    if lower.endswith(TORCH):
        return name if zipfile.is_zipfile(source) else None
    suffix = next((suffix for suffix in TARS if lower.endswith(suffix)), None)
    return name[: -len(suffix)] if suffix and tarfile.is_tarfile(source) else None


def _explode(source: Path, target: Path, depth: int) -> bool:
    """Unpack into the folder `target`; False when the archive is encrypted or broken."""
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=target.parent) as temporary:
        inner = Path(temporary)
        try:
            _extract(source, inner)
        except (zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError, OSError, zlib.error, EOFError):
            return False
        entries = list(inner.iterdir())
        if target.name.lower().endswith(TORCH) and len(entries) == 1 and entries[0].is_dir():
            inner = entries[0]  # torch.save wraps everything into one folder; that folder is lost
        for path in sorted(path for path in inner.rglob("*") if path.is_file() and not path.is_symlink()):
            relative = path.relative_to(inner)
            place(path, target / relative.parent, relative.name, depth - 1)
    return True


def _extract(source: Path, folder: Path) -> None:
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            archive.extractall(folder)  # noqa: S202 - zipfile keeps members inside the folder
    else:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")


def _gunzip(source: Path, target: Path) -> bool:
    """Unpack the first member; False when it is not gzip."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        with workspace.replacing(target) as temporary, source.open("rb") as packed, temporary.open("wb") as plain:
            while not unpacker.eof and (chunk := packed.read(workspace.CHUNK)):
                plain.write(unpacker.decompress(chunk))
            if not unpacker.eof:
                raise EOFError("the gzip file is cut off")
    except (zlib.error, EOFError):
        return False
    return True


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
