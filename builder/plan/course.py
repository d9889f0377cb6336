"""What the planner takes and gives: records on plain arrays, nothing of files.

`Course` is what fills a plan: the ordered units, weights and temperature of every prefix, and the rule of effort as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.plan.prices import Family
from builder.runtime.contract import Effort, Share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """What is known of the families' predictions.

    Attributes:
        oof: float (families, rows, classes); rows that a family did not answer are NaN, all of them when nothing is known of it.
        y: int (rows,), true classes; of several heads, labels or numbers as `competition/targets.py` has it.
        fold: int (rows,), for cross-fitting.
        unlabelled: float (families, folds, m, classes) of rows that nobody was trained on, or None.
    """

    oof: Floats
    y: NDArray[Any]
    fold: Codes
    unlabelled: Floats | None = None


@dataclass(frozen=True)
class Step:
    """One unit of the order.

    Attributes:
        family: Index of its family.
        fold: Its fold.
        weights: Of the units so far, this one included; they sum to 1 (those of a `stack` to anything).
        temperature: Of the blend of the units so far.
        score: Predicted competition metric when every sample stays here; None when unknown.
        gain: How much less logloss than before this unit; None when unknown, and for the first. In `general.py`: how much less of
            what the prior loses, summed over heads.
        seconds: Per sample: its own, and what it shares if it is the first to need it.
        fixed: Seconds that are paid once.
        shift: Of a `stack` blend: one number per class.
        shares: Of several heads: how each is blended; `weights` are their mean then.
    """

    family: int
    fold: int
    weights: tuple[float, ...]
    temperature: float
    score: float | None
    gain: float | None
    seconds: float
    fixed: float
    shift: tuple[float, ...] = ()
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True)
class Point:
    """Predicted score at a budget in seconds for all rows, with its 90 % interval."""

    budget_s: float
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Told:
    """Why a family was kept or dropped.

    Attributes:
        kept: Its folds in the plan.
        score: Of the family alone, one fold.
        rho: Correlation of its errors with those of the blend of the others.
        gain: What the competition metric would lose without it (kept), or would win with it (dropped).
        seconds: That its folds take for all rows.
        text: All that as a sentence.
    """

    family: str
    kept: int
    score: float
    rho: float
    gain: float
    seconds: float
    text: str


@dataclass(frozen=True)
class Course:
    """A finished plan on arrays.

    Attributes:
        families: What could be chosen from.
        temperatures: Of each family's own predictions, before they are pooled.
        steps: The units in order.
        effort: Who gets how many of them.
        predicted: Score against seconds.
        told: A sentence on every family.
        notes: What else a person should know.
        fixed_list: The same of the list that people make by hand, for comparison.
    """

    families: tuple[Family, ...]
    temperatures: tuple[float, ...]
    steps: tuple[Step, ...]
    effort: Effort
    predicted: tuple[Point, ...] = ()
    told: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()
    fixed_list: tuple[Point, ...] = ()
