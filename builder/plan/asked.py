"""Another blend than the planner's own, because a person asked for it: the same units in the same order, answered differently.

Pure numpy.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from builder.errors import UserError
from builder.plan import blend, blends, labelled
from builder.runtime.heads import SIGMOID, SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.metrics import Metric
    from builder.plan.blends import References
    from builder.plan.course import Course, Evidence
    from builder.runtime.contract import Head

ALWAYS = ("auto", "mean", "weighted")  # blends of answers of any kind


def one_class(heads: Sequence[Head]) -> bool:
    """Whether there is one class of each row, nothing else; no heads at all mean that."""
    return len(heads) < 2 and all(head.link == SOFTMAX for head in heads)


def refuse_unfit(kind: str, heads: Sequence[Head]) -> None:
    """Raise UserError when answers of `heads` have no blend of that kind."""
    labels = len(heads) == 1 and heads[0].link == SIGMOID
    fit = (*ALWAYS, *(labelled.KINDS if labels else ()))
    if one_class(heads) or kind in fit:
        return
    what = "several targets" if len(heads) > 1 else "labels that are there or not" if labels else "numbers"
    raise UserError(
        f'inference.blend = "{kind}" is no blend of {what}',
        found=kind,
        expected=", ".join(fit),
        remedy='set inference.blend to one of these in kernel.toml; "auto" is best for most',
    )


def reblended(
    course: Course, evidence: Evidence, kind: str, metric: Metric, heads: Sequence[Head] = ()
) -> tuple[Course, References]:
    """`course` with the weights, temperatures and scores of the blend called `kind`, and what a `rank` counts among.

    `heads` are what is answered; none: one class of each row. References are one per family of the course, empty for families
    that it does not use. The course is returned as it is, with a note, when there is nothing that a blend could be fitted on.
    """
    used = sorted({step.family for step in course.steps})
    seen = np.isfinite(evidence.oof[used]).all(axis=(0, 2))
    classes = one_class(heads)
    if not seen.any() or (classes and course.steps[0].score is None):
        return dataclasses.replace(course, notes=(*course.notes, f"no predictions that a {kind} could be fitted on")), ()
    heats = [course.temperatures[family] for family in used]
    oof = evidence.oof[used][:, seen]
    if classes:
        oof = np.stack([blend.tempered(p, heat) for p, heat in zip(oof, heats, strict=True)])
    y, folds = evidence.y[seen], evidence.fold[seen]
    units = [(used.index(step.family), step.fold) for step in course.steps]
    tables = (blends if classes else labelled).prefix_tables(kind, oof, y, units, folds, metric)
    steps = tuple(
        dataclasses.replace(step, weights=t.weights, temperature=t.temperature, shift=t.shift, score=t.score, gain=None)
        for step, t in zip(course.steps, tables, strict=True)
    )
    ours, theirs = tables[-1].score, course.steps[-1].score
    if classes:
        theirs = blends.cross_fitted("weighted", oof, y, folds, metric).score
    note = f"{kind}, as asked: {metric.name} {_told(ours)} with one fold of each family, a weighted mean {_told(theirs)}; "
    told = dataclasses.replace(course, steps=steps, notes=(*course.notes, note + "the curve is the weighted mean's"))
    if kind != "rank":
        return told, ()
    known = dict(zip(used, blends.references(oof), strict=True))
    return told, tuple(known.get(family, ()) for family in range(len(course.families)))


def _told(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.5f}"
