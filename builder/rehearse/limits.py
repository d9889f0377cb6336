"""What a running session uses, and whether that is more than it may: time, memory, processes, disk.

Looks from outside, ten times a second as long as looking is cheap; what it saw becomes the timeline of the run.

Expects: a started process tree below one pid, its session, the folder of the session.
Produces: a Breach as soon as something is exceeded; peaks; `rows()` for timeline.json.
Never: ends anything.
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from builder.errors import RunError
from builder.rehearse import watch
from builder.rehearse.session import Session

MEMORY_S, DISK_S, ROW_S = 0.1, 0.25, 0.5
SHARE, LARGE_SHARE = 20, 5  # looking at shares and files may take one part in so many of our time; at counts and pages
URGENT = 2  # ... when the limit may have been passed
CLOSING_S = 2.0
RESERVE = 64 << 20  # bytes of this disk that a notebook may not take
MOST_ROWS = 2000
COLUMNS = ("seconds", "memory_mb", "cpu_s", "disk_mb", "processes")
MB = 1e6


@dataclass(frozen=True)
class Breach:
    """Something exceeded: `time`, `memory`, `processes`, `working` or `scratch`, and a sentence."""

    what: str
    words: str


class Limits:
    """Watches one run. `started` is on the monotonic clock.

    Memory is looked at by a thread of its own: the kernel makes whoever asks for a process's memory wait until that process does
    not change it, which one that forks without end always does. Clock and number of processes must not wait for that.
    """

    def __init__(self, session: Session, pid: int, started: float) -> None:
        self._session = session
        self._pid = pid
        self._started = started
        folder = session.folder.resolve()
        self._working = folder / "working"
        self._scratch = [folder / "root", *(folder / "kaggle" / name for name in ("temp", "tmp", "root", "site-packages"))]
        self._init: int | None = None
        self._next_count = self._next_share = self._next_disk = self._next_row = 0.0
        self._every = ROW_S
        self._rows: list[tuple[float, ...]] = []
        self._memory = 0
        self._seen: Breach | None = None  # by the thread
        self._over = threading.Event()
        self.peak = self.disk = self.processes = 0
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def close(self) -> None:
        """Stop looking; the run is over."""
        self._over.set()
        self._sampler.join(CLOSING_S)

    def look(self) -> Breach | None:
        """What is exceeded now. Raises RunError when this disk is full."""
        now = time.monotonic()
        if now - self._started >= self._session.limit_s:
            return Breach("time", f"the notebook did not end within {self._session.limit_s:g} s")
        if now >= self._next_count:
            self._init = self._init or watch.first_below(self._pid)
            inside = watch.count_inside(self._init) if self._init else 0
            breach = self._counted(inside or len(watch.members(self._pid)))
            self._next_count = _later(now, MEMORY_S, LARGE_SHARE)
            if breach:
                return breach
        if self._seen is None and now >= self._next_disk:
            return self.look_at_disk()
        return self._seen

    def _counted(self, count: int) -> Breach | None:
        self.processes = max(self.processes, count)
        if count <= self._session.processes:
            return None
        return Breach("processes", f"the notebook ran {count} processes at once, more than {self._session.processes}")

    def _sample(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            members = watch.members(self._pid)
            self._seen = self._counted(len(members)) or self._look_at_memory(members, before)
            if self._seen or before >= self._next_row:
                self._next_row = before + self._every
                self._add_row(before, members)
            if self._seen:
                return
            self._over.wait(max(0.01, _later(before, MEMORY_S, LARGE_SHARE) - time.monotonic()))

    def _look_at_memory(self, members: list[int], now: float) -> Breach | None:
        # Resident pages are never less than the proportional share, and cost nothing to read.
        session, resident = self._session, watch.resident(members)
        over = resident > session.memory
        if over or now >= self._next_share:
            self._memory = min(watch.memory(members), resident + watch.shared_files(members))
            self._next_share = _later(now, MEMORY_S, URGENT if over else SHARE)
            self.peak = max(self.peak, self._memory)
        if self._memory > session.memory:
            return Breach("memory", _exceeded("memory", self._memory, session.memory))
        return None

    def look_at_disk(self) -> Breach | None:
        """The same for files alone, which outlive the processes."""
        before = time.monotonic()
        session = self._session
        self.disk = watch.folder_size(self._working)
        scratch = sum(map(watch.folder_size, self._scratch)) if session.scratch else 0
        self._next_disk = _later(before, DISK_S, SHARE)
        if self.disk > session.working:
            return Breach("working", _exceeded("space in /kaggle/working", self.disk, session.working))
        if scratch > session.scratch:
            return Breach("scratch", _exceeded("space outside /kaggle/working", scratch, session.scratch))
        refuse_full_disk(session.folder)
        return None

    def _add_row(self, now: float, members: list[int]) -> None:
        values = (now - self._started, self._memory / MB, watch.processor_s(members), self.disk / MB, len(members))
        self._rows.append(tuple(round(value, 3) for value in values))
        if len(self._rows) >= MOST_ROWS:
            del self._rows[1::2]
            self._every *= 2

    def rows(self) -> list[tuple[float, ...]]:
        """The timeline, one row for each point of time, with COLUMNS."""
        return self._rows


def refuse_full_disk(folder: Path) -> None:
    """Raises RunError when the disk of `folder` has no room: the fault is not the notebook's."""
    free = shutil.disk_usage(folder).free
    if free < RESERVE:
        raise RunError(
            "the disk here is full, which says nothing about the notebook",
            file=folder,
            found=f"{free / MB:.0f} MB free",
            expected=f"at least {RESERVE / MB:.0f} MB, and what the notebook writes",
            remedy="make room, or set TMPDIR to a folder on a larger disk",
        )


def _later(before: float, interval: float, share: int) -> float:
    """When to look again: after the interval, or later when looking is expensive."""
    return max(before + interval, time.monotonic() + share * (time.monotonic() - before))


def _exceeded(what: str, used: int, allowed: int) -> str:
    return f"the notebook used {used / MB:.0f} MB of {what}, its machine has {allowed / MB:.0f} MB"
