"""Why each family is in the plan or not, in words and numbers.

Pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.course import Told
from builder.plan.judge import Judge
from builder.plan.lanes import Lane
from builder.plan.prices import Family

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]


def explain(families: Sequence[Family], lane: Lane, judge: Judge, rows: int) -> tuple[Told, ...]:
    """A sentence for each family: its score alone, its correlation with the rest, what it wins, what it costs."""
    y, metric, ground = judge.ground.y, judge.metric, judge.ground
    held, useful = lane.holdings[-1], lane.holdings[int(np.argmin(lane.losses))]
    used = frozenset(f for f, count in enumerate(held) if count)
    alone = [metric(y, p) for p in ground.oof]
    goodness = np.array([metric.gain(score, 0.0) for score in alone])
    weak = goodness < goodness.max() - 0.5 * np.ptp(goodness)
    with_all = metric(y, ground.answers(used))
    told = []
    for f, family in enumerate(families):
        rest = (used - {f} and used) or frozenset(range(len(families)))
        rho = _correlation(ground.oof[f], ground.without(rest, f), y) if len(rest) > 1 else 1.0
        if held[f]:
            gain = metric.gain(with_all, metric(y, ground.without(used, f))) if len(used) > 1 else 0.0
        else:
            gain = metric.gain(metric(y, ground.answers(used | {f})), with_all)
        folds = held[f] or len(family.folds)
        seconds = folds * (family.seconds * rows + family.fixed)
        kept = f"kept ({held[f]} of {len(family.folds)} folds" + ("" if useful[f] else ", for seconds to spare") + ")"
        verdict = (("weak but " if weak[f] else "") + kept) if held[f] else ("weak, " if weak[f] else "") + "dropped"
        text = f"{verdict}: {metric.name} {alone[f]:.4f} alone, rho {rho:.2f}, {gain:+.4f} for {seconds:.4g} s"
        told.append(Told(family.name, held[f], alone[f], rho, gain, seconds, text))
    return tuple(told)


def _correlation(one: Floats, other: Floats, y: NDArray[np.int64]) -> float:
    """Pearson's, of the probability that each gives to the true class."""
    rows = np.arange(len(y))
    a, b = one[rows, y], other[rows, y]
    if a.std() == 0 or b.std() == 0:
        return 1.0
    return float(np.corrcoef(a, b)[0, 1])
