"""How many workers, on what: one per GPU, or one per usable core.

Expects: the accelerator that the plan asks for.
Produces: one environment per worker.
Never: imports CUDA: the notebook's process must own no accelerator, or its workers would share it with an idle one.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .backends import ALLOW_CPU, BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

FEW = 16  # samples for which a second worker would cost more than it saves
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb=1"  # malloc asks for huge pages where the kernel gives them to who asks; others ignore it


@dataclass(frozen=True)
class Devices:
    """The workers of a run.

    Attributes:
        accelerator: What the workers are told to use: `cpu` or `cuda`.
        environments: One per worker, beyond what all share.
        decode_threads: Threads per worker that read images.
        note: What differs from what the plan asks for, or an empty string.
    """

    accelerator: str
    environments: tuple[Mapping[str, str], ...]
    decode_threads: int
    note: str = ""


def choose(accelerator: str, samples: int, chunks: int, threads: int, workers: int | None = None) -> Devices:
    """Workers for `samples` samples in `chunks` chunks. Raises BackendError when the plan wants a GPU and there is none.

    Args:
        threads: CPU threads of each model.
        workers: How many workers to start instead of one per core; GPUs always have one each.
    """
    count = cores()
    gpus = visible_gpus() if accelerator == "cuda" else []
    if gpus:
        each = max(1, count // len(gpus))
        gpus = gpus[: max(1, chunks)] if samples > FEW else gpus[:1]
        return Devices("cuda", tuple({"CUDA_VISIBLE_DEVICES": gpu, **_limits(each)} for gpu in gpus), each)
    note = ""
    if accelerator == "cuda":
        if os.environ.get(ALLOW_CPU) != "1":
            raise BackendError(
                "the plan runs on cuda, but this session has no GPU: was the notebook saved without an accelerator? "
                f"{ALLOW_CPU}=1 rehearses on the CPU"
            )
        note = f"the plan asks for cuda; there is no GPU, and {ALLOW_CPU}=1: ran on the CPU"
    wanted = workers or max(1, count // max(1, threads))
    wanted = min(wanted, max(1, chunks)) if samples > FEW else 1
    return Devices("cpu", tuple(on_cpu(threads) for _ in range(wanted)), 1, note)


def on_cpu(threads: int) -> dict[str, str]:
    """The environment of a process that runs models on the CPU: so many threads, and memory in huge pages.

    Activations are a few megabytes each, written and read once: with small pages 2 to 7 % of the time is spent on finding them.
    """
    given = os.environ.get(_TUNABLES, "")
    wanted = given if _HUGE_PAGES.partition("=")[0] in given else ":".join(filter(None, [given, _HUGE_PAGES]))
    return {**_limits(threads), _TUNABLES: wanted}


def cores() -> int:
    """Cores that this process may use: its affinity, and the CPU quota of its container."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            usable = min(usable, max(1, math.ceil(int(quota) / int(period))))
    return usable


def visible_gpus() -> list[str]:
    """Names of the GPUs of this session, as CUDA_VISIBLE_DEVICES takes them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in {"", "-1"}]
    listed = re.findall(r"^GPU (\d+):", nvidia_smi(), re.MULTILINE)
    return listed or sorted(path.name[6:] for path in Path("/dev").glob("nvidia[0-9]*"))


def nvidia_smi() -> str:
    """One line per GPU, `GPU 0: Tesla T4 (UUID: ...)`; empty where there is none, or nobody to ask."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    return ""


def _limits(threads: int) -> dict[str, str]:
    return dict.fromkeys(_THREADS, str(threads))
