"""No prediction comes from an unverified file: sizes at once, small files at the start, each model before it is loaded.

The supervisor calls `begin`, which hashes large files in threads, in the order in which units need them. A worker calls `wait`
before it loads a file, so that the first prediction waits for its own file and for no other.

Expects: paths with the sha256 that the notebook was rendered with.
Produces: `<scratch>/verified/`, one answer per file; IntegrityError that says which file differs, and how.
Never: changes a file; waits without a limit; takes a file that nobody has checked for a good one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import now
from .mounts import MANIFEST, MountError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SMALL = 1 << 20  # bytes; what is smaller is checked before anything else happens
THREADS = 4  # a cold mount gives one reader a quarter of what it gives four
CHUNK = 1 << 20
FOLDER, WANTED = "verified", "wanted.json"
PATIENCE_S = 1800.0
LOOK_S = 0.02
REASON = "It may not be ready yet, another version is attached, or it was damaged on its way."


class IntegrityError(MountError):
    """Raised when a file is not the one that the notebook was rendered for, or nobody could check it."""


def check(folder: Path, files: Mapping[str, str]) -> None:
    """Check the sha256 of `files` (name -> hexadecimal digest) in `folder` now. Raises IntegrityError that names all at fault."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda name: fault(folder / name, files[name]), files))
    refuse(folder, [one for one in found if one], len(files))


def seal(manifest: Mapping[str, Any]) -> str:
    """What a manifest says of itself under `check`: the sha256 of all its other values, in their one spelling."""
    return hashlib.sha256(json.dumps(dict(manifest), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_manifest(folder: Path) -> None:
    """Check the manifest of `folder`, when there is one. Raises IntegrityError when it is not what was written."""
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_bytes())
        whole = told.pop("check", None) == seal(told)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise IntegrityError(f"{path} is not what was bundled. {REASON}")


def check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Check the sizes of files (name -> bytes), without reading them. Raises IntegrityError that names all at fault."""
    found = [_size_fault(folder / name, expected) for name, expected in sizes.items()]
    refuse(folder, [one for one in found if one], len(sizes))


def refuse(folder: Path, faults: Sequence[str], count: int) -> None:
    """Raise IntegrityError when there are faults."""
    if faults:
        raise IntegrityError(
            f"{folder} is not the dataset that this notebook was rendered for: {'; '.join(faults[:5])} "
            f"({len(faults)} of {count} files). {REASON}"
        )


def _size_fault(path: Path, expected: int) -> str:
    try:
        found = path.stat().st_size
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    return "" if found == expected else f"{path.name}: {found} bytes, expected {expected}"


def fault(path: Path, expected: str, stop: threading.Event | None = None) -> str:
    """What is wrong with a file; empty when its sha256 is `expected`."""
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                if stop is not None and stop.is_set():
                    return f"{path.name}: not checked, the run was over"
                digest.update(view[:count])
    except FileNotFoundError:
        return f"{path.name}: missing, expected {expected[:12]}"
    except OSError as error:
        return f"{path.name}: {error.strerror}, expected {expected[:12]}"
    found = digest.hexdigest()
    return "" if found == expected else f"{path.name}: sha256 {found[:12]}, expected {expected[:12]}"


class Verification:
    """Hashing under way, in threads that die with the process. Use `begin`."""

    def __init__(self, files: Sequence[tuple[Path, str]], folder: Path) -> None:
        self._folder, self._stop = folder, threading.Event()
        self._left: queue.SimpleQueue[tuple[Path, str]] = queue.SimpleQueue()
        for entry in files:
            self._left.put(entry)
        self.faults: list[str] = []
        count = min(THREADS, len(files))
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"sha256-{n}") for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                path, expected = self._left.get_nowait()
            except queue.Empty:
                return
            found = fault(path, expected, self._stop)
            if found:
                self.faults.append(found)
            with contextlib.suppress(OSError):  # a full disk: who waits for this answer gives up, the other files go on
                _answer(self._folder, path, found)

    @property
    def over(self) -> bool:
        """Whether every file has been looked at."""
        return not any(thread.is_alive() for thread in self._threads)

    def finish(self, limit_s: float = PATIENCE_S) -> tuple[str, ...]:
        """Wait until every file has been looked at, at most `limit_s` seconds; what is wrong with them."""
        end = now() + limit_s
        for thread in self._threads:
            thread.join(max(0.0, end - now()))
        return tuple(self.faults)

    def close(self) -> None:
        """Stop early; files not looked at stay unverified."""
        self._stop.set()
        self.finish(5.0)


def begin(files: Sequence[tuple[Path, str]], scratch: Path, verified: Sequence[Path] = ()) -> Verification:
    """Start checking `files` (path, sha256) in this order; `verified` are those that were checked already."""
    folder = scratch / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in verified:
        _answer(folder, path, "")
    _publish(folder / WANTED, [_key(path) for path, _ in files] + [_key(path) for path in verified])
    return Verification(list(dict.fromkeys(files)), folder)


def wait(scratch: Path, path: str | os.PathLike[str], limit_s: float = PATIENCE_S) -> None:
    """Return when the supervisor has verified the file at `path`.

    Raises:
        IntegrityError: The file differs, nobody checks it, or nobody had an answer for `limit_s` seconds.
    """
    folder = scratch / FOLDER
    answer, end = folder / _key(path), now() + limit_s
    while not answer.is_file():
        if _key(path) not in _read(folder / WANTED, []):
            raise IntegrityError(f"{path}: nobody has checked this file, so it is not used")
        if now() > end:
            raise IntegrityError(f"{path}: still not verified after {limit_s:.0f} s, so it is not used")
        threading.Event().wait(LOOK_S)
    found = _read(answer, "its check left no answer")
    if found:
        raise IntegrityError(f"{found}, so it is not used. {REASON}")


def _key(path: str | os.PathLike[str]) -> str:
    return hashlib.sha256(os.fspath(path).encode()).hexdigest()[:32]


def _answer(folder: Path, path: Path, found: str) -> None:
    _publish(folder / _key(path), found)


def _publish(path: Path, value: Any) -> None:
    """Write JSON by atomic rename: a reader sees all of it or nothing."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    partial.write_text(json.dumps(value), "utf-8")
    partial.replace(path)


def _read(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return default
