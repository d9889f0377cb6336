"""In which order units are worth their seconds, and what is answered after each of them.

Pure numpy. First one fold of every family that helps, the best single one in front, the others by gain per second; then the
further folds of those families, in the same order: a second fold makes an answer steadier, which out-of-fold predictions cannot
see (each row has one honest fold), so folds come after families and all of them are offered to the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.plan import blend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.metrics import Metric

    Floats = NDArray[np.floating[Any]]
    Codes = NDArray[np.int64]

WORTH = 1e-4  # a family that lowers the out-of-fold logloss by less than this share of it is not worth a unit
RESAMPLES = 200
SHORTEST_S = 1e-7  # prices are rounded to this


@dataclass(frozen=True)
class Family:
    """One member under one view: its name, seconds per sample of one fold, and the folds that exist."""

    name: str
    seconds: float
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One unit of the order.

    Attributes:
        family: Index of its family.
        fold: Its fold.
        weights: Weights of the units so far, this one included.
        temperature: Temperature of the blend of the units so far.
        score: Cross-fitted competition metric of the families so far.
        gain: How much better than before this unit; 0 for further folds, whose gain is not priced here.
    """

    family: int
    fold: int
    weights: tuple[float, ...]
    temperature: float
    score: float
    gain: float


@dataclass(frozen=True)
class Order:
    """The units in order, the families left out with the reason, and the predictions behind the last score."""

    steps: tuple[Step, ...]
    dropped: tuple[str, ...]
    predicted: Floats


def order(families: Sequence[Family], oof: Floats, y: Codes, folds: Codes, metric: Metric, *, equal: bool = False) -> Order:
    """Order the units of `families`.

    Args:
        families: Their prices and folds.
        oof: float (families, rows, classes), out-of-fold probabilities.
        y: int (rows,), true classes.
        folds: int (rows,), for cross-fitting.
        metric: The competition metric; scores are told in it.
        equal: Equal weights for all families (`blend = "mean"`), and none is dropped.
    """
    chosen, dropped = _choose(families, oof, y, equal=equal)
    scores: list[float] = []
    predictions: Floats = np.empty(0)
    for count in range(1, len(chosen) + 1):
        predictions = blend.cross_fitted(oof[chosen[:count]], y, folds, equal=equal)
        scores.append(metric(y, predictions))
    steps: list[Step] = []
    have: dict[int, int] = {}
    for position, family in enumerate(chosen):
        have[family] = 1
        gain = metric.gain(scores[position], scores[position - 1]) if position else 0.0
        units = [(step.family, step.fold) for step in steps] + [(family, families[family].folds[0])]
        steps.append(_step(units, chosen[: position + 1], oof, y, scores[position], gain, equal=equal))
    for depth in range(1, max(len(families[f].folds) for f in chosen)):
        for family in (f for f in chosen if depth < len(families[f].folds)):
            units = [(step.family, step.fold) for step in steps] + [(family, families[family].folds[depth])]
            steps.append(_step(units, chosen, oof, y, scores[-1], 0.0, equal=equal))
    return Order(tuple(steps), tuple(dropped), predictions)


def _choose(families: Sequence[Family], oof: Floats, y: Codes, *, equal: bool) -> tuple[list[int], list[str]]:
    """Families in the order of gain per second, and a sentence for each that is not worth it."""
    alone = [blend.logloss(blend.tempered(p, blend.temperature(p, y)), y) for p in oof]
    chosen = [int(np.argmin(alone))]
    best = alone[chosen[0]]
    while len(chosen) < len(families):
        losses = {f: _loss(oof[[*chosen, f]], y, equal=equal) for f in range(len(families)) if f not in chosen}
        # What is not worth a unit at all must not win by being cheap.
        worth = {f: (best - loss) / max(families[f].seconds, SHORTEST_S) for f, loss in losses.items()}
        worth = {f: density for f, density in worth.items() if equal or best - losses[f] >= WORTH * best}
        if not worth:
            return chosen, [
                f"{families[f].name} left out: logloss {best - loss:+.5f} for {families[f].seconds * 1e3:.2f} ms per sample"
                for f, loss in losses.items()
            ]
        pick = max(worth, key=lambda f: worth[f])
        chosen.append(pick)
        best = losses[pick]
    return chosen, []


def _loss(oof: Floats, y: Codes, *, equal: bool) -> float:
    weights = np.full(len(oof), 1.0 / len(oof)) if equal else blend.convex_weights(oof, y)
    p = blend.pooled(oof, weights)
    return blend.logloss(blend.tempered(p, blend.temperature(p, y)), y)


def _step(
    units: list[tuple[int, int]], families: list[int], oof: Floats, y: Codes, score: float, gain: float, *, equal: bool
) -> Step:
    """The step that ends with the last of `units`: each family's weight is shared by its folds that are there."""
    chosen = oof[families]
    weights = np.full(len(families), 1.0 / len(families)) if equal else blend.convex_weights(chosen, y)
    heat = blend.temperature(blend.pooled(chosen, weights), y)
    share = dict(zip(families, weights, strict=True))
    counts = {family: sum(1 for other, _ in units if other == family) for family in families}
    raw = np.array([share[family] / counts[family] for family, _ in units])
    exact = raw / raw.sum()
    return Step(units[-1][0], units[-1][1], tuple(float(w) for w in exact), round(heat, 6), score, gain)


def interval(y: Codes, predicted: Floats, metric: Metric, seed: int = 0) -> tuple[float, float]:
    """5th and 95th percentile of the metric over bootstrap resamples of the rows; resamples without a value are left out."""
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        rows = draw.integers(0, len(y), len(y))
        try:
            values.append(metric(y[rows], predicted[rows]))
        except ValueError:  # a class is missing from this resample
            continue
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [5, 95])
    return float(low), float(high)
