"""From the predictions of units to one answer per sample: each sample's longest complete prefix, with that prefix's own weights.

Expects: per unit float32 (n, classes), NaN rows where the unit gave no answer; the plan's prefixes.
Produces: float64 (n, classes), NaN rows for samples that no unit answered. A row depends on that row's inputs only, so equal
    progress gives equal bytes whatever the chunks were.
Never: uses the weights of one prefix on another, or a unit beyond the first one that is missing (except, in an honest
    rehearsal, in place of the same model's other folds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .contract import Prefix, Unit

    Floats = NDArray[np.floating[Any]]
    Counts = NDArray[np.int64]

UNKNOWN_FOLD = -2


def reached(predictions: Sequence[Floats]) -> Counts:
    """Length int (n,) of each sample's complete prefix: the number of leading units that answered it."""
    alive = np.ones(len(predictions[0]), dtype=bool)
    length = np.zeros(len(alive), dtype=np.int64)
    for values in predictions:
        alive = alive & np.isfinite(values).all(axis=1)
        length += alive
    return length


def pool(predictions: Sequence[Floats], lengths: Counts, prefixes: Sequence[Prefix]) -> NDArray[np.float64]:
    """The answer (n, classes): arithmetic weighted mean of the prefix's units, then its temperature."""
    return _mix(predictions, lengths, _weights(lengths, prefixes), prefixes)


def pool_honest(
    predictions: Sequence[Floats], lengths: Counts, prefixes: Sequence[Prefix], units: Sequence[Unit], folds: Counts
) -> NDArray[np.float64]:
    """The same for training rows in a rehearsal: no row is answered by a model that saw it.

    Args:
        folds: int (n,), the fold in which each row was held out; UNKNOWN_FOLD for rows that no model saw.

    The weight of a member and view moves from its other folds to the unit of the row's own fold, wherever in the plan that unit
    stands, if it has run; what cannot move is dropped and the rest renormalised. Rows without any honest unit become NaN.
    Units of fold -1 keep their weight: they have no other fold to give it to.
    """
    weights = _weights(lengths, prefixes)
    honest = np.zeros_like(weights)
    for index, unit in enumerate(units):
        keeps = (folds == unit.fold) | (folds == UNKNOWN_FOLD) | (unit.fold == -1)
        honest[:, index] += np.where(keeps, weights[:, index], 0.0)
        for other, twin in enumerate(units):
            if other != index and (twin.member, twin.view) == (unit.member, unit.view) and twin.fold >= 0:
                takes = ~keeps & (folds == twin.fold) & np.isfinite(predictions[other]).all(axis=1)
                honest[:, other] += np.where(takes, weights[:, index], 0.0)
    total = honest.sum(axis=1, keepdims=True)
    honest = np.divide(honest, total, out=np.zeros_like(honest), where=total > 0)
    return _mix(predictions, np.where(total[:, 0] > 0, lengths, 0), honest, prefixes)


def _weights(lengths: Counts, prefixes: Sequence[Prefix]) -> NDArray[np.float64]:
    """(n, units): row i holds the weights of prefix `lengths[i]`, zero beyond it."""
    table = np.zeros((len(prefixes) + 1, len(prefixes)), dtype=np.float64)
    for length, prefix in enumerate(prefixes, start=1):
        table[length, :length] = prefix.weights
    return np.asarray(table[lengths])


def _mix(
    predictions: Sequence[Floats], lengths: Counts, weights: NDArray[np.float64], prefixes: Sequence[Prefix]
) -> NDArray[np.float64]:
    mixed = np.zeros(predictions[0].shape, dtype=np.float64)
    for index, values in enumerate(predictions):
        weight = weights[:, index : index + 1]
        mixed += np.where(weight > 0, weight * values.astype(np.float64), 0.0)
    power = np.array([1.0] + [1.0 / prefix.temperature for prefix in prefixes])[lengths][:, None]
    top = mixed.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        cooled = np.where(power == 1.0, mixed, np.power(mixed / top, power))
        answer = cooled / cooled.sum(axis=1, keepdims=True)
    answer[lengths == 0] = np.nan
    return np.asarray(answer)
