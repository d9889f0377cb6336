"""The probe of a commit run: training rows whose answers are known from home, predicted before anything else.

Expects: the plan's probes (`contract.Probe`), models that are attached; nothing of it in a rerun.
Produces: per unit the largest difference from home, and what this machine takes for a sample, a load, a first batch; notes on
    what could not be probed. A wrong normalisation, another preprocessing library, a slow backend end here, not in a score.
Never: takes more than a small share of the time, touches the submission, or fails for rows that it cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import devices, launch, machine, probe_rows
from .clock import Clock
from .costs import Costs, Hand, Task
from .engine import Engine
from .heads import IDENTITY, apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract import Unit
    from .costs import Spent
    from .probe_rows import Rows
    from .state import State

SHARE = 0.1  # of the run's limit
SLOW = 3.0  # times the planned seconds
TRIES = 2
EMPTY = Hand()
TOLD = 5
CAUSES = (
    "wrong normalisation or colour order; another preprocessing library, or version of it, than at home; "
    "another precision or backend than the one that was compared"
)


@dataclass(frozen=True)
class Probed:
    """What a probe found.

    Attributes:
        probes: Per unit that was compared: member, fold, view, rows, max_abs_diff, limit, ok.
        prices: Per unit that ran: what it took here.
        decode: Seconds per sample to read and decode, by input key.
        machine: What it ran on.
        notes: What was not probed, and what is slow.
        numbers: Whether there are numbers among the answers; their differences are in units of their spread.
    """

    probes: tuple[Mapping[str, Any], ...] = ()
    prices: tuple[Mapping[str, Any], ...] = ()
    decode: Mapping[str, float] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbers: bool = False

    @property
    def fault(self) -> str:
        """Why this run must not go on; empty when all units agree with home."""
        bad = [entry for entry in self.probes if not entry["ok"]]
        if not bad:
            return ""
        worst = max(bad, key=lambda entry: entry["max_abs_diff"])
        units = ", ".join(_name(entry) for entry in bad[:TOLD]) + (f" and {len(bad) - TOLD} more" if len(bad) > TOLD else "")
        what = "answers" if self.numbers else "probabilities"
        return (
            f"this machine gives other {what} than home for {len(bad)} of {len(self.probes)} units ({units}): in "
            f"{_name(worst)} one differs by {worst['max_abs_diff']:.3g} on {worst['rows']} training rows, at most "
            f"{worst['limit']:.3g} is allowed. Likely causes: {CAUSES}. Nothing was submitted"
        )


class ProbeOrder:
    """Every unit on the probe rows of its own fold, in the plan's order, one batch at a time."""

    def __init__(self, units: Sequence[Unit], rows: Rows) -> None:
        self._units = units
        self.costs = Costs(units)
        self._chunks: dict[tuple[int, int], int] = {}
        self.waiting = [task for index, unit in enumerate(units) for task in self._batches(index, unit, rows)]
        self.done: list[Task] = []
        self.notes: list[str] = []
        self._running: set[Task] = set()
        self._kept: set[tuple[str, int]] = set()
        self._failures: dict[Task, int] = {}

    def next(self, left: float, hand: Hand = EMPTY) -> Task | None:
        """The first waiting batch, when its upper bound fits: what comes after it is not more important."""
        if not self.waiting or self.bound(self.waiting[0], hand) > left:
            return None
        task = self.waiting.pop(0)
        self._running.add(task)
        return task

    def bound(self, task: Task, hand: Hand = EMPTY) -> float:
        """Upper bound of the batch's seconds."""
        key = self.costs.key(task)
        return self.costs.bound(task, hand, missing=0 if key in self._kept or hand.samples == key else task.size)

    def keep(self, task: Task) -> bool:
        """Whether another view wants the same rows later."""
        return (
            any(self.costs.key(other) == self.costs.key(task) for other in self.waiting)
            and self.costs.key(task) not in self._kept
        )

    def finished(self, task: Task, spent: Spent, kept: bool = False, silent: NDArray[np.bool_] | None = None) -> None:  # noqa: ARG002
        """The batch's result is in place; rows without an answer are compared with home by their other units."""
        self._running.discard(task)
        self.costs.add(task, spent)
        self.done.append(task)
        if kept:
            self._kept.add(self.costs.key(task))

    def failed(self, task: Task, cause: str) -> bool:
        """The batch failed; it is tried once more, last of all. True when it is given up."""
        self._running.discard(task)
        self._failures[task] = self._failures.get(task, 0) + 1
        if self._failures[task] < TRIES:
            self.waiting.append(task)
            return False
        self.notes.append(f"unit {task.unit + 1} was not probed on {task.size} rows: {cause}")
        return True

    def refused(self, task: Task, cause: str) -> None:
        """The unit's model cannot be used; the run itself finds that out, too, and says what it means."""
        self._running.discard(task)
        self.waiting = [other for other in self.waiting if other.unit != task.unit]
        self.notes.append(f"unit {task.unit + 1} was not probed: {cause}")

    def interrupted(self, task: Task) -> None:
        """The batch was stopped by the clock."""
        self._running.discard(task)
        self.waiting.append(task)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not self.waiting and not self._running

    def _batches(self, index: int, unit: Unit, rows: Rows) -> Iterator[Task]:
        start, stop = rows.span(unit)
        for at in range(start, stop, unit.batch):
            span = at, min(at + unit.batch, stop)
            yield Task(index, self._chunks.setdefault(span, len(self._chunks)), np.arange(*span))


