"""Blends that a person may ask for: mean, weighted, rank, geometric, vote, stack; as data that travels in a plan.

Pure numpy. Predictions are float (families, rows, classes), a family's folds sharing one slice; answers float64 (rows, classes)
whose rows sum to 1. Every blend is weights, a temperature and what its kind needs besides. The formulas are the notebook's:

    weighted   sum w p                                              (`mean`: every family the same)
    geometric  exp(sum w log max(p, 1e-12))
    vote       sum w [argmax == class] + sum w p / (units + 1)      (between equal votes the mean decides)
    rank       sum w rank of p among the references + 1e-12         (a rank in 0 .. 1, halfway between equals)
    stack      softmax(sum w log max(p, 1e-6) + shift)              (weights of any sign)

each normalised, its logarithm then divided by the temperature, and normalised again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError, did_you_mean
from builder.plan.blend import TINY, convex_weights, sample, temperature, tempered
from builder.plan.stacking import stacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

References = tuple[tuple[tuple[float, ...], ...], ...]  # per family and class, ascending

KINDS = ("mean", "weighted", "rank", "geometric", "vote", "stack")
LEAST = {"geometric": TINY, "stack": 1e-6}  # the least probability that has a logarithm
FITTED = 6000  # rows that temperatures and stacks are fitted on
QUANTILES = 129


@dataclass(frozen=True)
class Blend:
    """A fitted blend.

    Attributes:
        kind: One of KINDS.
        weights: One per family, or in `prefix_tables` per unit; they sum to 1, those of a stack to anything.
        temperature: Divides the logarithm of the answer.
        shift: Of a stack: one number per class.
        references: Of a rank: what ranks are counted among.
        units: Of a vote: how many units voted.
        score: In the competition metric, of rows that it was not fitted on; None when unknown.
    """

    kind: str
    weights: tuple[float, ...]
    temperature: float
    shift: tuple[float, ...] = ()
    references: References = ()
    units: int = 0
    score: float | None = None

    def __call__(self, p: Floats) -> Floats:
        """The answers to `p` float (families, rows, classes)."""
        return tempered(_Terms(self.kind, p, self.references).mix(self), self.temperature)


@dataclass(frozen=True)
class Blended:
    """A blend's answers to rows that it was not fitted on, and their score."""

    kind: str
    answers: Floats
    score: float


def fit(kind: str, oof: Floats, y: Codes) -> Blend:
    """The blend called `kind`, fitted on out-of-fold rows. Raises UserError for unknown kinds."""
    _refuse_unknown(kind)
    whole = frozenset(range(len(oof)))
    return _fit(_Terms(kind, oof, references(oof) if kind == "rank" else ()), y, whole, len(oof))


def cross_fitted(kind: str, oof: Floats, y: Codes, folds: Codes, metric: Metric) -> Blended:
    """Every row answered by a blend that was fitted on the rows of the other folds."""
    whole = frozenset(range(len(oof)))
    answers = _honest(kind, oof, y, folds, [whole])[whole]
    return Blended(kind, answers, metric(y, answers))


def prefix_tables(
    kind: str, oof: Floats, y: Codes, units: Sequence[tuple[int, int]], folds: Codes | None = None, metric: Metric | None = None
) -> list[Blend]:
    """The blend of every prefix of `units`, an ordered list of (family, fold), as one record per prefix.

    A family's weight is shared equally by its folds that are there. Scores are cross-fitted by `folds` int (rows,) in `metric`;
    without them they are None. What a rank counts among is the same for all: `references(oof)`. Unknown kinds: UserError.
    """
    _refuse_unknown(kind)
    named = [family for family, _ in units]
    prefixes = [(frozenset(named[: count + 1]), named[: count + 1]) for count in range(len(named))]
    scores: dict[frozenset[int], float | None] = {}
    if folds is not None and metric is not None:
        answers = _honest(kind, oof, y, folds, list(dict.fromkeys(subset for subset, _ in prefixes)))
        scores = {subset: metric.or_none(y, p) for subset, p in answers.items()}
    terms = _Terms(kind, oof, references(oof) if kind == "rank" else ())
    known: dict[tuple[frozenset[int], int], Blend] = {}
    tables = []
    for subset, families in prefixes:
        key = (subset, len(families) if kind == "vote" else 0)
        if key not in known:
            known[key] = _fit(terms, y, subset, len(families))
        own = known[key].weights
        shared = tuple(own[family] / families.count(family) for family in families)
        tables.append(replace(known[key], weights=shared, references=(), units=len(families), score=scores.get(subset)))
    return tables


