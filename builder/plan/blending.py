"""The prefixes of a kernel's plan: the planner's own, or those of the blend that kernel.toml asks for.

Expects: a course on joined members.
Produces: what the plan says of every prefix; a blend on request keeps the order of units, and gives every sample the same ones,
    since doubts and gains were measured on weighted means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from builder.plan.asked import reblended
from builder.plan.course import Evidence
from builder.runtime.contract import Prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.metrics import Metric
    from builder.plan.course import Course
    from builder.plan.members import Joined
    from builder.runtime.contract import Effort

PLANNED = ("auto", "mean", "weighted")  # the planner fits these itself


@dataclass(frozen=True)
class Blending:
    """What the plan says of its prefixes."""

    kind: str
    prefixes: tuple[Prefix, ...]
    effort: Effort | None = None
    references: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)


def blending(asked: str, course: Course, joined: Joined, metric: Metric) -> Blending:
    """The prefixes of `course` under the blend that was `asked` for. Without out-of-fold rows: the course's own equal weights."""
    if asked in PLANNED or not course.predicted:
        return Blending("weighted", _prefixes(course), course.effort if course.predicted and asked != "weighted" else None)
    told, references = reblended(course, Evidence(joined.oof, joined.y, joined.folds), asked, metric, joined.heads)
    names = {name: f for f, (member, view) in enumerate(joined.origin) for name in [f"{member.name} {view}"]}
    among = {name: references[f] for name, f in names.items() if references and references[f]}
    return Blending(asked, _prefixes(told), None, among)


def _prefixes(course: Course) -> tuple[Prefix, ...]:
    return tuple(Prefix(step.weights, step.temperature, known(step.score), step.shift, step.shares) for step in course.steps)


def known(score: float | None) -> float | None:
    """`score`, or None for one that is not a number."""
    return score if score is not None and np.isfinite(score) else None
