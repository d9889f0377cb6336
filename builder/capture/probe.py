"""The kernel that looks around, rendered verbatim into one cell: what this session is, as JSON in the working folder.

Expects: Python 3.11 or newer on Linux, the standard library, no network; the program LABOUR in the temporary folder, by which
    machines are compared (rehearse/labour.py).
Produces: `machine.json`; what cannot be found out is empty.
Never: imports what it reports about, takes longer than some seconds, or writes down values of the environment.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

KAGGLE = Path(os.environ.get("KKB_KAGGLE") or "/kaggle")
FILE = "machine.json"
LABOUR = "kkb_labour.py"


def text(path: str | Path) -> str:
    """The text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def told(*command: str) -> str:
    """What a program prints; empty when it is not there or takes too long."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return ""


def first(pattern: str, source: str) -> str:
    """The first group of the first match; empty when there is none."""
    found = re.search(pattern, source, re.MULTILINE)
    return found.group(1).strip() if found else ""


def packages() -> dict[str, str]:
    """What `pip list` says; of two packages of one name the one that is imported."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        with contextlib.suppress(Exception):
            found.setdefault(re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(), one.version)
    return dict(sorted(found.items()))


def cores() -> int:
    """Cores that this session may use at a time."""
    allowed = len(os.sched_getaffinity(0))
    quota, _, period = text("/sys/fs/cgroup/cpu.max").partition(" ")
    return min(allowed, max(1, round(int(quota) / int(period)))) if quota.isdigit() and period.isdigit() else allowed


def memory() -> int:
    """Bytes that this session may use."""
    total = int(first(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo")) or 0) * 1024
    limits = [text(f"/sys/fs/cgroup/{name}") for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([total, *(int(limit) for limit in limits if limit.isdigit() and int(limit) > 0)])


def gpus() -> list[dict[str, Any]]:
    """Name, MiB and driver of each."""
    rows = told("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits").splitlines()
    cells = [[cell.strip() for cell in row.split(",")] for row in rows if row.count(",") == 2]
    return [{"name": name, "mib": int(mib), "driver": driver} for name, mib, driver in cells if mib.isdigit()]


def disks() -> dict[str, dict[str, int]]:
    """Bytes of each place that can be written to."""
    places = {"working": KAGGLE / "working", "temp": KAGGLE / "temp", "tmp": Path("/tmp")}  # noqa: S108
    return {name: shutil.disk_usage(path)._asdict() for name, path in places.items() if path.is_dir()}


def mounts(folder: Path, depth: int = 4) -> dict[str, Any]:
    """Names of what is mounted, some of each folder, some levels deep."""
    if depth == 0 or not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for _, entry in zip(range(20), entries, strict=False))
    return {name: mounts(folder / name, depth - 1) if is_folder else None for name, is_folder in found}


def speed() -> dict[str, float]:
    """What one process reaches alone, and as many as there are cores together; empty when it cannot be measured."""
    program = str(Path(tempfile.gettempdir()) / LABOUR)
    with contextlib.suppress(ValueError):
        single, every = (float(told(sys.executable, "-P", program, str(count))) for count in (1, cores()))
        return {"single": round(single, 3), "every": round(every, 3)}
    return {}


def look() -> dict[str, Any]:
    """All of it."""
    return {
        "python": platform.python_version(),
        "glibc": platform.libc_ver()[1],
        "system": first(r'^PRETTY_NAME="?([^"\n]+)', text("/etc/os-release")),
        "packages": packages(),
        "cuda_toolkit": first(r'"version"\s*:\s*"(\d+\.\d+)', text("/usr/local/cuda/version.json")),
        "processor": first(r"^model name\s*:\s*(.+)$", text("/proc/cpuinfo")) or platform.processor(),
        "cores": cores(),
        "memory": memory(),
        "speed": speed(),
        "gpus": gpus(),
        "disks": disks(),
        "mounts": mounts(KAGGLE / "input"),
        "image": {name: os.environ.get(name.upper()) or text(f"/etc/{name}") for name in ("git_commit", "build_date")},
        "environment": sorted(name for name in os.environ if name.startswith("KAGGLE_")),
    }


if __name__ == "__main__":
    (KAGGLE / "working" / FILE).write_text(json.dumps(look(), indent=1), "utf-8")
