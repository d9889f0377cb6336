"""Who gets how much: the rule by which seconds are spent on samples, as data and as arithmetic.

Pure numpy. Every sample climbs the same *stops* (lengths of prefixes); the rule says whose next climb comes first. Ranks, never
thresholds: a threshold that was tuned at home overspends on other data, a rank spends exactly what there is.

    static  everybody reaches a stop before anybody goes on; the most doubtful first
    tiers   the same with few stops: a low prefix for all, a high one for the doubtful
    queue   by predicted gain per second, whatever the stop

A sample's doubt at a stop is 1 minus the largest probability of its answer there, in 0 .. 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

KINDS = ("static", "tiers", "queue")


@dataclass(frozen=True)
class Effort:
    """The rule.

    Attributes:
        kind: `static`, `tiers` or `queue`.
        stops: Lengths of the prefixes at which a sample may stay, ascending.
        common: How many of the stops every sample reaches before any sample goes further.
        worth: Of a queue, per stop after the first: predicted gain per second of climbing to it, on average over samples.
        doubts, shape: Of a queue: a sample with `doubts[i]` gains `shape[i]` times the average; linear in between.
    """

    kind: str
    stops: tuple[int, ...]
    common: int = 1
    worth: tuple[float, ...] = ()
    doubts: tuple[float, ...] = ()
    shape: tuple[float, ...] = ()

    def priority(self, doubt: Floats) -> Floats:
        """float (stops - 1, n): how early each sample's climb to each later stop comes, from its doubt at the stop before.

        `doubt` is float (stops, n); what it says of a stop must not be asked before the sample is there, and is not: a climb
        comes no earlier than the climbs before it.
        """
        steps = len(self.stops) - 1
        order = -np.arange(steps, dtype=np.float64)[:, None] + np.clip(doubt[:steps], 0.0, 1.0 - 1e-9)
        if self.kind == "queue" and steps >= self.common:
            gain = np.stack([w * np.interp(d, self.doubts, self.shape) for w, d in zip(self.worth, doubt, strict=False)])
            order[: self.common - 1] += 1e9
            order[self.common - 1 :] = gain[self.common - 1 :]
        return np.asarray(np.minimum.accumulate(order, axis=0))


@dataclass(frozen=True)
class Spent:
    """What a budget bought: each sample's stop int (n,), -1 for none, and the seconds it took."""

    stops: Codes
    seconds: float


def spend(priority: Floats, per_sample: Floats, fixed: Floats, budget: float) -> Spent:
    """Play a rule with exact prices.

    Args:
        priority: float (stops - 1, n), from `Effort.priority`.
        per_sample: float (stops,): seconds per sample of climbing to each stop from the one before.
        fixed: float (stops,): seconds that are paid once, when the first sample climbs there.
        budget: Seconds in all.

    Never overspends. The first stop comes before all others, in the order of rows.
    """
    n = priority.shape[1]
    reached = np.full(n, -1, dtype=np.int64)
    first = min(n, max(0, int((budget - fixed[0]) / per_sample[0] + 1e-9))) if budget > fixed[0] else 0
    while first and fixed[0] + first * per_sample[0] > budget:
        first -= 1
    reached[:first] = 0
    seconds = float(fixed[0] + first * per_sample[0]) if first else 0.0
    if first < n or not len(priority):
        return Spent(reached, seconds)
    steps, rows = np.divmod(np.argsort(-priority, axis=None, kind="stable"), n)
    paid = np.zeros(len(per_sample), dtype=bool)
    while len(steps):
        first_of = np.unique(steps, return_index=True)
        cost = per_sample[steps + 1].astype(np.float64)
        cost[first_of[1]] += np.where(paid[first_of[0] + 1], 0.0, fixed[first_of[0] + 1])
        total = seconds + np.cumsum(cost)
        fits = int(np.searchsorted(total, budget, side="right"))
        if fits:
            np.maximum.at(reached, rows[:fits], steps[:fits] + 1)
            paid[np.unique(steps[:fits]) + 1] = True
            seconds = float(total[fits - 1])
        if fits == len(steps):
            break
        dear, steps, rows = steps[fits], steps[fits:], rows[fits:]  # nobody else can pay for this step; who has it may go on
        keep = (steps < dear) | ((steps > dear) & (reached[rows] > dear))
        steps, rows = steps[keep], rows[keep]
    return Spent(reached, seconds)
