"""sha256 of many files: on all cores, with progress, and no file twice.

Expects: paths of files, and the path of the cache.
Produces: the digest of each file and the mark (device, inode, size, time) that it had while it was read; the cache.
Never: gives a digest of a file that changed under the reader's eyes; believes a mark that is so young that the file could change
    and keep it. Somebody who restores size and time of a changed file deceives the cache, not `verify`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from builder.errors import UserError
from builder.progress import Report, silent
from builder.workspace import CHUNK, write_json

REPORT_S = 0.2
MOST_ENTRIES = 20_000
# Of file systems' clocks: a file that was written this shortly before it is read could be written again and look the same.
GRAIN_NS = 2_000_000_000


class Mark(NamedTuple):
    """What a file looks like from outside; hard links look the same."""

    device: int
    inode: int
    bytes: int
    mtime_ns: int

    @property
    def key(self) -> str:
        return "-".join(map(str, self))


class Hashed(NamedTuple):
    """A file's digest, and its mark while it was read."""

    sha256: str
    mark: Mark


class Hashes:
    """Digests of files, remembered in `cache`.

    Attributes:
        read_bytes: Bytes that were really read.
    """

    def __init__(self, cache: Path, *, verify: bool = False) -> None:
        self._cache = cache
        self._known = {} if verify else _load(cache)
        self.read_bytes = 0

    def of(self, paths: Iterable[Path], report: Report = silent) -> dict[Path, Hashed]:
        """The digest of each of `paths`. Raises UserError when one can't be read, or changes meanwhile."""
        marks = {path: mark(path) for path in dict.fromkeys(paths)}
        found = {path: Hashed(self._known[one.key], one) for path, one in marks.items() if one.key in self._known}
        # The largest first: what is left at the end is small, and no core waits long for another.
        lacking = sorted((path for path in marks if path not in found), key=lambda path: -marks[path].bytes)
        if lacking:
            started = _now(self._cache.parent)
            new = self._read(lacking, sum(marks[path].bytes for path in lacking), report)
            found.update(new)
            self._remember(new.values(), started)
        return found

    def _read(self, paths: list[Path], total: int, report: Report) -> dict[Path, Hashed]:
        before, lock, stop = self.read_bytes, threading.Lock(), threading.Event()

        def moved(size: int) -> None:
            with lock:
                self.read_bytes += size

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            work = {pool.submit(_read_one, path, moved, stop): path for path in paths}
            waiting: set[Future[Hashed]] = set(work)
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=REPORT_S, return_when=FIRST_COMPLETED)
                    report(self.read_bytes - before, total, f"hashing, {total / 1e9:.2f} GB")
                    for one in done:
                        one.result()
            except BaseException:
                stop.set()
                for one in waiting:
                    one.cancel()
                raise
            return {path: one.result() for one, path in work.items()}

    def _remember(self, new: Iterable[Hashed], started: int) -> None:
        self._known.update({one.mark.key: one.sha256 for one in new if one.mark.mtime_ns + GRAIN_NS < started})
        write_json(self._cache, dict(list(self._known.items())[-MOST_ENTRIES:]))


def mark(path: Path) -> Mark:
    """The mark of the file at `path`, links followed. Raises UserError when there is none."""
    try:
        return _mark(path.stat())
    except OSError as error:
        raise UserError("a file can't be read", file=path, found=error.strerror, remedy="put it back, or export again") from None


def _mark(status: os.stat_result) -> Mark:
    return Mark(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _read_one(path: Path, moved: Callable[[int], None], stop: threading.Event) -> Hashed:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as stream:
            before = _mark(os.fstat(stream.fileno()))
            while (size := stream.readinto(buffer)) and not stop.is_set():
                digest.update(view[:size])
                moved(size)
            after = _mark(os.fstat(stream.fileno()))
    except OSError as error:
        raise UserError("a file can't be read", file=path, found=error.strerror, remedy="put it back, or export again") from None
    if not before == after == mark(path):
        raise UserError(
            "a file changed while it was read", file=path, remedy="let what writes it come to its end, then the same command"
        )
    return Hashed(digest.hexdigest(), before)


def _now(folder: Path) -> int:
    """Nanoseconds of the file system's own clock, which marks are compared with."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as stream:
        return os.fstat(stream.fileno()).st_mtime_ns


def _load(cache: Path) -> dict[str, str]:
    """What was remembered; nothing when there is no readable cache."""
    try:
        return {str(key): str(sha256) for key, sha256 in json.loads(cache.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}
