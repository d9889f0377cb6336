"""Clock and order, as arithmetic: which samples get which unit next, and whether it still fits.

Expects: the plan's units, the number of samples, and what every finished task took.
Produces: the next task, or none; never reads the time, starts a process or touches a file, so a test can play any machine.

The rules. Units run in the plan's order on every sample. Every sample gets unit 1 before any gets more. After that units go in
passes: as many as a worker keeps loaded run one after the other on the same chunk, which is decoded once and stays in memory; but
only while all of the pass will surely fit, for otherwise some samples would get much and others nothing: then it is one unit
after the other. A task starts only when the upper bound of its time ends before the deadline. A task that failed is tried once
more, after its unit's others; one that failed twice is halved, to find the sample that is to blame; a single sample that failed
twice keeps the prefix it has.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .costs import Costs, Hand, Task, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .contract import Unit
    from .costs import Spent

STRIKES = 2
CHUNKS = 64  # wanted; more would cost messages, fewer would leave workers idle at the end
CHUNK_LIMIT = 512  # samples
SURE = 1.57  # times the forecast: 99 of 100 machines with drift, throttling and stalls stay below
CHUNK_SHARE = 1 / 200  # of the run's limit: what one lost chunk may cost
EMPTY = Hand()


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

    def __init__(
        self, units: Sequence[Unit], samples: int, chunk: int, keep_bytes: int = 0, workers: int = 1, together: int = 1
    ) -> None:
        """`together`: how many models each of the `workers` keeps loaded."""
        self._units, self._workers = units, workers
        self._passes = _passes(units, together)
        self._samples = samples
        self._chunks = [_Chunk(at, min(at + chunk, samples)) for at in range(0, samples, chunk)]
        self._usable = len(units)  # units before the first one whose model cannot run
        self.costs = Costs(units)
        self._keep_bytes = keep_bytes
        self._kept: set[tuple[str, int, int]] = set()
        self._refused: Counter[int] = Counter()
        self.notes: list[str] = []

    # What next

    def next(self, left: float, hand: Hand = EMPTY) -> Task | None:
        """The task to start now on a worker with this at `hand`, with `left` seconds to go, or None."""
        chunks = [c for c in self._chunks if not c.given_up and c.done < self._usable]
        done = min((c.done for c in chunks), default=0)
        waiting = [c for c in chunks if not c.running and (done > 0 or c.done == 0)]
        for chunk in sorted(waiting, key=self._rank(self._goal(done, left), done, hand)):
            task = Task(chunk.done, chunk.start, chunk.stop)
            if self.bound(task, hand) <= left:
                chunk.running = True
                return task
        return None

    def _rank(self, goal: int, done: int, hand: Hand) -> Callable[[_Chunk], tuple[int, ...]]:
        """What comes first: in a pass what the worker has in memory, then what was begun; beyond it, unit after unit."""
        near = hand.samples[1:] if hand.samples else None

        def rank(c: _Chunk) -> tuple[int, ...]:
            if goal > done + 1 and c.done < goal:
                return 0, c.strikes, (c.start, c.stop) != near, -c.done, c.start
            return 1, c.done, c.strikes, c.start

        return rank

    def _goal(self, done: int, left: float) -> int:
        """Where the present pass ends, when all chunks have `done` units: at one more unless all of it surely fits."""
        goal = min(next(end for end in self._passes if end > done), self._usable) if done < self._usable else self._usable
        if goal > done + 1:
            wanted = sum(seconds for unit, seconds in self._needs() if unit < goal)
            if SURE * wanted / self._workers > left:
                return done + 1
        return goal

    def bound(self, task: Task, hand: Hand = EMPTY) -> float:
        """Upper bound of the task's seconds."""
        return self.costs.bound(task, hand, kept=self.costs.key(task) in self._kept)

    def keep(self, task: Task) -> bool:
        """Whether the task's decoded images shall stay in scratch: a later unit wants them, and there is room."""
        spec = self._units[task.unit].input
        later = any(unit.input.key == spec.key for unit in self._units[task.unit + 1 : self._usable])
        size = task.size * spec.height * spec.width * 3
        if self.costs.key(task) in self._kept or not later or size > self._keep_bytes:
            return False
        self._keep_bytes -= size
        return True

    # What happened

    def finished(self, task: Task, spent: Spent, kept: bool = False) -> None:
        """The task's result is in place."""
        chunk = self._chunk(task)
        chunk.running, chunk.strikes, chunk.done = False, 0, chunk.done + 1
        self.costs.add(task, spent)
        if kept:
            self._kept.add(self.costs.key(task))

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

    def remaining_s(self) -> float:
        """Seconds of work that are left, by what is known now: on one worker, all units on all samples."""
        return sum(seconds for _, seconds in self._needs())

    def beyond(self, seconds: float) -> list[int]:
        """Units that `seconds` more of work will not finish."""
        out = []
        for unit, needed in self._needs():
            seconds -= needed
            if seconds < 0 < needed:
                out.append(unit)
        return out

    def _needs(self) -> Iterator[tuple[int, float]]:
        """Unit and the seconds that it still wants; decoding counts for the first unit of each input."""
        at: Counter[int] = Counter()
        for chunk in self._chunks:
            at[chunk.done] += 0 if chunk.given_up else chunk.size
        seen, waiting = set[str](), 0
        for index, unit in enumerate(self._units[: self._usable]):
            waiting += at[index]
            yield index, waiting * self.costs.expected(index, decode=unit.input.key not in seen)
            seen.add(unit.input.key)

    def _chunk(self, task: Task) -> _Chunk:
        return next(c for c in self._chunks if (c.start, c.stop) == (task.start, task.stop))


def _passes(units: Sequence[Unit], together: int) -> list[int]:
    """Where passes end: after unit 1, and then whenever another unit would need more models than stay loaded."""
    ends, models = [1], set[tuple[str, str]]()
    for index, unit in enumerate(units[1:], start=1):
        models.add(model_of(unit))
        if len(models) > together:
            ends.append(index)
            models = {model_of(unit)}
    return [*ends, len(units)]
