"""A control group for one run, where the system has delegated us a place for it (cgroup v2): the kernel itself keeps the limits.

Expects: the group that we run in has a writable parent that hands out the memory controller, as systemd's user slices do.
Produces: a group with a hard limit of memory and processes, and whether the kernel had to enforce the first.
Never: moves us; changes a group that we did not make; fails: without such a place there is no group, and limits are watched.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PROBE_LIMIT_S, REMOVAL_LIMIT_S = 5.0, 2.0
ENTER = 'echo $$ > "$0" && exec "$@"'
_turn = itertools.count()


@dataclass(frozen=True)
class Group:
    """A group that was made for one run."""

    path: Path

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the group."""
        return ["/bin/sh", "-c", ENTER, str(self.path / "cgroup.procs"), *command]

    def ran_out(self) -> bool:
        """Whether the kernel killed for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            events = dict(line.split() for line in (self.path / "memory.events").read_text().splitlines())
            return int(events.get("oom_kill", 0)) > 0
        return False


@contextlib.contextmanager
def group(memory: int, processes: int) -> Iterator[Group | None]:
    """A group with these limits for the length of the block; None where there can be none."""
    place = delegated()
    made = _made(place, memory, processes) if place else None
    try:
        yield made
    finally:
        if made:
            _remove(made.path)


def delegated(own: str | None = None, root: Path = ROOT) -> Path | None:
    """The folder in which we may make groups that limit memory."""
    with contextlib.suppress(OSError):
        lines = (own or Path("/proc/self/cgroup").read_text()).splitlines()
        path = next((line[3:] for line in lines if line.startswith("0::")), "")
        place = (root / path.strip("/")).parent
        if not path.strip("/") or not (place / "cgroup.subtree_control").is_file():
            return None
        controllers = (place / "cgroup.subtree_control").read_text().split()
        if "memory" in controllers and os.access(place, os.W_OK) and os.access(place / "cgroup.procs", os.W_OK):
            return place
    return None


def _made(place: Path, memory: int, processes: int) -> Group | None:
    path = place / f"kkb-{os.getpid()}-{next(_turn)}"
    limits = {"memory.max": memory, "memory.swap.max": 0, "memory.oom.group": 1, "pids.max": processes}
    try:
        path.mkdir()
        for name, value in limits.items():
            if (path / name).exists() or name == "memory.max":
                (path / name).write_text(f"{value}\n")
        made = Group(path)
        subprocess.run(made.wrap(["/bin/true"]), check=True, timeout=PROBE_LIMIT_S, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        _remove(path)
        return None
    return made


def _remove(path: Path) -> None:
    """An empty group is removed like a folder; its processes may need a moment to be gone."""
    deadline = time.monotonic() + REMOVAL_LIMIT_S
    while path.is_dir() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            path.rmdir()
            return
        time.sleep(0.02)
