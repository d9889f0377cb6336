"""Samples that go on together: how many at a time, and up to where with the models that stay loaded.

Expects: a plan's units.
Produces: sizes; a size that gives way when worker after worker dies on different samples, as they do when memory runs out.
Never: reads the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .costs import model_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .contract import Unit

CHUNKS = 64  # wanted; more would cost messages, fewer would leave workers idle at the end
CHUNK_LIMIT = 512  # samples
LEAST = 24  # samples on a CPU, where there are enough of them: each task talks to the supervisor, and is a file
EVEN = 4  # chunks on a CPU are a multiple of this, so that no worker of two or four is left with one more than the others
CHUNK_SHARE = 1 / 200  # of the run's limit: what one lost chunk may cost
RECOVERY = 16  # tasks after which a size that gave way is tried doubled; four times as many after every relapse


@dataclass
class Chunk:
    """Samples that go on together. All have `done` units.

    Attributes:
        number: No other chunk of the run has it.
        rows: int64 (m,), ascending.
        strikes: Failures at unit `done`.
        begun: On their way from one stop to the next.
        failed_at: How many chunks there had been when it failed last.
    """

    number: int
    rows: NDArray[np.int64]
    done: int = 0
    strikes: int = 0
    begun: bool = False
    running: bool = False
    failed_at: int = 0


class Size:
    """How many samples a chunk may have now."""

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._last: set[int] = set()
        self._good, self._wanted = 0, RECOVERY

    def succeeded(self) -> None:
        """A task has finished."""
        self._last = set()
        self._good += 1
        if self.now < self._most and self._good >= self._wanted:
            self.now, self._good = min(self._most, 2 * self.now), 0

    def failed(self, rows: NDArray[np.int64]) -> bool:
        """A task on these samples failed. True when the size gives way: so did the task before, on other samples."""
        found = set(rows.tolist())
        others, self._last = bool(self._last) and not found & self._last, found
        if not others or len(found) < 2:
            return False
        self.now = max(1, min(self.now, len(found) // 2))
        self._last, self._good = set(), 0
        self._wanted *= 4
        return True


def chunk_size(units: Sequence[Unit], samples: int, limit_s: float, accelerator: str = "cuda") -> int:
    """Samples per chunk: about CHUNKS chunks, of whole batches or evenly dealt, and never more than a small share of the time.

    A GPU wants whole batches; a CPU does as well with any, and its workers shall end together: 200 samples are 8 chunks of 25.
    Depends on the plan and the number of samples only, so that equal runs have equal chunks whatever the machine.
    """
    batch = max(unit.batch for unit in units)
    size = min(CHUNK_LIMIT, math.ceil(samples / CHUNKS))
    if accelerator == "cpu" and samples >= EVEN * LEAST:
        size = min(CHUNK_LIMIT, math.ceil(samples / (EVEN * round(samples / max(LEAST, size) / EVEN))))
    else:
        size = max(batch, math.ceil(size / batch) * batch)
    slowest = max(unit.seconds for unit in units)
    if slowest > 0:
        size = min(size, int(limit_s * CHUNK_SHARE / slowest))
    return max(1, size)


def passes(units: Sequence[Unit], together: int) -> list[int]:
    """Where passes end: after unit 1, and then whenever another unit would need more models than stay loaded."""
    ends, models = [1], set[tuple[str, str]]()
    for index, unit in enumerate(units[1:], start=1):
        models.add(model_of(unit))
        if len(models) > together:
            ends.append(index)
            models = {model_of(unit)}
    return [*ends, len(units)]
