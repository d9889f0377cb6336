"""Another blend than the planner's own, because a person asked for it: the same units in the same order, answered differently.

Pure numpy.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from builder.plan import blend, blends

if TYPE_CHECKING:
    from builder.metrics import Metric
    from builder.plan.blends import References
    from builder.plan.course import Course, Evidence


def reblended(course: Course, evidence: Evidence, kind: str, metric: Metric) -> tuple[Course, References]:
    """`course` with the weights, temperatures and scores of the blend called `kind`, and what a `rank` counts among.

    References are one per family of the course, empty for families that it does not use. The course is returned as it is, with a
    note, when there is nothing that a blend could be fitted on.
    """
    used = sorted({step.family for step in course.steps})
    seen = np.isfinite(evidence.oof[used]).all(axis=(0, 2))
    if course.steps[0].score is None or not seen.any():
        return dataclasses.replace(course, notes=(*course.notes, f"no predictions that a {kind} could be fitted on")), ()
    heats = [course.temperatures[family] for family in used]
    oof = np.stack([blend.tempered(p[seen], heat) for p, heat in zip(evidence.oof[used], heats, strict=True)])
    y, folds = evidence.y[seen], evidence.fold[seen]
    units = [(used.index(step.family), step.fold) for step in course.steps]
    tables = blends.prefix_tables(kind, oof, y, units, folds, metric)
    steps = tuple(
        dataclasses.replace(step, weights=t.weights, temperature=t.temperature, shift=t.shift, score=t.score, gain=None)
        for step, t in zip(course.steps, tables, strict=True)
    )
    ours, theirs = tables[-1].score, blends.cross_fitted("weighted", oof, y, folds, metric).score
    note = f"{kind}, as asked: {metric.name} {ours:.5f} with one fold of each family, a weighted mean {theirs:.5f}; "
    told = dataclasses.replace(course, steps=steps, notes=(*course.notes, note + "the curve is the weighted mean's"))
    if kind != "rank":
        return told, ()
    known = dict(zip(used, blends.references(oof), strict=True))
    return told, tuple(known.get(family, ()) for family in range(len(course.families)))
