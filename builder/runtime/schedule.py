"""Clock and order, as arithmetic: which samples get which unit next, and whether it still fits.

Expects: the plan's units, the number of samples, and what every finished task took.
Produces: the next task, or none; never reads the time, starts a process or touches a file, so a test can play any machine.

The rules. Units run in the plan's order on every sample. Every sample gets unit 1 before any gets more. A task starts only
when the upper bound of its time ends before the deadline. A task that failed is tried once more, after its unit's others;
one that failed twice is halved, to find the sample that is to blame; a single sample that failed twice keeps the prefix it has.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .contract import Unit

REMEMBERED = 200  # task times per unit, for the upper bound
DOUBT = 1.5  # times the median, or times the plan's own figure
COLD_DECODE_S = 0.05  # per sample, until one was measured: a large photo on a slow core takes a few times that
STRIKES = 2
CHUNKS = 64  # wanted; more would cost messages, fewer would leave workers idle at the end
CHUNK_LIMIT = 512  # samples
CHUNK_SHARE = 1 / 200  # of the run's limit: what one lost chunk may cost


@dataclass(frozen=True)
class Task:
    """One unit on the samples start..stop."""

    unit: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Spent:
    """Seconds of a finished task, as its worker measured them; `other` is what the supervisor waited beyond that."""

    load: float
    decode: float
    predict: float
    other: float = 0.0


@dataclass
class _Chunk:
    start: int
    stop: int
    done: int = 0  # units
    strikes: int = 0  # on unit `done`
    running: bool = False
    given_up: str = ""

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass
class _Times:
    """What tasks of one kind took, per sample; the last ones count."""

    last: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def upper(self) -> float:
        return max(*self.last, DOUBT * statistics.median(self.last))


def chunk_size(units: Sequence[Unit], samples: int, limit_s: float) -> int:
    """Samples per chunk: whole batches, about CHUNKS chunks, and never more than a small share of the time.

    Depends on the plan and the number of samples only, so that equal runs have equal chunks whatever the machine.
    """
    batch = max(unit.batch for unit in units)
    size = min(CHUNK_LIMIT, math.ceil(samples / CHUNKS))
    size = max(batch, math.ceil(size / batch) * batch)
    slowest = max(unit.seconds for unit in units)
    if slowest > 0:
        size = min(size, int(limit_s * CHUNK_SHARE / slowest))
    return max(1, size)


class Schedule:
    """The state of a run: how far every chunk of samples is, and what tasks took."""

    def __init__(self, units: Sequence[Unit], samples: int, chunk: int, keep_bytes: int = 0) -> None:
        self._units = units
        self._samples = samples
        self._chunks = [_Chunk(at, min(at + chunk, samples)) for at in range(0, samples, chunk)]
        self._usable = len(units)  # units before the first one whose model cannot run
        self._predict: dict[int, _Times] = {}
        self._load: dict[tuple[str, str], float] = {}
        self._decode: dict[str, _Times] = {}
        self._other = 0.0
        self._keep_bytes = keep_bytes
        self._kept: set[tuple[str, int, int]] = set()
        self._refused: Counter[int] = Counter()
        self.notes: list[str] = []

    # What next

    def next(self, left: float, resident: Collection[tuple[str, str]] = ()) -> Task | None:
        """The task to start now on a worker that has the models `resident` loaded, with `left` seconds to go, or None."""
        waiting = [c for c in self._chunks if not (c.running or c.given_up) and c.done < self._usable]
        if any(c.done == 0 and not c.given_up for c in self._chunks):
            waiting = [c for c in waiting if c.done == 0]
        for chunk in sorted(waiting, key=lambda c: (c.done, c.strikes, c.start)):
            task = Task(chunk.done, chunk.start, chunk.stop)
            if self.bound(task, resident) <= left:
                chunk.running = True
                return task
        return None

    def bound(self, task: Task, resident: Collection[tuple[str, str]] = ()) -> float:
        """Upper bound of the task's seconds."""
        unit = self._units[task.unit]
        times = self._predict.get(task.unit)
        predict = times.upper() if times else DOUBT * unit.seconds * max(1.0, self.slowness())
        decode = 0.0
        if (unit.input.key, task.start, task.stop) not in self._kept:
            known = self._decode.get(unit.input.key)
            decode = known.upper() if known else COLD_DECODE_S
        load = 0.0 if model_of(unit) in resident else self._load.get(model_of(unit), DOUBT * unit.load_s)
        return load + self._other + task.size * (predict + decode)

    def keep(self, task: Task) -> bool:
        """Whether the task's decoded images shall stay in scratch: a later unit wants them, and there is room."""
        spec = self._units[task.unit].input
        later = any(unit.input.key == spec.key for unit in self._units[task.unit + 1 : self._usable])
        size = task.size * spec.height * spec.width * 3
        if (spec.key, task.start, task.stop) in self._kept or not later or size > self._keep_bytes:
            return False
        self._keep_bytes -= size
        return True

    # What happened

    def finished(self, task: Task, spent: Spent, kept: bool = False) -> None:
        """The task's result is in place."""
        chunk = self._chunk(task)
        chunk.running, chunk.strikes, chunk.done = False, 0, chunk.done + 1
        unit = self._units[task.unit]
        times = self._predict.setdefault(task.unit, _Times())
        if not times.last or 2 * task.size >= unit.batch:  # a rest of a few samples says nothing about full batches
            times.last.append(spent.predict / task.size)
        if (unit.input.key, task.start, task.stop) not in self._kept:
            self._decode.setdefault(unit.input.key, _Times()).last.append(spent.decode / task.size)
        if spent.load > 0:
            self._load[model_of(unit)] = max(spent.load, self._load.get(model_of(unit), 0.0))
        self._other = max(self._other, spent.other)
        if kept:
            self._kept.add((unit.input.key, task.start, task.stop))

    def failed(self, task: Task, cause: str) -> bool:
        """The task failed, overran or killed its worker. True when that settled something: it was halved or given up."""
        chunk = self._chunk(task)
        chunk.running, chunk.strikes = False, chunk.strikes + 1
        if chunk.strikes < STRIKES:
            return False
        if chunk.size > 1:
            middle = chunk.start + chunk.size // 2
            at = self._chunks.index(chunk)
            self._chunks[at : at + 1] = [_Chunk(chunk.start, middle, chunk.done), _Chunk(middle, chunk.stop, chunk.done)]
        else:
            chunk.given_up = cause
            self.notes.append(f"sample {chunk.start} skipped at unit {task.unit + 1}: {cause}")
        return True

    def refused(self, task: Task, cause: str) -> None:
        """The unit's model could not be loaded or run; after the second time the plan ends before that unit."""
        self._chunk(task).running = False
        self._refused[task.unit] += 1
        if self._refused[task.unit] >= STRIKES and task.unit < self._usable:
            self._usable = task.unit
            self.notes.append(f"unit {task.unit + 1} and all after it dropped: {cause}")

    def interrupted(self, task: Task) -> None:
        """The task was stopped by the clock; nobody is to blame."""
        self._chunk(task).running = False

    # How far

    @property
    def complete(self) -> int:
        """Units that every sample has, or will never have."""
        return min((c.done for c in self._chunks if not c.given_up and c.done < self._usable), default=self._usable)

    def samples_done(self, unit: int) -> int:
        """Samples on which the unit has run."""
        return sum(c.size for c in self._chunks if c.done > unit)

    def mean_prefix(self) -> float:
        """Units per sample so far."""
        return sum(c.size * c.done for c in self._chunks) / max(1, self._samples)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, whatever the time."""
        return all(c.given_up or c.done >= self._usable for c in self._chunks)

    def slowness(self) -> float:
        """How many times slower this machine is than the plan thought; 1 until something was measured."""
        ratios = [
            statistics.median(times.last) / self._units[index].seconds
            for index, times in self._predict.items()
            if self._units[index].seconds > 0
        ]
        return statistics.median(ratios) if ratios else 1.0

    def seconds(self, unit: int) -> float | None:
        """Median seconds per sample of a unit, without decoding; None when it has not run."""
        return statistics.median(self._predict[unit].last) if unit in self._predict else None

    def decode_seconds(self, unit: int) -> float | None:
        """Median seconds per sample of decoding for a unit's input."""
        times = self._decode.get(self._units[unit].input.key)
        return statistics.median(times.last) if times else None

    def load_seconds(self, unit: int) -> float | None:
        """Longest time that loading a unit's model took."""
        return self._load.get(model_of(self._units[unit]))

    def _chunk(self, task: Task) -> _Chunk:
        return next(c for c in self._chunks if (c.start, c.stop) == (task.start, task.stop))


def model_of(unit: Unit) -> tuple[str, str]:
    """What a worker has to load for a unit; units of several views share it."""
    return unit.dataset, unit.file
