"""Whose next climb comes first: the arithmetic of a plan's rule of effort.

Expects: the rule (`contract.Effort`) and how doubtful each sample's answers are.
Produces: one priority per sample and climb; the same at home, where rules are tried out, and in the notebook.
Never: knows seconds: what is affordable is the clock's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import Effort
from .heads import IDENTITY, SIGMOID, SOFTMAX, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract import Head

    Floats = NDArray[np.floating[Any]]

COMMON = 1e9  # above every gain per second


def doubt(p: Floats, heads: Sequence[Head] = ()) -> Floats:
    """float (rows,), 0 .. 1, of answers `p` (rows, outputs) of `heads` (one class of each row): the mean over heads.

    Of a class 1 minus its probability, of labels the mean of as much of each. Numbers are never doubtful.
    """
    if not heads:
        return _of_classes(p)
    parts = [_DOUBTS[head.link](p[:, place]) for head, place in zip(heads, slices(heads), strict=True)]
    return parts[0] if len(parts) == 1 else np.asarray(np.mean(parts, axis=0))


def _of_classes(p: Floats) -> Floats:
    return np.asarray(1.0 - p.max(axis=1))


def _of_labels(p: Floats) -> Floats:
    return np.asarray(1.0 - np.maximum(p, 1.0 - p).mean(axis=1))


def _of_numbers(p: Floats) -> Floats:
    return np.zeros(len(p))


_DOUBTS: Mapping[str, Callable[[Floats], Floats]] = {SOFTMAX: _of_classes, SIGMOID: _of_labels, IDENTITY: _of_numbers}


def priority(effort: Effort, doubts: Floats) -> Floats:
    """float (stops - 1, n): how early each sample's climb to each later stop comes.

    `doubts` is float (stops, n), each sample's doubt at each stop. What it says of a stop must not be asked before the sample is
    there, and is not: a climb comes no earlier than the climbs before it.
    """
    climbs = [urgency(effort, step, doubts[step]) for step in range(len(effort.stops) - 1)]
    return np.asarray(np.minimum.accumulate(np.reshape(climbs, (len(climbs), doubts.shape[1])), axis=0))


def urgency(effort: Effort, step: int, doubts: Floats) -> Floats:
    """float (n,): how early the climb from stop `step` comes, going by the samples' `doubts` (n,) there alone."""
    turn: Floats = np.clip(doubts, 0.0, 1.0 - 1e-9) - float(step)
    if effort.kind != "queue":
        return turn
    if step < effort.common - 1:
        return turn + COMMON
    if step >= len(effort.worth):
        return turn - COMMON
    return np.asarray(effort.worth[step] * np.interp(doubts, effort.doubts, effort.shape))


def unabridged(effort: Effort, units: int) -> Effort:
    """The rule with every prefix before its first stop and after its last as a stop of its own, up to `units`.

    When seconds run short samples stay before the first; when there are seconds left they go on after the last.
    """
    before, after = tuple(range(1, effort.stops[0])), tuple(range(effort.stops[-1] + 1, units + 1))
    worth = (0.0,) * len(before) + effort.worth
    return Effort(effort.kind, before + effort.stops + after, effort.common + len(before), worth, effort.doubts, effort.shape)
