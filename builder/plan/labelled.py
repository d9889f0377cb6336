"""Blends that a person may ask for, of labels that are there or not: geometric and rank, as data that travels in a plan.

Pure numpy. Predictions are float (families, rows, labels), a family's folds sharing one slice; every family counts the same. The
formulas are the notebook's, cell by cell:

    geometric  the mean of the logits, p within 1e-12 .. 1 - 1e-12, as a probability; the temperature divides its logit
    rank       the mean of the ranks among the references, 0 .. 1; what only orders rows has no temperature
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blends, parts
from builder.plan.blend import TINY
from builder.plan.blends import Blend, References
from builder.runtime.heads import SIGMOID

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

KINDS = ("geometric", "rank")


def prefix_tables(
    kind: str, oof: Floats, y: Codes, units: Sequence[tuple[int, int]], folds: Codes, metric: Metric
) -> list[Blend]:
    """The blend of every prefix of `units`, an ordered list of (family, fold), one record per prefix; as `blends.prefix_tables`.

    Scores are cross-fitted by `folds` int (rows,).
    """
    named, known, fitted = [family for family, _ in units], _among(kind, oof), dict[frozenset[int], Blend]()
    tables = []
    for count in range(1, len(named) + 1):
        families = named[:count]
        subset = frozenset(families)
        if subset not in fitted:
            used = sorted(subset)
            mean = _mean(kind, oof, used, known)
            fitted[subset] = Blend(kind, (), _temperature(kind, mean, y), score=_score(kind, oof, y, used, folds, metric))
        weights = tuple(1 / (len(subset) * families.count(family)) for family in families)
        tables.append(Blend(kind, weights, fitted[subset].temperature, score=fitted[subset].score))
    return tables


def _score(kind: str, oof: Floats, y: Codes, used: Sequence[int], folds: Codes, metric: Metric) -> float | None:
    """In the competition metric, of rows that are answered by what was fitted on other folds' rows."""
    if len(np.unique(folds)) < 2:
        folds = np.arange(len(y)) % 2
    answers = np.empty(oof.shape[1:])
    for fold in np.unique(folds):
        inside = folds == fold
        known = _among(kind, oof[:, ~inside])
        heat = _temperature(kind, _mean(kind, oof[:, ~inside], used, known), y[~inside])
        answers[inside] = parts.heated(SIGMOID, _mean(kind, oof[:, inside], used, known), heat)
    return metric.or_none(y, answers)


def _among(kind: str, oof: Floats) -> References:
    return blends.references(oof) if kind == "rank" else ()


def _mean(kind: str, oof: Floats, used: Sequence[int], known: References) -> Floats:
    """float64 (rows, labels): the blend before its temperature."""
    p = np.asarray(oof[list(used)], dtype=np.float64)
    if kind == "rank":
        return np.asarray(blends.ranks(p, [known[family] for family in used]).mean(axis=0))
    inside = np.clip(p, TINY, 1 - TINY)
    return np.asarray(1 / (1 + np.exp(-(np.log(inside) - np.log1p(-inside)).mean(axis=0))))


def _temperature(kind: str, mean: Floats, y: Codes) -> float:
    return 1.0 if kind == "rank" else parts.temperature(SIGMOID, mean, y)
