"""Whose next climb comes first: the arithmetic of a plan's rule of effort.

Expects: the rule (`contract.Effort`) and how doubtful each sample's answers are.
Produces: one priority per sample and climb; the same at home, where rules are tried out, and in the notebook.
Never: knows seconds: what is affordable is the clock's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Effort

    Floats = NDArray[np.floating[Any]]

COMMON = 1e9  # above every gain per second


def doubt(p: Floats) -> Floats:
    """float (rows,), 0 .. 1: 1 minus the largest probability of each row of `p` (rows, classes)."""
    return np.asarray(1.0 - p.max(axis=1))


def priority(effort: Effort, doubts: Floats) -> Floats:
    """float (stops - 1, n): how early each sample's climb to each later stop comes.

    `doubts` is float (stops, n), each sample's doubt at each stop. What it says of a stop must not be asked before the sample is
    there, and is not: a climb comes no earlier than the climbs before it.
    """
    steps = len(effort.stops) - 1
    order = -np.arange(steps, dtype=np.float64)[:, None] + np.clip(doubts[:steps], 0.0, 1.0 - 1e-9)
    if effort.kind == "queue" and steps >= effort.common:
        gain = np.stack([w * np.interp(d, effort.doubts, effort.shape) for w, d in zip(effort.worth, doubts, strict=False)])
        order[: effort.common - 1] += COMMON
        order[effort.common - 1 :] = gain[effort.common - 1 :]
    return np.asarray(np.minimum.accumulate(order, axis=0))
