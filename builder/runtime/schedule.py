"""Clock and order, as arithmetic: which samples get which unit next, and whether it still fits.

Expects: the plan's units and its rule of effort, the number of samples, and what every finished task took.
Produces: the next task, or none; never reads the time, starts a process or touches a file, so a test can play any machine.

The rules. Units run in the plan's order on every sample. Every sample gets unit 1 before any gets more. Then, while everything
that everybody shall get will surely fit, the order of samples does not matter, and units go in passes: as many as a worker keeps
loaded run one after the other on the same chunk of samples, which is decoded once and stays in memory. When it is not sure,
chunks dissolve at the stops of the rule of effort: the samples whose next climb is most urgent form the next chunk and climb
together (waiting.py). A plan without such a rule goes unit after unit instead.

A task starts only when the upper bound of its time ends before the deadline; one that does not fit is cut down to the batches
that do, and a climb that does not fit at all leaves the time to the cheaper climbs of other samples. A task that failed is tried
once more, after its unit's others; one that failed twice is halved, to find the sample that is to blame; a single sample that
failed twice, and one without an answer, keeps the prefix it has. When tasks on different samples fail one
after the other, all become smaller.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from .chunks import Chunk, Size, passes
from .contract import Input
from .costs import Costs, Hand, Task
from .forecast import SURE
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from .contract import Effort, Unit
    from .costs import Spent
    from .waiting import Doubts

    Rows = NDArray[np.int64]

STRIKES = 2
EMPTY = Hand()


class Schedule:
    """The state of a run: how far every sample is, and what tasks took."""

    def __init__(
        self,
        units: Sequence[Unit],
        samples: int,
        chunk: int,
        keep_bytes: int = 0,
        workers: int = 1,
        together: int = 1,
        effort: Effort | None = None,
        doubts: Doubts | None = None,
    ) -> None:
        """`together`: how many models each of the `workers` keeps loaded. `doubts`: see Waiting; without it all are equal."""
        self._units, self._workers, self._size, self._samples = units, workers, Size(chunk), samples
        self._passes = passes(units, together)
        self._first_of = {unit.input.key: index for index, unit in reversed(list(enumerate(units)))}
        self._count = 0
        self._chunks: dict[int, Chunk] = {}
        for at in range(0, samples, chunk):
            self._new(np.arange(at, min(at + chunk, samples)), 0)
        self._waiting = Waiting(effort, len(units), samples, doubts or _indifferent) if effort else None
        self._at = np.zeros(len(units) + 1, dtype=np.int64)  # samples that may go on, by their units
        self._at[0] = samples
        self._stuck = np.zeros(len(units) + 1, dtype=np.int64)  # those that may not
        self._usable = len(units)  # units before the first one whose model cannot run
        self.costs = Costs(units)
        self._keep_bytes = keep_bytes
        self._kept: dict[str, NDArray[np.bool_]] = {}
        self._refused: Counter[int] = Counter()
        self._pass = 1  # where the present pass ends
        self.notes: list[str] = []

    # What next

    def next(self, left: float, hand: Hand = EMPTY) -> Task | None:
        """The task to start now on a worker with this at `hand`, with `left` seconds to go, or None."""
        floor = self.complete
        if floor >= self._usable:
            return None
        idle = [c for c in self._chunks.values() if not c.running and c.done < self._usable and (floor > 0 or c.done == 0)]
        self._pass, sure = self._end(floor, left)
        if self._waiting and floor and not sure:
            return self._by_urgency(idle, self._waiting, left, hand)
        rank = self._rank(floor, hand)
        best = self._first_that_fits([min(idle, key=rank)] if idle else [], left, hand)  # sorting is for the end of the time
        return best or self._first_that_fits(sorted(idle, key=rank), left, hand)

    def _by_urgency(self, idle: list[Chunk], waiting: Waiting, left: float, hand: Hand) -> Task | None:
        """What was begun, or failed some time ago; then the most urgent climb; then what failed just now."""
        for chunk in [c for c in idle if not c.begun and not c.strikes and waiting.rests(c.done)]:
            waiting.add(self._chunks.pop(chunk.number).rows, chunk.done)
        held = [c for c in idle if c.number in self._chunks]
        begun = sorted((c for c in held if not c.strikes), key=lambda c: hand.samples is None or hand.samples[1] != c.number)
        failed = sorted((c for c in held if c.strikes), key=lambda c: (c.strikes, c.failed_at))
        return (
            self._first_that_fits(begun + [c for c in failed if c.failed_at < self._count], left, hand)
            or self._deal(waiting, left, hand)
            or self._first_that_fits(failed, left, hand)
        )

    def _rank(self, floor: int, hand: Hand) -> Callable[[Chunk], tuple[int, ...]]:
        """What comes first: in a pass what the worker has in memory, then what was begun; beyond it, unit after unit."""
        near = hand.samples[1] if hand.samples else -1

        def rank(c: Chunk) -> tuple[int, ...]:
            if self._pass > floor + 1 and c.done < self._pass:
                return 0, c.strikes, c.number != near, -c.done, int(c.rows[0])
            return 1, c.done, c.strikes, int(c.rows[0])

        return rank

    def _end(self, floor: int, left: float) -> tuple[int, bool]:
        """Where the present pass ends, when all have `floor` units, and whether all that everybody shall get surely fits."""
        goal = min(next(end for end in self._passes if end > floor), self._usable)
        if self._waiting is None:
            return (goal, True) if self._surely(goal, left) else (floor + 1, False)
        if not self._waiting.count:
            for end in (self._usable, self._waiting.common):
                if floor < end and self._surely(end, left):
                    return min(goal, end), True
        return floor + 1, False

    def _surely(self, end: int, left: float) -> bool:
        """Whether the first `end` units on all samples will be done in time."""
        return SURE * sum(seconds for unit, seconds in self._needs() if unit < end) <= left * self._workers

    def _first_that_fits(self, chunks: Sequence[Chunk], left: float, hand: Hand) -> Task | None:
        for chunk in chunks:
            room = self._room([chunk.done], chunk.rows[: self._size.now], left, hand, chunk.number)
            if room:
                return self._begin(chunk if room == len(chunk.rows) else self._split(chunk, room))
        return None

    def _deal(self, waiting: Waiting, left: float, hand: Hand) -> Task | None:
        """A chunk of the samples whose climb is most urgent, of those that can still be climbed; or its first unit at least."""
        climbs = waiting.climbs(self._size.now, self._grain(0), lambda done: self._climb(done, hand)) if waiting.count else []
        for whole in (True, False):
            for done, rows in climbs:
                end = min(waiting.goal(done), self._usable) if whole else min(done + 1, self._usable)
                room = self._room(range(done, end), rows, left, hand) if done < end else 0
                if room:
                    taken = np.sort(rows[:room])
                    waiting.remove(taken)
                    return self._begin(self._new(taken, done, begun=True))
        return None

    def _begin(self, chunk: Chunk) -> Task:
        chunk.running = True
        return Task(chunk.done, chunk.number, chunk.rows)

    def _room(self, units: Sequence[int], rows: Rows, left: float, hand: Hand, number: int = -1) -> int:
        """How many of the first `rows` these units can do in `left` seconds, in whole batches unless it is all of them."""
        left -= self.costs.fixed_bound(units, hand)
        each = sum(self.costs.each_bound(unit) for unit in units)
        for unit in {self._units[index].input.key: index for index in units}.values():
            each += self.costs.decoding_bound(unit) * self._unread(Task(unit, number, rows), hand) / len(rows)
        if each * len(rows) <= left:
            return len(rows)
        grain = self._grain(units[0])
        return int(left / each / grain) * grain if left > 0 else 0

    def _climb(self, done: int, hand: Hand) -> tuple[float, float]:
        """What the climb from `done` units takes on a worker, once and per sample, as far as is known."""
        end = self._waiting.goal(done) if self._waiting else done + 1
        units = range(done, max(done + 1, min(end, self._usable)))
        return self.costs.fixed_bound(units, hand), sum(self.costs.expected(unit, decode=False) for unit in units)

    def _grain(self, unit: int) -> int:
        return min(self._units[unit].batch, self._size.now)

    def bound(self, task: Task, hand: Hand = EMPTY) -> float:
        """Upper bound of the task's seconds."""
        return self.costs.bound(task, hand, missing=self._unread(task, hand))

    def _unread(self, task: Task, hand: Hand) -> int:
        """How many of the task's samples its worker would have to decode."""
        key = self.costs.key(task)
        kept = self._kept.get(key[0])
        return 0 if hand.samples == key else task.size - int(np.count_nonzero(kept[task.rows]) if kept is not None else 0)

    def keep(self, task: Task) -> bool:
        """Whether the task's decoded images shall stay in scratch: a unit of a later pass wants them, and there is room."""
        spec = self._units[task.unit].input
        images = [part for part in spec.parts if isinstance(part, Input)]
        if not images:  # cells are quickly read again
            return False
        later = any(unit.input.key == spec.key for unit in self._units[max(task.unit + 1, self._pass) : self._usable])
        size = self._unread(task, EMPTY) * sum(image.height * image.width * 3 for image in images)
        if not size or not later or size > self._keep_bytes:
            return False
        self._keep_bytes -= size
        return True

    # What happened

    def finished(self, task: Task, spent: Spent, kept: bool = False, silent: NDArray[np.bool_] | None = None) -> None:
        """The task's result is in place. `silent`: bool (m,), samples without an answer, which cannot go on."""
        self.costs.add(task, spent)
        self._size.succeeded()
        if kept:
            self._kept.setdefault(self._units[task.unit].input.key, np.zeros(self._samples, dtype=bool))[task.rows] = True
        chunk = self._chunks[task.chunk]
        if silent is not None and silent.any():
            self._give_up(chunk.done, int(silent.sum()))
            chunk.rows = chunk.rows[~silent]
        self._at[chunk.done] -= len(chunk.rows)
        chunk.running, chunk.strikes, chunk.done = False, 0, chunk.done + 1
        self._at[chunk.done] += len(chunk.rows)
        chunk.begun = self._waiting is not None and not self._waiting.rests(chunk.done)
        if not len(chunk.rows) or chunk.done >= self._usable:
            del self._chunks[chunk.number]

    def failed(self, task: Task, cause: str) -> bool:
        """The task failed, overran or killed its worker. True when that settled something: who is to blame, or what size is."""
        chunk = self._chunks[task.chunk]
        chunk.running, chunk.strikes, chunk.failed_at = False, chunk.strikes + 1, self._count
        smaller = self._size.failed(chunk.rows)
        if chunk.strikes < STRIKES:
            return smaller
        if len(chunk.rows) > 1:
            self._split(chunk, len(chunk.rows) // 2)
        else:
            self._give_up(chunk.done, 1)
            del self._chunks[chunk.number]
            self.notes.append(f"sample {chunk.rows[0]} skipped at unit {task.unit + 1}: {cause}")
        return True

    def refused(self, task: Task, cause: str) -> None:
        """The unit's model could not be loaded or run; after the second time the plan ends before that unit."""
        self._chunks[task.chunk].running = False
        self._refused[task.unit] += 1
        if self._refused[task.unit] >= STRIKES and task.unit < self._usable:
            self._usable = task.unit
            self.notes.append(f"unit {task.unit + 1} and all after it dropped: {cause}")

    def interrupted(self, task: Task) -> None:
        """The task was stopped by the clock; nobody is to blame."""
        self._chunks[task.chunk].running = False

    def _new(self, rows: Rows, done: int, *, begun: bool = False) -> Chunk:
        self._count += 1
        chunk = self._chunks[self._count] = Chunk(self._count, rows, done, begun=begun)
        return chunk

    def _split(self, chunk: Chunk, size: int) -> Chunk:
        """Two chunks instead of one; the first, with `size` samples, is returned."""
        del self._chunks[chunk.number]
        for rows in (chunk.rows[:size], chunk.rows[size:]):
            self._new(rows, chunk.done, begun=chunk.begun)
        return self._chunks[self._count - 1]

    def _give_up(self, done: int, count: int) -> None:
        self._at[done] -= count
        self._stuck[done] += count

    # How far

    @property
    def complete(self) -> int:
        """Units that every sample has, or will never have."""
        return int(next(iter(np.flatnonzero(self._at[: self._usable])), self._usable))

    def samples_done(self, unit: int) -> int:
        """Samples that have an answer of the unit."""
        return int((self._at + self._stuck)[unit + 1 :].sum())

    def mean_prefix(self) -> float:
        """Units per sample so far."""
        return float((self._at + self._stuck) @ np.arange(len(self._at))) / max(1, self._samples)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do, whatever the time."""
        return self.complete >= self._usable

    @property
    def choosing(self) -> bool:
        """Whether samples already go different ways, by their doubt."""
        return self._waiting is not None and self._waiting.count > 0

    def remaining_s(self) -> float:
        """Seconds of work that are left, by what is known now: on one worker, all units on all samples."""
        return sum(seconds for _, seconds in self._needs())

    def longest_s(self) -> float:
        """Upper bound of the seconds of any single task that is left."""
        units = range(self.complete, self._usable)
        return self._size.now * max((self.costs.each_bound(unit) for unit in units), default=0.0)

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
        first = set(self._first_of.values())
        for index, waiting in enumerate(np.cumsum(self._at[: self._usable]).tolist()):
            yield index, waiting * self.costs.expected(index, decode=index in first) if waiting else 0.0


def _indifferent(rows: Rows, length: int) -> NDArray[np.float64]:  # noqa: ARG001
    return np.zeros(len(rows))