def references(oof: Floats) -> References:
    """What ranks are counted among: at most QUANTILES probabilities per family and class, ascending, of six digits."""
    some = np.sort(oof.astype(np.float64), axis=1)
    if some.shape[1] > QUANTILES:
        some = np.quantile(some, np.linspace(0, 1, QUANTILES), axis=1).transpose(1, 0, 2)
    return tuple(tuple(tuple(float(f"{value:.6g}") for value in label) for label in family.T) for family in some)


class _Terms:
    """The predictions of some rows as a kind of blend sums them: float64 (families, rows, classes)."""

    def __init__(self, kind: str, p: Floats, known: References) -> None:
        self.kind, self.known = kind, known
        self.p = np.asarray(p, dtype=np.float64)
        self.x: Floats = self.p
        if kind in LEAST:
            self.x = np.log(np.maximum(self.p, LEAST[kind]))
        elif kind == "rank":
            self.x = ranks(self.p, known)
        elif kind == "vote":
            self.x = (self.p.argmax(axis=2)[..., None] == np.arange(p.shape[2])).astype(np.float64)

    def rows(self, chosen: Codes | NDArray[np.bool_]) -> _Terms:
        """The same of some rows."""
        some = object.__new__(_Terms)
        some.kind, some.known, some.p, some.x = self.kind, self.known, self.p[:, chosen], self.x[:, chosen]
        return some

    def mix(self, blend: Blend) -> Floats:
        """float64 (rows, classes): the blend before its temperature."""
        weights = np.array(blend.weights)
        used = np.flatnonzero(weights)
        total = np.tensordot(weights[used], self.x[used], axes=1)
        if self.kind == "vote":
            total += np.tensordot(weights[used], self.p[used], axes=1) / (blend.units + 1)
        elif self.kind == "rank":
            total += TINY
        elif self.kind in LEAST:
            total += np.array(blend.shift or 0.0)
            total = np.exp(total - total.max(axis=1, keepdims=True))
        return np.asarray(total / total.sum(axis=1, keepdims=True))


def ranks(p: Floats, known: Sequence[Sequence[Sequence[float]]]) -> Floats:
    """Halfway between the shares of references below `p` and of those not above it."""
    ranks = np.empty_like(p)
    for family, values, out in zip(known, p, ranks, strict=True):
        for label, some in enumerate(family):
            left = np.searchsorted(some, values[:, label], side="left")
            right = np.searchsorted(some, values[:, label], side="right")
            out[:, label] = (left + right) / (2 * len(some))
    return ranks


def _fit(terms: _Terms, y: Codes, subset: frozenset[int], units: int) -> Blend:
    """The blend of a subset of families; the others have weight 0."""
    used = sorted(subset)
    weights = np.zeros(len(terms.p))
    few = sample(y, FITTED)
    if terms.kind == "stack":
        weights[used], shift = stacked(terms.rows(few).x[used], y[few])
        return Blend("stack", tuple(weights.tolist()), 1.0, tuple(shift.tolist()), units=units)
    weights[used] = convex_weights(terms.p[used], y) if terms.kind == "weighted" else 1 / len(used)
    plain = Blend(terms.kind, tuple(weights.tolist()), 1.0, references=terms.known, units=units)
    return replace(plain, temperature=round(temperature(terms.rows(few).mix(plain), y[few]), 6))


def _honest(kind: str, oof: Floats, y: Codes, folds: Codes, subsets: Sequence[frozenset[int]]) -> dict[frozenset[int], Floats]:
    """The answers of the blend of each subset; rows are answered by what was fitted on other folds' rows."""
    _refuse_unknown(kind)
    if len(np.unique(folds)) < 2:
        folds = np.arange(len(y)) % 2
    out: dict[frozenset[int], Floats] = {subset: np.empty(oof.shape[1:]) for subset in subsets}
    for fold in np.unique(folds):
        inside = folds == fold
        outside = ~inside if len(y) > 1 else inside  # a single row has no others
        known = references(oof[:, outside]) if kind == "rank" else ()
        seen, judged = (_Terms(kind, oof[:, rows], known) for rows in (outside, inside))
        for subset, answers in out.items():
            fitted = _fit(seen, y[outside], subset, len(subset))
            answers[inside] = tempered(judged.mix(fitted), fitted.temperature)
    return out


def _refuse_unknown(kind: str) -> None:
    if kind not in KINDS:
        raise UserError(f"unknown blend '{kind}'", expected=", ".join(KINDS), remedy=did_you_mean(kind, KINDS))
