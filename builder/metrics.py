"""Competition metrics: what each one needs, which direction is better, and the number itself (scikit-learn, imported late).

Every metric takes the true classes as integer codes and the predictions as probabilities, so that out-of-fold
predictions, rehearsals and the stand-in's scorer all call the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]
    Probabilities = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Metric:
    """A competition metric.

    Attributes:
        name: What kernel.toml calls it.
        greater_is_better: Its direction.
        function: (y int (rows,), p float (rows, classes)) -> score.
    """

    name: str
    greater_is_better: bool
    function: Callable[[Codes, Probabilities], float]

    def __call__(self, y: Codes, p: Probabilities) -> float:
        """Score of `p` float (rows, classes) for the true classes `y` int (rows,)."""
        return float(self.function(y, p))

    def or_none(self, y: Codes, p: Probabilities) -> float | None:
        """The score, or None where the metric has none: an AUC, say, of rows that all have one class."""
        import math

        try:
            score = self(y, p)
        except ValueError:
            return None
        return score if math.isfinite(score) else None

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`; positive is better whatever the direction."""
        return new - old if self.greater_is_better else old - new


def _accuracy(y: Codes, p: Probabilities) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(y, p.argmax(axis=1)))


def _balanced_accuracy(y: Codes, p: Probabilities) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(y, p.argmax(axis=1)))


def _logloss(y: Codes, p: Probabilities) -> float:
    import numpy as np
    from sklearn.metrics import log_loss

    clipped = np.clip(p.astype(np.float64), 1e-15, 1.0)
    return float(log_loss(y, clipped / clipped.sum(axis=1, keepdims=True), labels=np.arange(p.shape[1])))


def _auc(y: Codes, p: Probabilities) -> float:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    if len(np.unique(y)) < p.shape[1]:
        raise ValueError("the AUC needs rows of every class")
    if p.shape[1] == 2:
        return float(roc_auc_score(y, p[:, 1]))
    return float(np.mean([roc_auc_score(y == label, p[:, label]) for label in range(p.shape[1])]))


def _f1_macro(y: Codes, p: Probabilities) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(y, p.argmax(axis=1), average="macro"))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, _accuracy),
        Metric("balanced_accuracy", True, _balanced_accuracy),
        Metric("logloss", False, _logloss),
        Metric("auc", True, _auc),
        Metric("f1_macro", True, _f1_macro),
    )
}


def get(name: str) -> Metric:
    """The metric called `name`. Raises UserError, with the nearest name, when there is none."""
    if name not in METRICS:
        raise UserError(f"unknown metric '{name}'", expected=", ".join(sorted(METRICS)), remedy=did_you_mean(name, METRICS))
    return METRICS[name]
