"""Looks at a process tree from outside: how much memory it uses, how to end it, how large a folder is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from builder.rehearse.enter import children, descendants

KILL_LIMIT_S = 12.0
SHARED = "/dev/shm"  # noqa: S108 -- looked at, never written to
PAGE = int(os.sysconf("SC_PAGE_SIZE"))
LINUX = Path("/proc/self").is_dir()


def first_below(pid: int) -> int | None:
    """The process that `pid` started first. One look, where the kernel tells: a process table may be what runs over."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return min(children(pid), default=None)


def count_inside(init: int) -> int:
    """Processes in the namespace whose first process is `init`, as its own /proc lists them; 0 where that cannot be seen."""
    with contextlib.suppress(OSError):
        inside = Path(f"/proc/{init}", "root", "proc")
        if inside.stat().st_dev != os.stat("/proc").st_dev:  # noqa: PTH116
            return sum(name.isdigit() for name in os.listdir(inside))  # noqa: PTH208
    return 0


def members(root: int) -> list[int]:
    """A process and everything below it."""
    return [root, *sorted(descendants(root))]


def memory(pids: list[int]) -> int:
    """Bytes of memory of some processes, shared pages counted once, with what they keep in /dev/shm."""
    if not LINUX:
        return resident(pids)
    shares = [_proportional(pid) for pid in pids]
    total, mapped = sum(share for share, _ in shares), sum(part for _, part in shares)
    return total + max(0, shared_files(pids) - mapped)


def resident(pids: list[int]) -> int:
    """Bytes of resident pages, those that are shared counted once for each process: never less than `memory` of processes."""
    if LINUX:
        return sum(map(_resident, pids))
    command = ["ps", "-o", "rss=", "-p", ",".join(map(str, pids))]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    return sum(int(line) << 10 for line in shown.split())


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * PAGE
    return 0


def _proportional(pid: int) -> tuple[int, int]:
    """(proportional share, its part that is shared memory) of one process; all resident pages where the kernel does not say."""
    found = {b"Pss": 0, b"Pss_Shmem": 0}
    with contextlib.suppress(OSError, ValueError), Path(f"/proc/{pid}/smaps_rollup").open("rb") as stream:
        for line in stream:
            name, _, value = line.partition(b":")
            if name in found:
                found[name] = int(value.split()[0]) << 10
        return found[b"Pss"], found[b"Pss_Shmem"]
    return _resident(pid), 0


def shared_files(pids: list[int]) -> int:
    """Bytes in the /dev/shm of a sandbox, which are memory although no process may show them; 0 where it is the host's own."""
    with contextlib.suppress(OSError, IndexError):
        inside = f"/proc/{pids[-1]}/root" + SHARED
        if os.stat(inside).st_dev != os.stat(SHARED).st_dev:  # noqa: PTH116 -- ten times a second
            usage = os.statvfs(inside)
            return (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    return 0


def processor_s(pids: list[int]) -> float:
    """Seconds of processor time of some processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, words[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def folder_size(folder: Path) -> int:
    """Bytes that the files below a folder occupy on disk; one with holes counts what it occupies, not its length."""
    total = 0
    queue = [str(folder)]
    while queue:
        with contextlib.suppress(OSError), os.scandir(queue.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
                    else:
                        status = entry.stat(follow_symlinks=False)
                        total += getattr(status, "st_blocks", status.st_size // 512) * 512
    return total


def end(process: subprocess.Popen[bytes], *, isolated: bool) -> None:
    """Kill a launcher and all below it; returns when they are gone.

    Isolated, the launcher's child is the first process of a namespace: it takes everything with it, and the launcher ends when
    all is over. Otherwise the launcher itself buries its tree when it is told to end.
    """
    deadline = time.monotonic() + KILL_LIMIT_S
    if process.poll() is None:
        if isolated:
            _signal(first_below(process.pid) or process.pid, signal.SIGKILL)
        else:
            _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(KILL_LIMIT_S)
    if process.poll() is None:
        for pid in [process.pid, *descendants(process.pid)]:
            _signal(pid, signal.SIGKILL)
        process.wait(max(1.0, deadline - time.monotonic()))


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
