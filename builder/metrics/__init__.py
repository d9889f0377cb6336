"""Competition metrics: what each one needs, which direction is better, and the number itself.

A metric says what truth it takes and what it judges. Truths have a kind:

    classes      int (rows,), codes of the one class of each row
    multilabel   0 or 1 (rows, columns), several labels of each row
    numbers      float (rows,) or (rows, columns), targets of a regression

What is judged is float (rows, outputs), as models answer, whatever the metric; where it wants labels, a row of probabilities is
taken for its most probable class, or for the labels of at least one half. Labels that were decided otherwise (decide.py) are
taken as they are: int (rows,) codes, 0 or 1 (rows, columns), or a ranking int (rows, k). So out-of-fold predictions, decisions,
rehearsals and the stand-in's scorer all call the same function. Importing this is cheap: numpy comes with the first score.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.runtime.contract import Head

    Truth = NDArray[np.number[Any]]
    Answers = NDArray[np.number[Any]]

CLASSES, MULTILABEL, NUMBERS = "classes", "multilabel", "numbers"  # kinds of truth
PROBABILITIES, LABELS, RANKING = "probabilities", "labels", "ranking"  # what is judged; or NUMBERS
RANKED = re.compile(r"map@([1-9][0-9]{0,3})")
MEAN = re.compile(r"mean\((.+)\)")
OWN = ".py:"  # in the name of a function of the user's own


class UnfitError(UserError, ValueError):
    """Raised when truth or predictions are not what a metric takes: their shape, their kind, their values."""


class UndefinedError(UnfitError):
    """Raised when a metric has no value for these rows: an AUC, say, of rows that all have one class."""


@dataclass(frozen=True)
class Metric:
    """A competition metric.

    Attributes:
        name: What kernel.toml calls it.
        greater_is_better: Its direction.
        function: (truth, what is judged), both checked -> score.
        truths: The kinds of truth that it takes; none: truth and predictions come as they are.
        prediction: What it judges: PROBABILITIES, LABELS, NUMBERS or RANKING.
        top: Of a ranking: how many places count.
    """

    name: str
    greater_is_better: bool
    function: Callable[[Any, Any], float]
    truths: tuple[str, ...] = (CLASSES,)
    prediction: str = PROBABILITIES
    top: int = 0

    def __call__(self, y: Truth, p: Answers) -> float:
        """Score of `p` float (rows, outputs), or of labels that were decided, for the truth `y` (rows,) or (rows, columns).

        Raises:
            UnfitError: Their shapes, kinds or values are not what the metric takes.
            UndefinedError: It has no value for these rows.
        """
        from builder.metrics import checks

        return float(self.function(*checks.fitting(self, y, p)))

    def or_none(self, y: Truth, p: Answers) -> float | None:
        """The score, or None where the metric has none: an AUC, say, of rows that all have one class."""
        import math

        try:
            score = self(y, p)
        except UndefinedError:
            return None
        return score if math.isfinite(score) else None

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`; positive is better whatever the direction."""
        return new - old if self.greater_is_better else old - new


def _late(module: str, function: str) -> Callable[[Any, Any], float]:
    """The function of a module of this room, imported with its first call."""

    def call(y: Any, p: Any) -> float:
        return float(getattr(importlib.import_module(f"builder.metrics.{module}"), function)(y, p))

    return call


def _table() -> dict[str, Metric]:
    both, codes, columns, numbers = (CLASSES, MULTILABEL), (CLASSES,), (MULTILABEL,), (NUMBERS,)
    rows = (
        ("accuracy", True, "labels", both, LABELS),
        ("balanced_accuracy", True, "labels", codes, LABELS),
        ("f1", True, "labels", codes, LABELS),
        ("f1_macro", True, "labels", both, LABELS),
        ("f1_micro", True, "labels", both, LABELS),
        ("f1_samples", True, "labels", columns, LABELS),
        ("dice", True, "labels", columns, LABELS),
        ("mcc", True, "labels", codes, LABELS),
        ("kappa", True, "labels", codes, LABELS),
        ("logloss", False, "probabilities", both, PROBABILITIES),
        ("auc", True, "probabilities", both, PROBABILITIES),
        ("rmse", False, "numbers", numbers, NUMBERS),
        ("mae", False, "numbers", numbers, NUMBERS),
        ("rmsle", False, "numbers", numbers, NUMBERS),
        ("r2", True, "numbers", numbers, NUMBERS),
    )
    return {name: Metric(name, up, _late(module, name), truths, judged) for name, up, module, truths, judged in rows}


METRICS = _table()  # those with a name of their own; `get` knows families of more


def get(name: str, folder: Path | None = None) -> Metric:
    """The metric called `name`.

    Besides METRICS there are `map@K`, the mean over the columns of another one, `mean(rmse)`, and functions of the user's own,
    `metric.py:my_score`, in a file below `folder`. Such a file is loaded here and now, and nowhere else. One for each of several
    targets, `kind=accuracy, size=f1_macro`, scores where the targets are known (`of`); here it has a direction and no more.

    Raises:
        UserError: There is none of that name (the nearest is told), or the user's own cannot be loaded.
    """
    if name in METRICS:
        return METRICS[name]
    if "=" in name:
        from builder.metrics import heads

        return heads.unbound(name, folder)
    if ranked := RANKED.fullmatch(name):
        return Metric(name, True, _late("ranking", "mean_precision"), (CLASSES, MULTILABEL), RANKING, int(ranked[1]))
    if (inner := MEAN.fullmatch(name)) and inner[1] in METRICS:
        return _mean(METRICS[inner[1]])
    if OWN in name:
        from builder.metrics import own

        return own.load(name, folder)
    known = [*METRICS, "map@5", "mean(rmse)", "mean(auc)", "metric.py:my_score"]
    raise UserError(f"unknown metric '{name}'", expected=", ".join(sorted(known)), remedy=did_you_mean(name, known))


def of(name: str, heads: Sequence[Head], folder: Path | None = None) -> Metric:
    """The metric called `name` for answers of `heads`; of several, the mean over them: see `metrics/heads.py`."""
    from builder.metrics import heads as several

    return several.of(name, heads, folder)


def _mean(base: Metric) -> Metric:
    """The mean of `base` over the columns of a truth: numbers, or classes of which each is there or not."""
    truth = MULTILABEL if CLASSES in base.truths else NUMBERS
    name = f"mean({base.name})"
    if truth not in base.truths and CLASSES not in base.truths:
        raise UserError(f"there is no '{name}'", expected="a metric of one column", remedy=f"use '{base.name}' as it is")

    def function(y: Any, p: Any) -> float:
        from builder.metrics import checks

        return checks.over_columns(base, y, p)

    return Metric(name, base.greater_is_better, function, (truth,), base.prediction)
