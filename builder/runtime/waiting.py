"""Samples that rest at a stop, waiting for their next climb, and whose comes first.

Expects: a plan's rule of effort, and the doubt that each sample's answer leaves at the stop where it rests.
Produces: the climbs that somebody waits for, the most urgent first, and for each the samples that come first.
Never: knows the time. What is affordable is the schedule's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .effort import unabridged, urgency

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .contract import Effort

    Floats = NDArray[np.floating[Any]]
    Rows = NDArray[np.int64]
    Doubts = Callable[[Rows, int], Floats]


class Waiting:
    """The samples of one run that wait for a climb."""

    def __init__(self, effort: Effort, units: int, samples: int, doubts: Doubts) -> None:
        """`doubts`: how doubtful the answers of some samples are, float (m,), when they are answered with a prefix length."""
        self.effort = unabridged(effort, units)
        self.stops = self.effort.stops
        self.common = self.stops[self.effort.common - 1]
        self._step = {stop: step for step, stop in enumerate(self.stops)}
        self._doubts = doubts
        self._at = np.full(samples, -1, dtype=np.int64)  # the stop where each sample waits, as an index; -1: it does not wait
        self._urgency = np.full(samples, np.inf)  # of the last climb that each sample waited for
        self.count = 0

    def rests(self, done: int) -> bool:
        """Whether a prefix of this length is a stop."""
        return done in self._step

    def goal(self, done: int) -> int:
        """Where the climb ends on which a sample with `done` units is, or which it begins."""
        return next((stop for stop in self.stops if stop > done), self.stops[-1])

    def add(self, rows: Rows, done: int) -> None:
        """Samples have come to rest at `done` units, which is a stop."""
        step = self._step[done]
        found = urgency(self.effort, step, np.nan_to_num(self._doubts(rows, done), nan=0.0))
        self._urgency[rows] = np.minimum(found, self._urgency[rows])  # a climb comes no earlier than the climbs before it
        self._at[rows] = step
        self.count += len(rows)

    def remove(self, rows: Rows) -> None:
        """These go on."""
        self._at[rows] = -1
        self.count -= len(rows)

    def climbs(self, size: int, batch: int, seconds: Callable[[int], tuple[float, float]]) -> list[tuple[int, Rows]]:
        """Units done and, most urgent first, at most `size` samples, for each climb that somebody waits for, best first.

        `seconds` tells, from the units done, what the climb takes once (models to load) and per sample. By gain per second what
        counts is the gain of the whole task: models cost what they cost, and a part of a batch costs as much as a batch.
        """
        found = []
        for step in np.flatnonzero(np.bincount(self._at + 1)[1:]).tolist():
            first = self._first(step, size)
            urgent = self._urgency[first]
            value = float(urgent[0])
            if self.effort.kind == "queue":
                fixed, each = seconds(self.stops[step])
                paid = fixed + each * max(len(first), batch)
                value = float(urgent.sum()) * (each / paid if paid > 0 else 1 / max(len(first), batch))
            found.append((value, self.stops[step], first))
        found.sort(key=lambda climb: (-climb[0], climb[1]))
        return [(done, rows) for _, done, rows in found]

    def _first(self, step: int, size: int) -> Rows:
        """The samples of a step that come first; equal ones by their number."""
        rows = np.flatnonzero(self._at == step)
        ahead = -self._urgency[rows]
        if len(rows) > 2 * size:
            bar = np.partition(ahead, size)[size]
            keep = ahead <= bar
            rows, ahead = rows[keep], ahead[keep]
        return np.asarray(rows[np.argsort(ahead, kind="stable")[:size]])
