"""What makes labels of a plan's probabilities, and better numbers of its numbers, where the plain ones are not the best.

Probabilities that are judged as such allow for labels that say nothing of their row: test sets are labelled by the same people.

Expects: a plan and the members that it was made from.
Produces: the plan with a decision, of several heads one each, that was fitted on out-of-fold answers of the whole ensemble, and
    what it wins, cross-fitted.
Never: fits one for a metric that the most probable class already serves best, or keeps one that wins nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import LABELS, NUMBERS, PROBABILITIES, RANKING, deciding
from builder.metrics import heads as several
from builder.plan import blend
from builder.runtime import combine
from builder.runtime.contract import BY_HEAD
from builder.runtime.decide import Decision, Step
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX, slices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from builder.metrics import Metric
    from builder.plan.members import Joined
    from builder.runtime.contract import Answer, Plan

SERVED = ("accuracy", "f1_micro", "auc")  # by the most probable class, or by the order of probabilities
HEARD = 60_000  # rows times classes that the noise of labels is fitted on
CLASSES, SHARES, THERE = {"labels", "strings", *BY_HEAD}, {"columns", "probability", "long"}, {"strings", "columns", "long"}
DECIDED = {  # link of a head -> what a metric judges -> forms of a submission that hold what is decided for it
    SOFTMAX: {LABELS: CLASSES, RANKING: CLASSES, PROBABILITIES: SHARES},
    SIGMOID: {LABELS: THERE, RANKING: THERE},
    IDENTITY: {NUMBERS: {"numbers", "long", *BY_HEAD}},
}


def decided(made: Plan, together: Joined, metric: Metric, folder: Path | None = None) -> Plan:
    """`made` with its decision, its note and its forecast; as it is where there is nothing to decide.

    Below `folder` are the functions that a metric of one's own names.
    """
    used = used_by(made, together)
    rows = answered(together.oof[used])
    if not rows.any() or not _open(made.answer, metric):
        return made
    values = pooled(made, [together.oof[at][rows] for at in used])
    fit = _of_heads if len(made.answer.heads) > 1 else _of_one
    return fit(made, metric, together.y[rows], values, together.folds[rows], folder)


def _noise(y: Any, p: Any) -> Decision:
    """What labels may be where `p` float (rows, classes) is right: some of them say nothing of their row."""
    few = blend.sample(y, max(500, HEARD // p.shape[1]))
    share, temperature = blend.label_noise(p[few], y[few])
    return Decision((Step("noise", (round(share, 6), round(temperature, 6))),)) if share else Decision()


def _open(answer: Answer, metric: Metric) -> bool:
    """Whether anything may be decided; of several heads each has a metric of its own."""
    if len(answer.heads) > 1:
        return answer.form in BY_HEAD
    link = answer.parts[0].link
    served = link == SOFTMAX and metric.name in SERVED
    return not served and answer.form in DECIDED[link].get(metric.prediction, ())


def _of_one(made: Plan, metric: Metric, y: Any, values: Any, folds: Any, _: Path | None) -> Plan:
    link, form = made.answer.parts[0].link, made.answer.form
    least = 1 if link == SIGMOID and form == "strings" else 0  # a cell of names may not be empty
    shares = metric.prediction == PROBABILITIES
    found = deciding.fit(metric, y, values, folds, least, [_noise] if shares else ())
    plain = deciding.plain(metric, y, values.shape[1], least)
    answer = made.answer if not found.decision.steps else replace(made.answer, decision=found.decision.to_json())
    made, foretold = replace(made, answer=answer), metric.or_none(y, values)
    if foretold is None or found.before is None or found.after is None:
        return made
    # Where a cell must name a label, even the plain decision is not what was foretold.
    made = replace(made, expected=_moved(made.expected, found.before - foretold))
    if found.decision == plain:
        return made
    what = "numbers" if link == IDENTITY else "labels"
    if shares:
        what = f"probabilities of labels, {found.decision.steps[0].values[0]:.1%} of which say nothing,"
    return _noted(made, f"{what} by {found.decision.kind}", metric, found.before, found.after)


def _of_heads(made: Plan, metric: Metric, y: Any, values: Any, folds: Any, folder: Path | None) -> Plan:
    """Each head by its own metric, where that judges numbers, or labels which the most probable class does not serve."""
    heads, found, won = made.answer.heads, dict[str, deciding.Fitted](), 0.0
    each = several.each(metric.name, [head.name for head in heads], folder)
    for head, place, own, truth in zip(heads, slices(heads), each, several.apart(heads, y), strict=True):
        if own.prediction not in DECIDED[head.link].keys() - {RANKING, PROBABILITIES} or own.name in SERVED:
            continue
        fitted = deciding.fit(own, truth, values[:, place], folds)
        if fitted.decision != deciding.plain(own, truth, len(head.classes)):
            found[head.name] = fitted
            won += own.gain(fitted.after, fitted.before) if fitted.before is not None and fitted.after is not None else 0.0
    if not found:
        return made
    before = metric.or_none(y, values)
    decisions = {name: one.decision.to_json() for name, one in found.items()}
    after = tuple(replace(head, decision=decisions.get(head.name)) for head in heads)
    made = replace(made, answer=replace(made.answer, heads=after))
    kinds = ", ".join(f"{name} by {one.decision.kind}" for name, one in found.items())
    what = "labels" if all(link == SOFTMAX for link in (head.link for head in heads if head.name in found)) else "answers"
    after_all = (won if metric.greater_is_better else -won) / len(heads)
    return made if before is None else _noted(made, f"{what} of {kinds}", metric, before, before + after_all)


def _noted(made: Plan, what: str, metric: Metric, before: float, after: float) -> Plan:
    """`made` with a note on what a decision wins, and the forecast with it."""
    won = metric.gain(after, before)
    note = f"{what}, fitted out of fold: {metric.name} {before:.5f} -> {after:.5f}, cross-fitted ({won:+.5f})"
    return replace(made, notes=(*made.notes, note), expected=_moved(made.expected, after - before))


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
