"""A plan played with predictions that are already there: who would have got what, and which answer, when prices are exact.

Pure numpy. What the clock of a real run does with measured times, this does with the plan's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan.blend import tempered
from builder.plan.blends import Blend, References
from builder.plan.course import Course
from builder.plan.effort import spend
from builder.runtime.contract import Effort
from builder.runtime.effort import doubt, priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

CHUNK = 4096  # rows


@dataclass(frozen=True)
class Played:
    """What a budget bought.

    Attributes:
        answers: float32 (rows, classes); NaN for rows that not even the first unit reached.
        lengths: int (rows,), the prefix that each row was answered with; 0 for none.
        seconds: Spent in all.
    """

    answers: Floats
    lengths: Codes
    seconds: float


def play(course: Course, predictions: Floats, budget_s: float, kind: str = "weighted", references: References = ()) -> Played:
    """Answer `predictions` float (families, folds, rows, classes) in `budget_s` seconds. Never overspends.

    `kind` is the blend that the course's weights are for; `references`, one per family, are what a `rank` counts among.
    """
    effort = reachable(course.effort)
    rows, classes = predictions.shape[2:]
    answers = np.empty((len(effort.stops), rows, classes), np.float32)
    for start in range(0, rows, CHUNK):
        part = slice(start, start + CHUNK)
        answers[:, part] = prefixes(course, predictions[:, :, part], effort.stops, kind, references)
    doubts = np.stack([doubt(p) for p in answers])
    per_sample = np.cumsum([step.seconds for step in course.steps])
    fixed = np.cumsum([step.fixed for step in course.steps])
    ends = np.array(effort.stops) - 1
    spent = spend(priority(effort, doubts), np.diff(per_sample[ends], prepend=0.0), np.diff(fixed[ends], prepend=0.0), budget_s)
    reached = spent.stops >= 0
    out = np.full((rows, classes), np.nan, np.float32)
    out[reached] = answers[spent.stops[reached], np.flatnonzero(reached)]
    lengths = np.where(reached, np.array(effort.stops)[spent.stops], 0)
    return Played(out, lengths, spent.seconds)


def reachable(effort: Effort) -> Effort:
    """The rule with every prefix before its first stop as a stop of its own: when seconds run short, samples stay there."""
    before = tuple(range(1, effort.stops[0]))
    worth = (0.0,) * len(before) + effort.worth
    return Effort(effort.kind, before + effort.stops, effort.common + len(before), worth, effort.doubts, effort.shape)


def prefixes(
    course: Course, predictions: Floats, lengths: Sequence[int], kind: str = "weighted", references: References = ()
) -> Floats:
    """float32 (lengths, rows, classes): the answers of the prefixes of these lengths."""
    units: list[Floats] = []
    for step in course.steps[: max(lengths)]:
        p = np.asarray(predictions[step.family, step.fold], dtype=np.float32)
        units.append(tempered(p, course.temperatures[step.family]).astype(np.float32))
    found = []
    for length in lengths:
        step = course.steps[length - 1]
        if kind != "weighted":
            known = tuple(references[unit.family] for unit in course.steps[:length]) if kind == "rank" else ()
            table = Blend(kind, step.weights, step.temperature, step.shift, known, length)
            found.append(table(np.stack(units[:length])).astype(np.float32))
            continue
        pooled = np.zeros_like(units[0])
        for weight, p in zip(step.weights, units, strict=False):
            if weight > 0:
                pooled += np.float32(weight) * p
        found.append(tempered(pooled, step.temperature).astype(np.float32))
    return np.stack(found)
