"""Worker processes: started, talked to, watched and killed; what they say and that they died arrive as events.

Expects: the command of a worker and one environment per slot (one slot per device, or per core).
Produces: events in order of arrival. A slot is `starting`, `idle`, `busy` or `retired`.
Never: waits longer than it is told to, reads the clock, decides whether a dead worker is replaced, or leaves behind what a worker
    has started: each leads a process group of its own, which is killed as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TAIL = 20  # lines of a worker's stderr that are kept, to say why it died
DYING_S = 5.0


@dataclass
class Slot:
    """A place for one worker.

    Attributes:
        number: Its place in the pool.
        state: `starting`, `idle`, `busy` or `retired`.
        since: When that state began; set by the engine, which has the clock.
        futile: Lives in a row that ended without finishing anything.
        unborn: Lives in a row that ended before they could take a task.
        resident: Models that the present worker has loaded, oldest first.
        samples: What it decoded last: input key, chunk.
        work: What it is busy with; the engine's own record.
    """

    number: int
    environment: Mapping[str, str]
    state: str = "retired"
    since: float = 0.0
    futile: int = 0
    unborn: int = 0
    resident: list[tuple[str, str]] = field(default_factory=list)
    samples: tuple[str, int] | None = None
    work: Any = None
    life: int = 0
    process: subprocess.Popen[str] | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    ears: list[threading.Thread] = field(default_factory=list)


@dataclass(frozen=True)
class Event:
    """A worker said something (`message`), or died (`message` is None)."""

    slot: Slot
    message: dict[str, Any] | None


class Pool:
    """All workers of a run."""

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]], folder: Path) -> None:
        self.slots = [Slot(number, environment) for number, environment in enumerate(environments)]
        self._command = list(command)
        self._folder = folder
        self._events: queue.Queue[tuple[Slot, int, str | None]] = queue.Queue()

    def start(self, slot: Slot) -> None:
        """A new life for a slot whose worker is dead or never was."""
        slot.life += 1
        slot.tail.clear()
        slot.resident.clear()
        slot.samples = None
        slot.work = None
        slot.state = "starting"
        slot.process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=dict(slot.environment),
            cwd=self._folder,  # what libraries drop into the current folder is not output
            start_new_session=True,  # Ctrl-C is the supervisor's to hear, which then ends its workers and all they started
        )
        ears = ((self._listen, slot.process.stdout), (self._drain, slot.process.stderr))
        slot.ears = [threading.Thread(target=ear, args=(slot, slot.life, stream), daemon=True) for ear, stream in ears]
        for thread in [*slot.ears, threading.Thread(target=_bury, args=(slot.process.pid,), daemon=True)]:
            thread.start()

    def send(self, slot: Slot, message: Mapping[str, Any]) -> None:
        """Give an idle worker something to do. One that is already dead is found out by its event."""
        slot.state = "busy"
        if slot.process is None or slot.process.stdin is None:
            raise RuntimeError(f"slot {slot.number} has no worker")
        with contextlib.suppress(OSError):
            slot.process.stdin.write(json.dumps(message) + "\n")
            slot.process.stdin.flush()

    def wait(self, seconds: float) -> Event | None:
        """The next event, or None when none came within `seconds`."""
        try:
            slot, life, line = self._events.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if life != slot.life or slot.state == "retired":
            return None  # the last words of a worker that was already replaced
        if line is None:
            return Event(slot, None)
        try:
            return Event(slot, dict(json.loads(line)))
        except (ValueError, TypeError):
            return None

    def stop(self, slot: Slot, *, dead: bool = False) -> str:
        """Kill the slot's worker, unless it is already `dead`, and say how it ended: exit status and last words."""
        process = slot.process
        slot.state = "retired"
        if process is None:
            return "never started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=DYING_S if dead else 0)
        ended = process.poll()
        _kill(process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=DYING_S)
        for thread in slot.ears:
            thread.join(timeout=1.0)
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        how = "killed by us" if ended is None else f"signal {-ended}" if ended < 0 else f"exit status {ended}"
        words = " | ".join(list(slot.tail)[-3:])
        return f"{how}{': ' + words if words else ''}"

    def close(self) -> None:
        """Kill everything that lives."""
        for slot in self.slots:
            if slot.state != "retired":
                self.stop(slot)

    def _listen(self, slot: Slot, life: int, stream: IO[str]) -> None:
        with contextlib.suppress(OSError, ValueError), stream:
            for line in stream:
                self._events.put((slot, life, line))
        self._events.put((slot, life, None))

    def _drain(self, slot: Slot, life: int, stream: IO[str]) -> None:
        with contextlib.suppress(OSError, ValueError), stream:
            for line in stream:
                if life == slot.life:
                    slot.tail.append(line.rstrip()[:300])


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a worker and what it started."""
    _kill_group(process.pid)
    process.kill()


def _bury(pid: int) -> None:
    """Once a worker is dead, kill what it started: a library's fork would outlive it, and hold open the pipes that tell of it."""
    with contextlib.suppress(OSError, AttributeError):  # it was buried by another; not on every system
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie, so that nobody else gets its number
        _kill_group(pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):  # nobody is left
        os.killpg(pid, signal.SIGKILL)
