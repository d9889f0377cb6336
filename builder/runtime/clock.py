"""The only module that reads the time: how much of the session is spent, and whether a piece of work still fits.

Expects: the limit of the run and a reserve, from the plan.
Produces: seconds, counted from the session's start when this is a batch session (installs and mounts cost time too), else
    from now.
Never: sleeps, or decides what to do.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RUN_TYPE = "KAGGLE_KERNEL_RUN_TYPE"
STARTED = "KKB_SESSION_START"  # unix time; set by a rehearsal whose PID 1 is older than the session
now = time.monotonic


@dataclass
class Clock:
    """A deadline. All times are seconds; only `reserve` may change.

    Attributes:
        limit: What the competition allows for the whole run.
        reserve: Kept free at the end, for finalising.
        start: When the session began, in the time of `now`.
        now: The time; injected in tests.
    """

    limit: float
    reserve: float
    start: float
    now: Callable[[], float] = now

    @classmethod
    def begin(cls, limit: float, reserve: float, *, age: float = 0.0, now: Callable[[], float] = now) -> Clock:
        """A clock of a session that began `age` seconds ago; a `reserve` below 1 is a share of `limit`."""
        return cls(limit, reserve * limit if reserve < 1 else min(reserve, limit), now() - age, now)

    def spent(self) -> float:
        """Seconds since the session began."""
        return self.now() - self.start

    def left(self) -> float:
        """Seconds in which work may still be done: until the limit, less the reserve. Negative when it is over."""
        return self.limit - self.reserve - self.spent()

    def hold(self, seconds: float) -> None:
        """Keep at least so much free at the end."""
        self.reserve = min(self.limit, max(self.reserve, seconds))

    def fits(self, seconds: float) -> bool:
        """Whether work that takes at most `seconds` would end before the reserve begins."""
        return seconds <= self.left()


def session_age(limit: float, environ: Mapping[str, str] | None = None, proc: Path = Path("/proc")) -> float:
    """Seconds that this session is old: 0 unless it is a batch session.

    PID 1 of the container began with the session. Where there is no container PID 1 is the machine's own; one older than
    the whole limit cannot be ours, and the notebook's own process counts instead.
    """
    environ = os.environ if environ is None else environ
    if environ.get(RUN_TYPE) != "Batch":
        return 0.0
    if STARTED in environ:
        return max(0.0, time.time() - float(environ[STARTED]))
    own = process_age(os.getpid(), proc)
    first = process_age(1, proc)
    return first if own <= first < limit else own


def process_age(pid: int, proc: Path = Path("/proc")) -> float:
    """Seconds since a process began, by /proc; 0 where it cannot be read."""
    try:
        # The command name may hold spaces and brackets; the fields after it are plain. Field 22: start, in ticks since boot.
        fields = (proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        uptime = float((proc / "uptime").read_text().split()[0])
        return max(0.0, uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
