"""What work costs on this machine: the plan's figures until something was measured, then the measurements.

Expects: the plan's units; what every finished task took.
Produces: the upper bound of a task's seconds, and per unit the figures that the next plan is priced with.
Never: reads the time, or decides anything.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .contract import Unit

    Rows = NDArray[np.int64]

REMEMBERED = 200  # task times per unit, for the upper bound
DOUBT = 1.5  # times the median, or times the plan's own figure
COLD_DECODE_S = 0.05  # per sample, when the plan does not say: a large photo on a slow core takes a few times that


@dataclass(frozen=True)
class Task:
    """One unit on some samples.

    Attributes:
        unit: Its place in the plan, from 0.
        chunk: A number that stands for the samples: tasks of one run with equal numbers work on the same.
        rows: int64 (m,), ascending: the samples.
    """

    unit: int
    chunk: int
    rows: Rows = field(compare=False, repr=False)

    @property
    def size(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Spent:
    """Seconds of a finished task, as its worker measured them.

    Attributes:
        load: The model, when it was not loaded yet.
        decode: Reading the samples; None when an earlier unit had left them.
        predict: All batches.
        other: What the supervisor waited beyond that.
        first: A first batch that was run once more before all others, after loading; 0 when none was.
        decoded: How many samples `decode` was spent on; None: all of them.
    """

    load: float
    decode: float | None
    predict: float
    other: float = 0.0
    first: float = 0.0
    decoded: int | None = None


@dataclass(frozen=True)
class Hand:
    """What a worker has at hand: models that are loaded, and the samples that it decoded last (input key, chunk)."""

    models: tuple[tuple[str, str], ...] = ()
    samples: tuple[str, int] | None = None


@dataclass
class _Times:
    """What tasks of one kind took, per sample; the last ones count."""

    last: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    median: float = 0.0
    upper: float = 0.0

    def add(self, seconds: float) -> None:
        self.last.append(seconds)
        self.median = statistics.median(self.last)
        self.upper = max(*self.last, DOUBT * self.median)


class Costs:
    """The measurements of one run."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._units, self._keys = units, [unit.input.key for unit in units]
        self._predict: dict[int, _Times] = {}
        self._decode: dict[str, _Times] = {}
        self._load: dict[tuple[str, str], float] = {}
        self._first: dict[tuple[str, str], float] = {}
        self._other = _Times()
        self._slowness = 1.0

    def add(self, task: Task, spent: Spent) -> None:
        """A task has finished."""
        unit = self._units[task.unit]
        times = self._predict.setdefault(task.unit, _Times())
        if not times.last or 2 * task.size >= unit.batch:  # a rest of a few samples says nothing about full batches
            times.add(spent.predict / task.size)
        decoded = task.size if spent.decoded is None else spent.decoded
        if spent.decode is not None and decoded:
            self._decode.setdefault(self._keys[task.unit], _Times()).add(spent.decode / decoded)
        for seconds, kept in ((spent.load, self._load), (spent.first, self._first)):
            if seconds > 0:
                kept[model_of(unit)] = max(seconds, kept.get(model_of(unit), 0.0))
        self._other.add(spent.other)
        ratios = [ratio for index in self._predict if (ratio := self.ratio(index)) is not None]
        self._slowness = statistics.median(ratios) if ratios else 1.0

    def bound(self, task: Task, hand: Hand, *, missing: int) -> float:
        """Upper bound of the task's seconds on a worker, when `missing` of its samples do not lie decoded in scratch."""
        decoding = 0.0 if hand.samples == self.key(task) else missing * self.decoding_bound(task.unit)
        return self.fixed_bound([task.unit], hand) + decoding + task.size * self.each_bound(task.unit)

    def fixed_bound(self, units: Sequence[int], hand: Hand) -> float:
        """Upper bound of what tasks of these units take on a worker whatever the number of samples: loading, and talking."""
        asked = {model_of(unit): unit for unit in (self._units[index] for index in units)}
        loads = (self._load.get(model, DOUBT * unit.load_s) for model, unit in asked.items() if model not in hand.models)
        return sum(loads) + len(units) * self._other.upper

    def each_bound(self, unit: int) -> float:
        """Upper bound of a unit's seconds per sample, without decoding."""
        times = self._predict.get(unit)
        return times.upper if times else DOUBT * self._units[unit].seconds * max(1.0, self._slowness)

    def decoding_bound(self, unit: int) -> float:
        """Upper bound of the seconds per sample of decoding for a unit's input."""
        known, planned = self._decode.get(self._keys[unit]), self._units[unit].decode_s
        if known:
            return known.upper
        return DOUBT * planned if planned > 0 else COLD_DECODE_S

    def key(self, task: Task) -> tuple[str, int]:
        """Tasks with equal keys work on the same decoded samples."""
        return self._keys[task.unit], task.chunk

    def expected(self, unit: int, *, decode: bool) -> float:
        """Seconds per sample of a unit, as far as is known: measured, else planned and corrected by this machine's slowness."""
        known, planned = self.seconds(unit), self._units[unit].seconds * self._slowness
        reading = self.decode_seconds(unit)
        reading = self._units[unit].decode_s if reading is None else reading
        return (planned if known is None else known) + (reading if decode else 0.0)

    def slowness(self) -> float:
        """How many times slower this machine is than the plan thought; 1 until something was measured."""
        return self._slowness

    def ratio(self, unit: int) -> float | None:
        """How many times slower a unit is than the plan thought; None when it has not run, or the plan does not say."""
        seconds = self.seconds(unit)
        return seconds / self._units[unit].seconds if seconds is not None and self._units[unit].seconds > 0 else None

    def seconds(self, unit: int) -> float | None:
        """Median seconds per sample of a unit, without decoding; None when it has not run."""
        return self._predict[unit].median if unit in self._predict else None

    def p99(self, unit: int) -> float | None:
        """The seconds per sample that 99 % of a unit's tasks stay within."""
        if unit not in self._predict:
            return None
        ordered = sorted(self._predict[unit].last)
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    def decode_seconds(self, unit: int) -> float | None:
        """Median seconds per sample of decoding for a unit's input."""
        times = self._decode.get(self._keys[unit])
        return times.median if times else None

    def decoding(self) -> dict[str, float]:
        """Median seconds per sample of decoding, by input key."""
        return {key: times.median for key, times in self._decode.items()}

    def load_seconds(self, unit: int) -> float | None:
        """Longest time that loading a unit's model took."""
        return self._load.get(model_of(self._units[unit]))

    def first_seconds(self, unit: int) -> float | None:
        """Longest time that a first batch of a unit's model took, after it was loaded."""
        return self._first.get(model_of(self._units[unit]))


def model_of(unit: Unit) -> tuple[str, str]:
    """What a worker has to load for a unit; units of several views share it."""
    return unit.dataset, unit.file
