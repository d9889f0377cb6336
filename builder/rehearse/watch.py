"""Looks at a process tree from outside: how much memory it uses, how to end it, how large a folder is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from builder.rehearse.enter import children, descendants

KILL_LIMIT_S = 10.0


def tree_memory(root: int) -> int:
    """Bytes of memory of a process and everything below it; pages that several share are counted once (PSS)."""
    members = [root, *descendants(root)]
    if Path("/proc/self").is_dir():
        return sum(_proportional(pid) for pid in members)
    command = ["ps", "-o", "rss=", "-p", ",".join(map(str, members))]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    return sum(int(line) << 10 for line in shown.split())


def _proportional(pid: int) -> int:
    """Proportional share of one process; all its resident pages where the kernel does not tell the share."""
    with contextlib.suppress(OSError, ValueError), Path(f"/proc/{pid}/smaps_rollup").open("rb") as stream:
        for line in stream:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


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
            for pid in children(process.pid) or [process.pid]:
                _signal(pid, signal.SIGKILL)
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
