"""The prefixes of a kernel's plan: the planner's own, or those of the blend that kernel.toml asks for.

Expects: a course on joined members.
Produces: what the plan says of every prefix; a blend on request keeps the order of units, and gives every sample the same ones,
    since doubts and gains were measured on weighted means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blends
from builder.plan.planner import cooled
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
    rows: Any = np.isfinite(joined.oof).all(axis=(0, 2))
    if asked in PLANNED or not rows.any():
        own = tuple(Prefix(step.weights, step.temperature, known(step.score)) for step in course.steps)
        return Blending("weighted", own, course.effort if course.predicted and asked != "weighted" else None)
    oof = np.stack([cooled(p[rows], heat) for p, heat in zip(joined.oof, course.temperatures, strict=True)])
    units = [(step.family, step.fold) for step in course.steps]
    tables = blends.prefix_tables(asked, oof, joined.y[rows], units, joined.folds[rows], metric)
    prefixes = tuple(Prefix(t.weights, t.temperature, known(t.score), t.shift) for t in tables)
    if asked != "rank":
        return Blending(asked, prefixes)
    used = {family for family, _ in units}
    names = {f: f"{member.name} {view}" for f, (member, view) in enumerate(joined.origin) if f in used}
    among = blends.references(oof)
    return Blending(asked, prefixes, None, {name: among[f] for f, name in names.items()})


def known(score: float | None) -> float | None:
    """`score`, or None for one that is not a number."""
    return score if score is not None and np.isfinite(score) else None
