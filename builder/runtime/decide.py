"""A decision: what makes answers that can be submitted out of probabilities or numbers. Data, so that it travels with the plan.

Expects: float (n, outputs), finite; a decision that was fitted at home on out-of-fold predictions.
Produces: the decided answers, equal bit for bit at home and in the notebook: every row is decided in float64 by arithmetic whose
    order is written down here (`noise` raises to a power, whose last bit is numpy's). Only `rank` looks at more than one row.
Never: fits anything, or decides differently because of what else is in a batch.

The kinds, one after the other in a decision's steps; those of the second group come last:

    clip        low, high, low, high, ...     numbers into a range for each column
    round       step                          numbers to the nearest multiple of a step, halves up
    rank        -                             numbers to their rank in their column, above 0 up to 1; ties share their mean rank
    noise       share, temperature            probabilities of classes, at a temperature, to those of labels of which a share is
                                              drawn from all classes alike

    argmax      - or a weight for each class  int (n,): the class with the most weighted probability, the first of equals
    threshold   t                             int (n,): class 1 of two where its probability is at least t
    thresholds  t for each column             int (n, columns): 1 where the number is at least t
    cuts        ascending                     int (n,): how many cuts the expected class, or the one number, has reached
    top         k                             int (n, k): the k classes with the largest numbers, the first of equals first
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .combine import TINY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Decided = NDArray[Any]  # float64 (n, outputs), or int64 (n,) or (n, columns)

NUMBERS = ("clip", "round", "rank", "noise")  # kinds that make numbers of numbers
LAST = ("argmax", "threshold", "thresholds", "cuts", "top")  # kinds that make classes of them


class DecisionError(ValueError):
    """Raised when a decision is not one, or does not fit what it shall decide."""


@dataclass(frozen=True)
class Step:
    """One step of a decision.

    Attributes:
        kind: One of NUMBERS or LAST.
        values: Its numbers, as the table above says.
        least: Of `thresholds`: how many labels each row has at least; those nearest to their thresholds are taken.
    """

    kind: str
    values: tuple[float, ...] = ()
    least: int = 0


@dataclass(frozen=True)
class Decision:
    """Steps, one after the other; without any, answers stay what they are."""

    steps: tuple[Step, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the last step: what comes out. Empty when nothing is decided."""
        return self.steps[-1].kind if self.steps else ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json(to_json())` is equal to the decision."""
        steps = [{"kind": s.kind, "values": list(s.values)} | ({"least": s.least} if s.least else {}) for s in self.steps]
        return {"steps": steps}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Decision:
        """The decision in `raw`. Raises DecisionError for what is not one."""
        try:
            if set(raw) != {"steps"}:
                raise DecisionError(f"decision: found the keys {sorted(raw)}, expected steps")
            steps = tuple(
                Step(**{**step, "values": tuple(float(value) for value in step.get("values", ()))}) for step in raw["steps"]
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise DecisionError(f"decision: {str(error).removeprefix('decision: ')}") from None
        made = cls(steps)
        made.check()
        return made

    def check(self) -> None:
        """Raise DecisionError when the decision contradicts itself, whatever it is applied to."""
        for place, step in enumerate(self.steps, start=1):
            if step.kind not in NUMBERS + LAST:
                raise DecisionError(f"decision: unknown step {step.kind!r}; known are {', '.join(NUMBERS + LAST)}")
            if step.kind in LAST and place < len(self.steps):
                raise DecisionError(f"decision: {step.kind!r} must be the last step")
            if not np.isfinite(step.values).all():
                raise DecisionError(f"decision: {step.kind!r} has numbers that are not finite: {list(step.values)}")
            if step.least < 0 or (step.least and step.kind != "thresholds"):
                raise DecisionError(f"decision: {step.kind!r} with at least {step.least} labels")
            if not _sound(step):
                raise DecisionError(f"decision: {step.kind!r} cannot have the numbers {list(step.values)[:8]}")


def _sound(step: Step) -> bool:
    values = step.values
    if step.kind == "clip":
        return bool(values) and len(values) % 2 == 0 and all(a <= b for a, b in zip(values[::2], values[1::2], strict=True))
    if step.kind == "cuts":
        return bool(values) and list(values) == sorted(values)
    if step.kind == "noise":
        return len(values) == 2 and 0 <= values[0] < 1 and values[1] > 0
    if step.kind == "argmax":
        return all(value > 0 for value in values)
    if step.kind in {"round", "threshold", "top"}:
        (value,) = values if len(values) == 1 else (-1.0,)
        return {"round": value > 0, "threshold": len(values) == 1, "top": value >= 1 and value.is_integer()}[step.kind]
    return bool(values) == (step.kind == "thresholds")  # a rank has none


def apply(decision: Decision, p: Floats) -> Decided:
    """What `decision` makes of `p` float (n, outputs). Raises DecisionError when it is for another number of outputs."""
    answers: Decided = np.asarray(p, dtype=np.float64)
    if answers.ndim != 2 or not answers.shape[1]:
        raise DecisionError(f"found answers of shape {answers.shape}, expected (rows, outputs)")
    if not np.isfinite(answers).all():
        raise DecisionError("found answers that are not finite numbers")
    for step in decision.steps:
        expected = _outputs(step)
        if expected and answers.shape[1] not in expected:
            raise DecisionError(f"{step.kind!r} is for {expected[0]} outputs, found {answers.shape[1]}")
        answers = _STEPS[step.kind](step, answers)
    return answers


def _outputs(step: Step) -> tuple[int, ...]:
    """The numbers of outputs that a step takes; empty for any."""
    count = len(step.values)
    if step.kind == "clip":
        return (count // 2,)
    if step.kind == "cuts":
        return (count + 1, 1)  # one probability for each grade, or the grade itself
    return {"argmax": (count,) if count else (), "threshold": (2, 1), "thresholds": (count,)}.get(step.kind, ())


def _clip(step: Step, p: Floats) -> Decided:
    return np.asarray(np.clip(p, step.values[::2], step.values[1::2]))


def _round(step: Step, p: Floats) -> Decided:
    size = step.values[0]
    # `+ 0.0` because minus zero would be written as -0.
    return np.asarray(np.floor(p / size + 0.5) * size + 0.0)


def _rank(step: Step, p: Floats) -> Decided:  # noqa: ARG001  one signature for all
    return np.column_stack([_ranks(p[:, column]) for column in range(p.shape[1])]) if len(p) else p


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[place.reshape(-1)] / len(values))


def _noise(step: Step, p: Floats) -> Decided:
    (share, temperature), classes = step.values, p.shape[1]
    raised = np.maximum(p, TINY) ** (1.0 / temperature)
    return np.asarray((1.0 - share) * raised / _sum(raised)[:, None] + share / classes)


def _sum(p: Floats) -> Floats:
    """float64 (n,): of each row, from the first column to the last: in another order it would differ in the last bit."""
    total = np.zeros(len(p))
    for column in range(p.shape[1]):
        total = total + p[:, column]
    return total


def _argmax(step: Step, p: Floats) -> Decided:
    weighted = p * np.asarray(step.values) if step.values else p
    return np.asarray(weighted.argmax(axis=1).astype(np.int64))


def _threshold(step: Step, p: Floats) -> Decided:
    return np.asarray(p[:, -1] >= step.values[0]).astype(np.int64)


def _thresholds(step: Step, p: Floats) -> Decided:
    margin = p - np.asarray(step.values)
    labels: Decided = (margin >= 0).astype(np.int64)
    few = np.flatnonzero(labels.sum(axis=1) < step.least)
    if len(few):
        nearest = np.argsort(-margin[few], axis=1, kind="stable")[:, : step.least]
        labels[few[:, None], nearest] = 1
    return np.asarray(labels)


def expected(p: Floats) -> Floats:
    """float64 (n,): the mean class of each row of `p` (n, classes) >= 0; of one column, the number itself."""
    p = np.asarray(p, dtype=np.float64)
    if p.shape[1] == 1:
        return np.asarray(p[:, 0])
    mean, total = _sum(p * np.arange(p.shape[1])), _sum(p)  # a bit less, and a row at a cut would be another grade
    return np.asarray(np.divide(mean, total, out=np.zeros(len(p)), where=total > 0))


def _cuts(step: Step, p: Floats) -> Decided:
    return np.asarray(np.searchsorted(np.asarray(step.values), expected(p), side="right").astype(np.int64))


def _top(step: Step, p: Floats) -> Decided:
    return np.argsort(-p, axis=1, kind="stable")[:, : int(step.values[0])].astype(np.int64)


_STEPS = {
    "clip": _clip,
    "round": _round,
    "rank": _rank,
    "noise": _noise,
    "argmax": _argmax,
    "threshold": _threshold,
    "thresholds": _thresholds,
    "cuts": _cuts,
    "top": _top,
}
