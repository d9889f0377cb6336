"""What this session runs on: processor, memory, GPUs and image, for the record that comes home.

Expects: Linux; elsewhere most of it is unknown.
Produces: JSON values; what cannot be found out is None or empty.
Never: imports CUDA, or raises.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Any

from . import devices

GB = 1e9


def describe(etc: Path = Path("/etc"), proc: Path = Path("/proc")) -> dict[str, Any]:
    """`processor`, `cores`, `memory_gb`, `gpus` (names) and `image` (`git_commit`, `build_date`)."""
    return {
        "processor": _processor(proc),
        "cores": devices.cores(),
        "memory_gb": memory_gb(proc),
        "gpus": re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", devices.nvidia_smi(), re.MULTILINE),
        "image": {name: os.environ.get(name.upper()) or _text(etc / name) for name in ("git_commit", "build_date")},
    }


def _processor(proc: Path) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text(proc / "cpuinfo") or "", re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def memory_gb(proc: Path = Path("/proc")) -> float | None:
    """What this container may use, else what the machine has; None when unknown."""
    limits = [int(text) for text in [_text(Path("/sys/fs/cgroup/memory.max")) or ""] if text.isdigit()]
    total = re.search(r"^MemTotal:\s*(\d+) kB", _text(proc / "meminfo") or "", re.MULTILINE)
    limits += [int(total.group(1)) * 1024] if total else []
    return round(min(limits) / GB, 2) if limits else None


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace").strip() or None
    return None
