"""The work by which machines are compared, a program of its own: it is started by its path, wherever it has been copied to.

The work is a third interpreter, a third zlib, a third numpy: what notebooks do beside their models. 1.0 is about one core of the
reference (Xeon of the Cascade Lake generation at 2.5 GHz, 2026-11-21).

Expects: `labour.py COUNT`; numpy.
Produces: on stdout, the sum of the speeds of COUNT processes that work at the same time, each of them this program.
Never: imports anything of ours; takes more than some seconds.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable

ROUND_S = 0.8  # of one measurement
LIMIT_S = 60.0
REFERENCE_S = {"interpreter": 0.0185, "zlib": 0.0120, "numpy": 0.0108}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def together(count: int) -> float:
    """Sum of the speeds of `count` processes that run at the same time.

    Raises ValueError or subprocess.TimeoutExpired when one does not answer.
    """
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    command = [sys.executable, "-P", __file__, "0"]  # what lies beside this file may be called like anything
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        return sum(float(process.communicate(timeout=LIMIT_S)[0]) for process in started)
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
    wanted = int(sys.argv[1])
    sys.stdout.write(f"{together(wanted) if wanted else work():.4f}\n")
