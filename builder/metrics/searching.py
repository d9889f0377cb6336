"""Where to cut: the thresholds, cuts and weights with which an objective is best on given rows.

Pure numpy and deterministic. Scores are steps, flat between two predictions: candidates lie in the middle between two of them,
and of equally good ones the middle one is taken. At most ROWS rows (or CELLS numbers) and a few candidates are looked at; nothing
here is exact, and deciding.py judges what is found by rows that were not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics import MEAN, METRICS, Metric
from builder.runtime.decide import expected

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Objective = Callable[[Any, Any], float]  # (truth, labels) -> score, the more the better
ROWS, CELLS = 20_000, 200_000
CANDIDATES = 128
COARSE = 24  # candidates of one of many columns
COLUMNS = 64  # more are not searched one by one
ROUNDS = 2
FACTORS = 2.0 ** np.arange(-1.5, 1.51, 0.25)
SAME = 1e-12


def threshold(y: Array, scores: Array, objective: Objective) -> float:
    """The best t for labels `scores >= t`, both (rows,)."""
    chosen = _some(len(y))
    return _threshold(y[chosen], scores[chosen], objective, CANDIDATES)


def _threshold(y: Array, scores: Array, objective: Objective, count: int) -> float:
    candidates = between(scores, count)
    return float(candidates[_best([objective(y, (scores >= t).astype(np.int64)) for t in candidates])])


def of_one_column(metric: Metric) -> Metric | None:
    """The metric of one column, when `metric` is its mean over columns, each of which can then be searched alone."""
    if metric.name == "f1_macro":
        return METRICS["f1"]
    inner = MEAN.fullmatch(metric.name)
    return METRICS[inner[1]] if inner else None


def separate(y: Array, p: Array, objective: Objective) -> tuple[float, ...]:
    """The best threshold for each column of `p` (rows, columns), when the score is the mean of those of the columns."""
    return tuple(threshold(y[:, column], p[:, column], objective) for column in range(p.shape[1]))


def together(y: Array, p: Array, objective: Objective) -> tuple[float, ...]:
    """The best thresholds for the columns of `p` (rows, columns): the best common one, then one column after the other."""
    chosen = _some(len(y), p.shape[1])
    y, p = y[chosen], p[chosen]
    common = between(p.reshape(-1), COARSE)
    found = np.full(p.shape[1], common[_best([objective(y, (p >= t).astype(np.int64)) for t in common])])
    score = objective(y, (p >= found).astype(np.int64))
    for _ in range(ROUNDS if p.shape[1] <= COLUMNS else 0):
        before = score
        for column in range(p.shape[1]):
            found[column], score = _improved(y, p, found, column, objective, score)
        if score <= before + SAME:
            break
    return tuple(float(value) for value in found)


def _improved(y: Array, p: Array, found: Array, column: int, objective: Objective, score: float) -> tuple[float, float]:
    """The best threshold of one column, the others as they are, and the score that it gives."""
    labels = (p >= found).astype(np.int64)
    candidates, scores = between(p[:, column], COARSE), []
    for candidate in candidates:
        labels[:, column] = p[:, column] >= candidate
        scores.append(objective(y, labels))
    best = _best(scores)
    return (float(candidates[best]), scores[best]) if scores[best] > score + SAME else (float(found[column]), score)


def weights(y: Array, p: Array, objective: Objective) -> tuple[float, ...]:
    """The best weight for each class, the most weighted probability (rows, classes) deciding: by the prior, then one by one."""
    chosen = _some(len(y), p.shape[1])
    y, p = y[chosen], p[chosen]
    classes = p.shape[1]
    prior = np.bincount(y, minlength=classes)[:classes] + 1.0
    starts = [(prior / prior.max()) ** -power for power in (0.0, 0.25, 0.5, 0.75, 1.0)]
    scores = [objective(y, (p * start).argmax(axis=1)) for start in starts]
    found, score = starts[int(np.argmax(scores))].copy(), max(scores)
    for _ in range(ROUNDS if classes <= COLUMNS else 0):
        before = score
        for code in range(classes):
            rest = p * found
            rest[:, code] = -1.0
            rival, strength = rest.argmax(axis=1), rest.max(axis=1)
            tried = [objective(y, np.where(p[:, code] * (found[code] * factor) > strength, code, rival)) for factor in FACTORS]
            best = _best(tried)
            if tried[best] > score + SAME:
                found[code], score = found[code] * FACTORS[best], tried[best]
        if score <= before + SAME:
            break
    return tuple(float(value) for value in found)


def cuts(y: Array, p: Array, grades: int, objective: Objective) -> tuple[float, ...]:
    """The best ascending cuts, one less than `grades`, of the expected class of `p` (rows, classes) or its one number."""
    chosen = _some(len(y))
    y, values = y[chosen], expected(p[chosen])
    halves = np.arange(grades - 1) + 0.5
    candidates = np.unique(np.concatenate([between(values, CANDIDATES), halves]))
    place = np.searchsorted(candidates, values, side="right")  # a value has reached the candidates below its place
    shares = np.cumsum(np.bincount(y, minlength=grades)[: grades - 1]) / len(y)
    alike = np.searchsorted(candidates, np.quantile(values, shares)).clip(0, len(candidates) - 1)
    starts = [np.searchsorted(candidates, halves), alike]
    found = max(starts, key=lambda start: objective(y, _codes(start, place, len(candidates)))).copy()
    score = objective(y, _codes(found, place, len(candidates)))
    for _ in range(ROUNDS):
        before = score
        for cut in range(grades - 1):
            low = found[cut - 1] if cut else 0
            high = found[cut + 1] if cut + 1 < grades - 1 else len(candidates) - 1
            options = [np.concatenate([found[:cut], [at], found[cut + 1 :]]) for at in range(low, high + 1)]
            scores = [objective(y, _codes(option, place, len(candidates))) for option in options]
            best = _best(scores)
            if scores[best] > score + SAME:
                found, score = options[best], scores[best]
        if score <= before + SAME:
            break
    return tuple(float(candidates[at]) for at in found)


def _codes(cuts_at: Array, place: Array, count: int) -> Array:
    """int (rows,): how many of the cuts each row has reached; cut i lies at candidate `cuts_at[i]` of `count`."""
    table = np.searchsorted(cuts_at, np.arange(count + 1), side="left")
    return np.asarray(table[place])


def between(values: Array, count: int) -> Array:
    """At most about `count` ascending places between the values, and one below and one above all of them."""
    known = np.unique(values)
    ends = [known[0], np.nextafter(known[-1], np.inf)]
    middles = (known[:-1] + known[1:]) / 2.0
    if len(middles) > count:  # as many rows between each two, and as much room
        by_rows = np.searchsorted(known, np.quantile(values, np.linspace(0, 1, count // 2))).clip(0, len(middles) - 1)
        by_room = np.searchsorted(known, np.linspace(known[0], known[-1], count // 2)).clip(0, len(middles) - 1)
        middles = middles[np.unique(np.concatenate([by_rows, by_room]))]
    return np.unique(np.concatenate([middles, ends]))


def _best(scores: list[float]) -> int:
    """Which score is best; of equally good ones that stand together, the middle one of the first."""
    table = np.asarray(scores)
    good = np.flatnonzero(table >= table.max() - SAME) if np.isfinite(table.max()) else np.arange(len(table))
    broken = np.flatnonzero(np.diff(good) > 1)
    run = good[: broken[0] + 1] if len(broken) else good
    return int(run[len(run) // 2])


def _some(rows: int, columns: int = 1) -> Array:
    """Indices of at most ROWS rows, fewer where there are many columns, the same ones every time."""
    most = max(1000, min(ROWS, CELLS // columns))
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])
