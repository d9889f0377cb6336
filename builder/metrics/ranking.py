"""Metrics of rankings: int (rows, places), the classes of each row, best first; -1 is no class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


def mean_precision(y: Ints, ranked: Ints) -> float:
    """Mean average precision at the number of places that there are.

    Of a row with the one class y: one over the place at which it stands, 0 when it does not. Of several labels: the mean over
    as many places as can be right; a row without any label counts 0. Only the first mention of a class counts.
    """
    rows, places = ranked.shape
    inside = (ranked >= 0) & (ranked < (y.shape[1] if y.ndim == 2 else np.iinfo(np.int64).max))
    if y.ndim == 2:
        hits = inside & (y[np.arange(rows)[:, None], np.where(inside, ranked, 0)] == 1)
        possible = np.minimum(y.sum(axis=1), places)
    else:
        hits = inside & (ranked == y[:, None])
        possible = np.ones(rows, dtype=np.int64)
    for place in range(1, places):
        hits[:, place] &= ~(ranked[:, :place] == ranked[:, place : place + 1]).any(axis=1)
    precision = np.where(hits, hits.cumsum(axis=1) / np.arange(1, places + 1), 0.0).sum(axis=1)
    return float(np.divide(precision, possible, out=np.zeros(rows), where=possible > 0).mean())