def run(state: State) -> Probed:
    """Probe all units, as far as that is possible within a share of the time."""
    rows = probe_rows.read(state)
    order = ProbeOrder(state.plan.units, rows)
    if not order.waiting:
        return Probed(machine=machine.describe(), notes=rows.notes)
    clock, settings = state.clock, state.settings
    limit = min(clock.limit - clock.reserve, clock.spent() + SHARE * clock.limit)
    count, tasks = len(rows.cells), len(order.waiting)
    chosen = devices.choose(state.plan.accelerator, count, tasks, settings.threads, settings.workers)
    folder = state.scratch / "probe"
    folder.mkdir()
    state.log(f"{clock.spent():8.1f} s  probing {len(state.plan.units)} units on {count} training rows")
    pool = launch.workers(state, chosen, folder, *rows.samples(state))
    bounded = Clock(limit, 0.0, clock.start, clock.now)
    engine = Engine(state.plan, count, order, pool, bounded, launch.fetcher(folder), launch.patience(state), warm=True)
    try:
        engine.run(lambda: None)
    finally:
        pool.close()
    return _probed(state, rows, order, engine)


def _probed(state: State, rows: Rows, order: ProbeOrder, engine: Engine) -> Probed:
    units = state.plan.units
    probes = [entry for index in range(len(units)) if (entry := _compared(units[index], index, rows, order, engine))]
    prices = tuple(_price(unit, index, order.costs, engine) for index, unit in enumerate(units) if order.costs.seconds(index))
    notes = [
        *rows.notes,
        *_unread(order, engine),
        *order.notes[:TOLD],
        *_left_out(units, rows, order),
        *_slow(units, order.costs),
    ]
    notes += [f"probe: {event}" for event in engine.events if "worker" in event][:TOLD]
    decode = order.costs.decoding() if state.hooks.load is None else {}  # a hook's loading is part of its unit's seconds
    numbers = any(head.link == IDENTITY for head in rows.heads)
    return Probed(tuple(probes), prices, decode, machine.describe(), tuple(notes), numbers)


def _compared(unit: Unit, index: int, rows: Rows, order: ProbeOrder, engine: Engine) -> dict[str, Any] | None:
    """The entry of a unit in run.json; None when no row of it could be compared."""
    found = engine.predictions[index]
    seen = sorted(row for task in order.done if task.unit == index for row in task.rows.tolist())
    if found is None or not seen:
        return None
    difference = apart(rows.expected(unit)[seen], found[seen], rows.heads).max(axis=1)
    known = difference[np.isfinite(difference)]
    # An answer that is no number differs from every number as much as two probabilities can.
    largest = 1.0 if engine.not_finite[index] else float(known.max(initial=0.0))
    count, limit = len(known) + engine.not_finite[index], rows.limit(unit)
    entry = {"member": unit.member, "fold": unit.fold, "view": unit.view, "rows": count}
    return {**entry, "max_abs_diff": largest, "limit": limit, "ok": largest <= limit} if count else None


def _price(unit: Unit, index: int, costs: Costs, engine: Engine) -> dict[str, Any]:
    return {
        "member": unit.member,
        "fold": unit.fold,
        "view": unit.view,
        "file": unit.file,
        "backend": unit.backend,
        "batch": unit.batch,
        "accelerator": engine.accelerators.get(index),
        "seconds_per_sample": costs.seconds(index),
        "p99_s": costs.p99(index),
        "load_s": costs.load_seconds(index),
        "first_batch_s": costs.first_seconds(index),
        "peak_mb": engine.peak_mb.get(index),
    }


def _unread(order: ProbeOrder, engine: Engine) -> list[str]:
    """Rows that could not be read, with the first cause."""
    counts = {unit: count for unit, bad in engine.bad_counts.items() if (count := bad - engine.not_finite[unit])}
    if not counts:
        return []
    cause = next(iter(engine.bad.values()), "unknown")
    return [f"probe: {sum(counts.values())} of {sum(t.size for t in order.done)} rows could not be read; first: {cause}"]


def _left_out(units: Sequence[Unit], rows: Rows, order: ProbeOrder) -> list[str]:
    """What was not probed: no rows, or no time."""
    silent = [index + 1 for index, unit in enumerate(units) if rows.span(unit) == (0, 0)]
    late = sorted({task.unit + 1 for task in order.waiting})
    notes = [f"probe: there are no rows for unit {_list(silent)}"] if silent else []
    return notes + ([f"probe: its {SHARE:.0%} of the time did not suffice for unit {_list(late)}"] if late else [])


def _slow(units: Sequence[Unit], costs: Costs) -> list[str]:
    """What takes much longer than planned."""
    ratios = {index + 1: ratio for index in range(len(units)) if (ratio := costs.ratio(index)) is not None and ratio > SLOW}
    if not ratios:
        return []
    low, high = min(ratios.values()), max(ratios.values())
    times = f"{low:.1f}x" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f}x to {high:.1f}x"
    subject = f"unit {_list(sorted(ratios))} takes" if len(ratios) == 1 else f"units {_list(sorted(ratios))} take"
    return [f"{subject} {times} the planned time: slow backend, or another machine"]


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:TOLD])) + (f" and {len(numbers) - TOLD} more" if len(numbers) > TOLD else "")


def _name(entry: Mapping[str, Any]) -> str:
    return f"{entry['member']} fold {entry['fold']} {entry['view']}"
