"""Why each family is in the plan or not, in words and numbers.

Pure numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from builder.plan.course import Told
from builder.plan.judge import Judge
from builder.plan.lanes import Lane
from builder.plan.prices import Family
from builder.plan.subsets import Subset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]


class Rows(Protocol):
    """Rows that families and their blends are judged on."""

    @property
    def oof(self) -> Floats:
        """float (families, rows, outputs)."""

    def answers(self, subset: Subset) -> Floats:
        """float (rows, outputs): the cross-fitted blend of some families."""

    def without(self, subset: Subset, family: int) -> Floats:
        """The same without one of them."""


def explain(families: Sequence[Family], lane: Lane, judge: Judge, rows: int) -> tuple[Told, ...]:
    """A sentence for each family of a plan for one class per row, the probability of which tells how right an answer is."""
    y, metric = judge.ground.y, judge.metric
    held, useful = lane.holdings[-1], lane.holdings[int(np.argmin(lane.losses))]
    every = np.arange(len(y))
    marks = Marks(metric, lambda p: metric(y, p), lambda p: p[every, y])
    return tell(families, held, useful, judge.ground, marks, rows)


@dataclass(frozen=True)
class Marks:
    """How answers float (rows, outputs) are judged: the score of all, NaN where there is none, and how right or wrong each is."""

    metric: Metric
    score: Callable[[Floats], float]
    each: Callable[[Floats], Floats]


def tell(
    families: Sequence[Family], held: Sequence[int], useful: Sequence[int], ground: Rows, marks: Marks, rows: int
) -> tuple[Told, ...]:
    """A sentence for each family: its score alone, its correlation with the rest, what it wins, what it costs.

    `held` are its folds in the plan, `useful` those in the part of it that is predicted to win something.
    """
    metric, score = marks.metric, marks.score
    used = frozenset(f for f, count in enumerate(held) if count)
    alone = [score(p) for p in ground.oof]
    goodness = np.array([metric.gain(one, 0.0) for one in alone])
    weak = goodness < goodness.max() - 0.5 * np.ptp(goodness)
    with_all = score(ground.answers(used))
    told = []
    for f, family in enumerate(families):
        rest = (used - {f} and used) or frozenset(range(len(families)))
        rho = _correlation(marks.each(ground.oof[f]), marks.each(ground.without(rest, f))) if len(rest) > 1 else 1.0
        if held[f]:
            gain = metric.gain(with_all, score(ground.without(used, f))) if len(used) > 1 else 0.0
        else:
            gain = metric.gain(score(ground.answers(used | {f})), with_all)
        folds = held[f] or len(family.folds)
        seconds = folds * (family.seconds * rows + family.fixed)
        kept = f"kept ({held[f]} of {len(family.folds)} folds" + ("" if useful[f] else ", for seconds to spare") + ")"
        verdict = (("weak but " if weak[f] else "") + kept) if held[f] else ("weak, " if weak[f] else "") + "dropped"
        text = f"{verdict}: {metric.name} {alone[f]:.4f} alone, rho {rho:.2f}, {gain:+.4f} for {seconds:.4g} s"
        told.append(Told(family.name, held[f], alone[f], rho, gain, seconds, text))
    return tuple(told)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's."""
    if a.std() == 0 or b.std() == 0:
        return 1.0
    return float(np.corrcoef(a, b)[0, 1])
