"""What people do by hand: the best models first, all their folds, equal weights, until the time is over.

Pure numpy. It is drawn beside the plan, and the plan has to beat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.course import Evidence, Point
from builder.plan.prices import Family, Prices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]


def best_first(evidence: Evidence, metric: Metric) -> list[int]:
    """Families by their own score, the best first; ones that cannot be scored last."""
    scores = [metric.or_none(evidence.y, p) for p in evidence.oof]
    gains = [float("-inf") if score is None else metric.gain(score, 0.0) for score in scores]
    return sorted(range(len(gains)), key=lambda f: (-gains[f], f))


def fitting(families: Sequence[Family], order: Sequence[int], budget_s: float, rows: int) -> list[int]:
    """The families of the list that fit whole, with all their folds for all rows; what does not fit is skipped."""
    prices, held = Prices.of_families(families, rows), [0] * len(families)
    chosen: list[int] = []
    for family in order:
        trial = [len(families[f].folds) if f == family else count for f, count in enumerate(held)]
        if prices.of(trial) * rows <= budget_s:
            held, chosen = trial, [*chosen, family]
    return chosen


def points(
    families: Sequence[Family], evidence: Evidence, metric: Metric, budgets: Sequence[float], rows: int
) -> tuple[Point, ...]:
    """The list's out-of-fold score at each budget at which anything fits. Its intervals are not known."""
    order, found = best_first(evidence, metric), []
    for budget in budgets:
        if chosen := fitting(families, order, budget, rows):
            score = metric(evidence.y, evidence.oof[chosen].mean(axis=0))
            found.append(Point(budget, score, float("nan"), float("nan")))
    return tuple(found)
