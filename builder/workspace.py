"""Where things lie on disk, how they get there whole, and what their content is called.

A workspace is a folder with `kernels/` and `weights/` (committed) and `.kkb/` (ignored). Files appear by atomic
rename: a kill leaves the old content or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import UserError, did_you_mean

# The only way to read it is to set it, which other threads would notice: so once, before there are any.
_UMASK = os.umask(0o077)
os.umask(_UMASK)

MARKERS = (".kkb", "kernels")
DIGEST_DIGITS = 12
CHUNK = 1 << 20


@dataclass(frozen=True)
class Workspace:
    """The paths of one workspace. Nothing is created by asking for a path."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Workspace:
        """The workspace that holds `start` (default: the current folder); that folder itself if none does."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if any((folder / marker).is_dir() for marker in MARKERS):
                return cls(folder)
        return cls(here)

    @property
    def kernels(self) -> Path:
        return self.root / "kernels"

    @property
    def private(self) -> Path:
        """`.kkb/`: ignored by git."""
        return self.root / ".kkb"

    @property
    def ledger(self) -> Path:
        return self.private / "ledger.sqlite"

    @property
    def datasets(self) -> Path:
        return self.private / "datasets"

    @property
    def standin(self) -> Path:
        return self.private / "standin"

    @property
    def cache(self) -> Path:
        return self.private / "cache"

    def kernel(self, name: str) -> Path:
        """`kernels/<name>`. Raises UserError, with the nearest name, when it has no kernel.toml."""
        folder = self.kernels / name
        if not (folder / "kernel.toml").is_file():
            known = sorted(p.parent.name for p in self.kernels.glob("*/kernel.toml"))
            remedy = did_you_mean(name, known) if known else f"kkb new {name} --competition SLUG"
            raise UserError(
                f"there is no kernel '{name}' in this workspace",
                found=f"kernels: {', '.join(known) or 'none'}",
                expected=folder / "kernel.toml",
                remedy=remedy,
            )
        return folder

    def weights(self, name: str) -> Path:
        return self.root / "weights" / name

    def runs(self, name: str) -> Path:
        """Outputs and logs of runs, rehearsed or downloaded."""
        return self.private / "runs" / name

    def show(self, path: Path) -> str:
        """`path` as a person in the workspace would type it."""
        try:
            return str(path.resolve().relative_to(self.root.resolve()))
        except ValueError:
            return str(path)


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal sha256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value that digests are taken of: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:
    """Hexadecimal sha256 of a JSON value; equal values have equal digests on every machine."""
    return sha256_bytes(canonical_json(value).encode())


def short(digest: str) -> str:
    """The digits of a digest that names carry."""
    return digest[:DIGEST_DIGITS]


def pretty_json(value: Any) -> str:
    """JSON for files that people read and git compares: indented, in the writer's order, newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` by atomic rename, with its parents."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` by atomic rename, with its parents."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON by atomic rename."""
    write_text(path, pretty_json(value))


def read_json(path: Path, *, remedy: str) -> Any:
    """The JSON value in `path`. Raises UserError that names `remedy` when it is missing or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"), parse_constant=_finite, parse_float=_finite)
    except FileNotFoundError:
        raise UserError("missing file", file=path, expected="a JSON record", remedy=remedy) from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError("not a readable JSON file", file=path, found=error, remedy=remedy) from None


def _finite(text: str) -> float:
    """A number of a record; `NaN` and what is too large for one are no JSON, and could not be written again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"found the number {text[:20]}, expected a finite one")
    return number


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The caller writes one file to the temporary path. The content is flushed to disk before the rename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files private; what we write is meant to be read, as far as the user's umask allows.
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block. Raises UserError when another process holds it.

    The lock dies with the process, however that ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another kkb is at this work", file=path, remedy="wait for it, or stop it") from None
        yield


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well.

    An existing folder at `path` is removed just before the rename, so a kill can leave `path` missing but never half filled.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_UMASK)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
