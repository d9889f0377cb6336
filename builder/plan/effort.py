"""A rule of effort played with exact prices: whom a budget takes how far.

Pure numpy. The rule itself, and whose climb comes first by it, travel: `runtime/effort.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Spent:
    """What a budget bought: each sample's stop int (n,), -1 for none, and the seconds it took."""

    stops: Codes
    seconds: float


def spend(priority: Floats, per_sample: Floats, fixed: Floats, budget: float) -> Spent:
    """Play a rule with exact prices.

    Args:
        priority: float (stops - 1, n), from `runtime.effort.priority`.
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
