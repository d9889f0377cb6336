"""What makes labels of a plan's probabilities, where the metric judges labels and the most probable class is not the best.

Expects: a plan and the members that it was made from.
Produces: the plan with a decision that was fitted on out-of-fold answers of the whole ensemble, and what it wins, cross-fitted.
Never: fits one for a metric that the most probable class already serves best, or keeps one that wins nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import LABELS, RANKING, deciding
from builder.runtime import combine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from builder.metrics import Metric
    from builder.plan.members import Joined
    from builder.runtime.contract import Plan

SERVED = ("accuracy", "f1_micro")  # by the most probable class
DECIDED = ("labels", "strings")  # forms of a submission that hold labels


def decided(made: Plan, together: Joined, metric: Metric) -> Plan:
    """`made` with its decision, its note and its forecast; as it is where there is nothing to decide."""
    if metric.prediction not in {LABELS, RANKING} or metric.name in SERVED or made.answer.form not in DECIDED:
        return made
    used = used_by(made, together)
    rows = answered(together.oof[used])
    if not rows.any():
        return made
    values = pooled(made, [together.oof[at][rows] for at in used])
    found = deciding.fit(metric, together.y[rows], values, together.folds[rows])
    plain = deciding.plain(metric, together.y[rows], values.shape[1])
    answer = replace(made.answer, decision=found.decision.to_json())
    if found.decision == plain or found.before is None or found.after is None:
        return replace(made, answer=answer)
    kind, won = found.decision.kind, metric.gain(found.after, found.before)
    note = (
        f"labels by {kind}, fitted out of fold: {metric.name} {found.before:.5f} -> {found.after:.5f}, cross-fitted ({won:+.5f})"
    )
    return replace(made, answer=answer, notes=(*made.notes, note), expected=_moved(made.expected, found.after - found.before))


def _moved(expected: Any, by: float) -> dict[str, Any]:
    """The forecast, for labels that are decided otherwise."""
    scores = {key: expected[key] + by for key in ("score", "low", "high") if expected.get(key) is not None}
    return {**expected, **scores}


def used_by(made: Plan, together: Joined) -> list[int]:
    """The family of each unit."""
    place = {(member.name, view): at for at, (member, view) in enumerate(together.origin)}
    return [place[unit.member, unit.view] for unit in made.units]


def answered(oof: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool (rows,): those that every unit answers honestly."""
    return np.asarray(np.isfinite(oof).all(axis=(0, 2)))


def pooled(made: Plan, predictions: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The answers of the whole plan, by its own blend."""
    return combine.pool(predictions, combine.reached(predictions), made.prefixes, combine.Blend.of(made))
