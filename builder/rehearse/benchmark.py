"""How fast a machine is: the same small work everywhere, on one core and on all of them, in about two seconds.

The work is a third interpreter, a third zlib, a third numpy: what notebooks do beside their models. 1.0 is about one core of the
reference (Xeon of the Cascade Lake generation at 2.5 GHz, 2026-11-21).

Expects: numpy. Each process of it is this module, run as a program.
Produces: a Speed, remembered for a day per machine.
Never: tells anything of GPUs.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.errors import RunError
from builder.workspace import digest_of, short, write_json

ROUND_S = 0.8  # of each of the two measurements
LIMIT_S = 60.0
DAY_S = 86_400.0
REFERENCE_S = {"interpreter": 0.0185, "zlib": 0.0120, "numpy": 0.0108}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Speed:
    """`single`: one process alone; `every`: the sum over `cores` processes that run at the same time."""

    single: float
    every: float
    cores: int


def here(cache: Path, cores: int) -> Speed:
    """The speed of so many cores of this machine, measured at most once a day."""
    name = digest_of([platform.node(), platform.machine(), os.cpu_count(), cores])
    path = cache / f"speed-{short(name)}.json"
    try:
        known = json.loads(path.read_text("utf-8"))
        if 0 <= time.time() - known.pop("at") < DAY_S:
            return Speed(**known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    speed = measure(cores)
    write_json(path, {**asdict(speed), "at": int(time.time())})
    return speed


def measure(cores: int) -> Speed:
    """Measure: first one process, then `cores` of them at once. Raises RunError when they do not answer."""
    single = _together(1)
    return Speed(round(single, 3), round(_together(cores) if cores > 1 else single, 3), cores)


def _together(count: int) -> float:
    """Sum of the speeds of `count` processes that run at the same time."""
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [sys.executable, "-m", "builder.rehearse.benchmark"]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        return sum(float(process.communicate(timeout=LIMIT_S)[0]) for process in started)
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise RunError(
            "this machine's speed could not be measured",
            found=error,
            expected="a number",
            remedy="try again when it is less busy",
        ) from None
    finally:
        for process in started:
            process.kill()
            process.wait(LIMIT_S)


def work() -> float:
    """The speed of this process now: the geometric mean over the kinds of work, each by the best of its rounds."""
    best = {name: min(_rounds(task)) for name, task in _tasks().items()}
    return math.exp(sum(math.log(REFERENCE_S[name] / seconds) for name, seconds in best.items()) / len(best))


def _rounds(task: Callable[[], object]) -> list[float]:
    """Seconds of each of at least three rounds."""
    found: list[float] = []
    begin = time.perf_counter()
    while len(found) < 3 or time.perf_counter() - begin < ROUND_S / len(REFERENCE_S):
        start = time.perf_counter()
        task()
        found.append(time.perf_counter() - start)
    return found


def _tasks() -> dict[str, Callable[[], object]]:
    import zlib

    import numpy as np

    random = np.random.default_rng(0)
    text = random.integers(97, 113, 200_000, np.uint8).tobytes()
    square, vector = random.random((512, 512), np.float32), random.random(1_000_000, np.float32)

    def interpreter() -> object:
        counts: dict[int, int] = {}
        for number in range(60_000):
            counts[number % 1009] = counts.get(number % 1009, 0) + number
        return counts

    return {
        "interpreter": interpreter,
        "zlib": lambda: zlib.compress(text, 6),
        "numpy": lambda: (square @ square @ square, np.exp(vector).sum()),
    }


if __name__ == "__main__":
    sys.stdout.write(f"{work():.4f}\n")
