"""The run itself: tasks from an order to the workers, results back, under the clock.

Expects: an order (schedule.py for the run, probe.py for its probe), a pool, a clock, and a function that fetches a finished
    task's answers.
Produces: per unit float32 (samples, outputs), NaN where there is no answer; what happened, for run.json.
Never: starts what may not fit, waits without a bound, or stops for a dead worker while another lives.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .costs import Hand, Spent, Task, model_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .clock import Clock
    from .contract import Plan
    from .costs import Costs
    from .pool import Event, Slot

LIVES = 2  # of a slot, in a row, without finishing anything
TOLD = 20  # causes that are kept of each kind


class Workers(Protocol):
    """What the engine needs of a pool; tests play machines with it."""

    slots: list[Slot]

    def start(self, slot: Slot) -> None: ...

    def send(self, slot: Slot, message: Mapping[str, Any]) -> None: ...

    def wait(self, seconds: float) -> Event | None: ...

    def stop(self, slot: Slot, *, dead: bool = False) -> str: ...


class Order(Protocol):
    """What the engine asks for the next task, and tells how the last one went."""

    costs: Costs

    def next(self, left: float, hand: Hand) -> Task | None: ...

    def bound(self, task: Task, hand: Hand) -> float: ...

    def keep(self, task: Task) -> bool: ...

    def finished(self, task: Task, spent: Spent, kept: bool, silent: NDArray[np.bool_]) -> None: ...

    def failed(self, task: Task, cause: str) -> bool: ...

    def refused(self, task: Task, cause: str) -> None: ...

    def interrupted(self, task: Task) -> None: ...

    @property
    def over(self) -> bool: ...


@dataclass(frozen=True)
class Patience:
    """How long the engine waits for silence, in seconds.

    Attributes:
        start: For a worker to come up.
        stall: For a task, at least; more when `factor` times its upper bound is more.
        factor: See above.
        turn: Between two looks at everything, when no worker says anything.
    """

    start: float = 180.0
    stall: float = 60.0
    factor: float = 20.0
    turn: float = 5.0


@dataclass(frozen=True)
class _Work:
    task: Task
    kept: bool
    limit: float
    began: float


class Engine:
    """One run. `run` returns when nothing more can be done in time."""

    def __init__(
        self,
        plan: Plan,
        samples: int,
        order: Order,
        workers: Workers,
        clock: Clock,
        fetch: Callable[[Task], NDArray[np.float32]],
        patience: Patience | None = None,
        *,
        warm: bool = False,
    ) -> None:
        """`warm`: workers run the first batch twice after loading a model, so that the price of a batch is known without it."""
        self._plan, self._order, self._workers, self._clock = plan, order, workers, clock
        self._fetch, self._patience, self._warm = fetch, patience or Patience(), warm
        shape = (samples, len(plan.answer.classes))
        # The arrays of units that never run cost nothing: pages that are not written do not exist.
        self.predictions = [np.full(shape, np.nan, dtype=np.float32) if index == 0 else None for index in range(len(plan.units))]
        self._shape = shape
        self._futile = 0
        self._number = 0
        self.bad: dict[int, str] = {}
        self.bad_counts: Counter[int] = Counter()
        self.not_finite: Counter[int] = Counter()
        self.events: list[str] = []
        self.spans: dict[int, tuple[float, float, float]] = {}  # of a unit: first start, last end, seconds of workers
        self.peak_mb: dict[int, float] = {}
        self.accelerators: dict[int, str] = {}
        self.versions: dict[str, str] = {}

    def run(self, on_turn: Callable[[], None]) -> None:
        """Work until all is done or nothing fits any more; call `on_turn` whenever something may have happened."""
        for slot in self._workers.slots:
            self._start(slot)
        while self._clock.left() > 0 and not self._order.over:
            asked = self._dispatch()
            busy = any(slot.state == "busy" for slot in self._workers.slots)
            coming = any(slot.state == "starting" for slot in self._workers.slots)
            if not busy and (asked or not coming):
                break
            self._handle(self._workers.wait(self._until()))
            self._watch()
            on_turn()
        for slot in self._workers.slots:
            if slot.state == "busy":
                self._note(f"unit {slot.work.task.unit + 1} on samples {_range(slot.work.task)} stopped by the clock")
                self._order.interrupted(slot.work.task)
                self._workers.stop(slot)
        on_turn()

    def arrays(self) -> list[NDArray[np.float32]]:
        """Per unit float32 (samples, outputs); units that never ran are all NaN (and share one array)."""
        empty: NDArray[np.float32] = np.full(self._shape, np.nan, dtype=np.float32)
        return [empty if values is None else values for values in self.predictions]

    def _dispatch(self) -> bool:
        """Give every idle worker a task. True when there was an idle worker to ask for."""
        idle = [slot for slot in self._workers.slots if slot.state == "idle"]
        for slot in idle:
            hand = Hand(tuple(slot.resident), slot.samples)
            task = self._order.next(self._clock.left(), hand)
            if task is None:
                continue
            limit = max(self._patience.stall, self._patience.factor * self._order.bound(task, hand))
            kept = self._order.keep(task)
            self._number += 1
            slot.work = _Work(task, kept, limit, self._clock.now())
            slot.since = slot.work.began
            self._workers.send(
                slot,
                {
                    "task": self._number,
                    "unit": task.unit,
                    "chunk": task.chunk,
                    "rows": task.rows.tolist(),
                    "keep": kept,
                    "warm": self._warm,
                },
            )
        return bool(idle)

    def _until(self) -> float:
        """Seconds until something must be looked at even if no worker says anything."""
        now = self._clock.now()
        waits = [self._clock.left(), self._patience.turn]
        for slot in self._workers.slots:
            if slot.state == "busy":
                waits.append(slot.work.began + slot.work.limit - now)
            elif slot.state == "starting":
                waits.append(slot.since + self._patience.start - now)
        return max(0.01, min(waits))

    def _handle(self, event: Event | None) -> None:
        if event is None:
            return
        slot, message = event.slot, event.message
        if message is None:
            self._lost(slot, "died", dead=True)
        elif message.get("ready"):
            slot.state, slot.unborn = "idle", 0
            self.versions = dict(message.get("versions", {}))
        elif slot.state == "busy":
            self._answered(slot, message)

    def _answered(self, slot: Slot, message: dict[str, Any]) -> None:
        work, slot.work, slot.state = slot.work, None, "idle"
        task = work.task
        cause = str(message.get("cause", ""))
        if message.get("ok"):
            cause = self._collect(slot, work, message)
            if not cause:
                return
        what = f"unit {task.unit + 1} on samples {_range(task)} failed: {cause}"
        self._note(what)
        if message.get("kind") == "model":
            self._order.refused(task, cause)
        else:
            self._order.failed(task, cause)
            self._give_up_if_futile()

    def _collect(self, slot: Slot, work: _Work, message: dict[str, Any]) -> str:
        """Take over a finished task's result. Returns why it cannot be, or an empty text."""
        task = work.task
        try:
            values = self._fetch(task)
        except (OSError, ValueError) as error:
            return f"result: {type(error).__name__}: {error}"
        if values.shape != (task.size, self._shape[1]):
            return f"result has shape {values.shape}, expected {(task.size, self._shape[1])}"
        target = self.predictions[task.unit]
        if target is None:
            target = self.predictions[task.unit] = np.full(self._shape, np.nan, dtype=np.float32)
        target[task.rows] = values
        seconds = message["seconds"]
        other = max(0.0, self._clock.now() - work.began - sum(each or 0.0 for each in seconds.values()))
        spent = Spent(**seconds, other=other, decoded=message.get("decoded"))
        self._order.finished(task, spent, work.kept, np.asarray(~np.isfinite(values).all(axis=1)))
        self._timed(task.unit, work.began - self._clock.start)
        unit = self._plan.units[task.unit]
        slot.samples = self._order.costs.key(task)
        if model_of(unit) not in slot.resident:
            slot.resident[:] = [*slot.resident, model_of(unit)][-message["resident"] :]
        self._futile = slot.futile = 0
        for row, cause in message["bad"]:
            if len(self.bad) < TOLD:
                self.bad.setdefault(row, f"unit {task.unit + 1}: {cause}")
        self.bad_counts[task.unit] += message["bad_count"]
        self.not_finite[task.unit] += message["not_finite"]
        self.peak_mb[task.unit] = max(self.peak_mb.get(task.unit, 0.0), message["peak_mb"])
        self.accelerators[task.unit] = message["accelerator"]
        return ""

    def _timed(self, unit: int, began: float) -> None:
        end = self._clock.spent()
        first, last, busy = self.spans.get(unit, (began, end, 0.0))
        self.spans[unit] = min(first, began), max(last, end), busy + end - began

    def _watch(self) -> None:
        """Kill what overruns."""
        now = self._clock.now()
        for slot in self._workers.slots:
            if slot.state == "busy" and now - slot.work.began > slot.work.limit:
                self._lost(slot, f"did not answer within {slot.work.limit:.1f} s")
            elif slot.state == "starting" and now - slot.since > self._patience.start:
                self._lost(slot, f"did not start within {self._patience.start:.1f} s")

    def _lost(self, slot: Slot, why: str, *, dead: bool = False) -> None:
        """A worker is gone: blame its task, and start another life unless lives have become futile."""
        work = slot.work if slot.state == "busy" else None
        slot.unborn += slot.state == "starting"
        end = self._workers.stop(slot, dead=dead)
        doing = f" at unit {work.task.unit + 1} on samples {_range(work.task)}" if work else ""
        self._note(f"worker {slot.number} {why}{doing} ({end})")
        settled = self._order.failed(work.task, f"worker {why} ({end})") if work else False
        # Having found out which samples are to blame is progress too; it is bounded by their number and by `_futile`.
        slot.futile = 0 if settled else slot.futile + 1
        # The last worker that comes up at all is not given up so soon: without it the rest of the time would be lost.
        last = all(other.state == "retired" for other in self._workers.slots) and slot.unborn < LIVES
        if slot.futile >= LIVES and not last:
            self._note(f"worker {slot.number} retired after {LIVES} lives without progress")
        elif not self._give_up_if_futile():
            self._start(slot)

    def _give_up_if_futile(self) -> bool:
        """After many failures in a row, anywhere, the fault is not in a sample: retire all idle and future workers."""
        self._futile += 1
        if self._futile <= 4 * len(self._workers.slots) + 12:
            return False
        for slot in self._workers.slots:
            if slot.state in {"idle", "starting"}:
                self._workers.stop(slot)
        self._note(f"gave up after {self._futile} failures in a row")
        return True

    def _start(self, slot: Slot) -> None:
        self._workers.start(slot)
        slot.since = self._clock.now()

    def _note(self, text: str) -> None:
        if len(self.events) < 10 * TOLD:
            self.events.append(f"{self._clock.spent():.1f} s: {text}")


def _range(task: Task) -> str:
    first, last = int(task.rows[0]), int(task.rows[-1])
    return f"{first}..{last}" if last - first < task.size else f"{first}..{last} ({task.size} of them)"
