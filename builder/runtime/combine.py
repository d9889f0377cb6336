"""From the predictions of units to one answer per sample: each sample's longest complete prefix, with that prefix's own weights.

Expects: per unit float32 (n, outputs), NaN rows where the unit gave no answer; the plan's prefixes and its blend.
Produces: float64 (n, outputs), NaN rows for samples that no unit answered. A row depends on that row's inputs only, so equal
    progress gives equal bytes whatever the chunks were. Each head is blended alone, as if there were no other:

    softmax    what the blend says of probabilities that sum to 1, normalised; the temperature T divides their logarithms
    sigmoid    weighted: mean of p; geometric: mean of the logits of p within 1e-12 .. 1 - 1e-12, as a probability; rank: mean of
               the ranks of p; the temperature divides its logit: p^a / (p^a + (1 - p)^a), a = 1 / T
    identity   weighted: mean

Never: uses the weights of one prefix on another, or a unit beyond the first one that is missing (except, in an honest
    rehearsal, in place of the same model's other folds).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .heads import IDENTITY, SIGMOID, SOFTMAX, sigmoid, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .contract import Head, Plan, Prefix, Unit

    Floats = NDArray[np.floating[Any]]
    Wide = NDArray[np.float64]
    Counts = NDArray[np.int64]

UNKNOWN_FOLD = -2
TINY = 1e-12  # the least probability whose logarithm is taken
TINY_STACK = 1e-6  # the same where logarithms are summed with weights of any size


@dataclass(frozen=True)
class Blend:
    """How the units of a prefix become one answer.

    Attributes:
        kind: One of contract.BLENDS.
        temperatures: Of each unit's own probabilities; units beyond the last one have 1.
        references: Of a `rank` blend, per unit: one ascending array per output.
        heads: What the outputs are; none: one class of each row.
    """

    kind: str = "weighted"
    temperatures: tuple[float, ...] = ()
    references: tuple[tuple[Wide, ...], ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def link(self) -> str:
        """That of the first head, which is the only one where it matters."""
        return self.heads[0].link if self.heads else SOFTMAX

    @classmethod
    def of(cls, plan: Plan) -> Blend:
        """The plan's, which has been checked."""
        heats, heads = tuple(unit.temperature for unit in plan.units), plan.answer.parts
        if plan.blend != "rank":
            return cls(plan.blend, heats, (), heads)
        arrays = {name: tuple(np.asarray(each, dtype=np.float64) for each in table) for name, table in plan.references.items()}
        return cls(plan.blend, heats, tuple(arrays[f"{unit.member} {unit.view}"] for unit in plan.units), heads)


WEIGHTED = Blend()


def reached(predictions: Sequence[Floats]) -> Counts:
    """Length int (n,) of each sample's complete prefix: the number of leading units that answered it."""
    alive = np.ones(len(predictions[0]), dtype=bool)
    length = np.zeros(len(alive), dtype=np.int64)
    for values in predictions:
        alive = alive & np.isfinite(values).all(axis=1)
        if not alive.any():
            break
        length += alive
    return length


def pool(predictions: Sequence[Floats], lengths: Counts, prefixes: Sequence[Prefix], blend: Blend = WEIGHTED) -> Wide:
    """The answer (n, outputs) of each sample's prefix: its units as the blend says, then its temperature."""

    def alone(predictions: Sequence[Floats], prefixes: Sequence[Prefix], blend: Blend) -> Wide:
        return _mix(predictions, lengths, _weights(lengths, prefixes), prefixes, blend)

    return _each_head(alone, predictions, prefixes, blend)


def pool_honest(
    predictions: Sequence[Floats],
    lengths: Counts,
    prefixes: Sequence[Prefix],
    units: Sequence[Unit],
    folds: Counts,
    blend: Blend = WEIGHTED,
) -> Wide:
    """The same for training rows in a rehearsal: no row is answered by a model that saw it.

    Args:
        folds: int (n,), the fold in which each row was held out; UNKNOWN_FOLD for rows that no model saw.

    The weight of a member and view moves from its other folds to the unit of the row's own fold, wherever in the plan that unit
    stands, if it has run; what cannot move is dropped and the rest renormalised (not in a stack, whose weights are no shares).
    Rows without any honest unit become NaN. Units of fold -1 keep their weight: they have no other fold to give it to.
    """

    def alone(predictions: Sequence[Floats], prefixes: Sequence[Prefix], blend: Blend) -> Wide:
        return _mix_honest(predictions, lengths, prefixes, units, folds, blend)

    return _each_head(alone, predictions, prefixes, blend)


def _each_head(
    alone: Callable[[Sequence[Floats], Sequence[Prefix], Blend], Wide],
    predictions: Sequence[Floats],
    prefixes: Sequence[Prefix],
    blend: Blend,
) -> Wide:
    """What `alone` makes of each head's own outputs, weights and temperatures, side by side."""
    if len(blend.heads) < 2:
        return alone(predictions, prefixes, blend)
    parts = []
    for number, (head, place) in enumerate(zip(blend.heads, slices(blend.heads), strict=True)):
        some = [_of_head(prefix, number, place) for prefix in prefixes]
        own = replace(blend, references=tuple(each[place] for each in blend.references), heads=(head,))
        parts.append(alone([values[:, place] for values in predictions], some, own))
    return np.concatenate(parts, axis=1)


def _of_head(prefix: Prefix, number: int, place: slice) -> Prefix:
    share = prefix.shares[number] if prefix.shares else prefix
    return replace(prefix, weights=share.weights, temperature=share.temperature, shift=prefix.shift[place], shares=())


def _mix_honest(
    predictions: Sequence[Floats],
    lengths: Counts,
    prefixes: Sequence[Prefix],
    units: Sequence[Unit],
    folds: Counts,
    blend: Blend,
) -> Wide:
    weights = _weights(lengths, prefixes)
    honest = np.zeros_like(weights)
    for index, unit in enumerate(units):
        keeps = (folds == unit.fold) | (folds == UNKNOWN_FOLD) | (unit.fold == -1)
        honest[:, index] += np.where(keeps, weights[:, index], 0.0)
        for other, twin in enumerate(units):
            if other != index and (twin.member, twin.view) == (unit.member, unit.view) and twin.fold >= 0:
                takes = ~keeps & (folds == twin.fold) & np.isfinite(predictions[other]).all(axis=1)
                honest[:, other] += np.where(takes, weights[:, index], 0.0)
    known = (honest != 0).any(axis=1)
    if blend.kind != "stack":
        total = honest.sum(axis=1, keepdims=True)
        honest = np.divide(honest, total, out=np.zeros_like(honest), where=total > 0)
    return _mix(predictions, np.where(known, lengths, 0), honest, prefixes, blend)


def _weights(lengths: Counts, prefixes: Sequence[Prefix]) -> Wide:
    """(n, units): row i holds the weights of prefix `lengths[i]`, zero beyond it."""
    table = np.zeros((len(prefixes) + 1, len(prefixes)), dtype=np.float64)
    for length, prefix in enumerate(prefixes, start=1):
        table[length, :length] = prefix.weights
    return np.asarray(table[lengths])


def _mix(predictions: Sequence[Floats], lengths: Counts, weights: Wide, prefixes: Sequence[Prefix], blend: Blend) -> Wide:
    total = np.zeros(predictions[0].shape, dtype=np.float64)
    mean = np.zeros_like(total) if blend.kind == "vote" else total
    for index, values in enumerate(predictions):
        weight = weights[:, index : index + 1]
        if not weight.any():
            continue
        p = _own(values, blend.temperatures[index] if index < len(blend.temperatures) else 1.0, blend.link)
        total += np.where(weight != 0, weight * _voice(p, index, blend), 0.0)
        if blend.kind == "vote":
            mean += np.where(weight != 0, weight * p, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # of rows without any answer
        if blend.link == SOFTMAX:
            answer = _answer(total, mean, lengths, prefixes, blend)
        else:  # weights sum to 1 but for rounding, which large numbers would show
            answer = _unlinked(total / weights.sum(axis=1, keepdims=True), lengths, prefixes, blend)
    answer[lengths == 0] = np.nan
    return answer


def _own(values: Floats, temperature: float, link: str) -> Wide:
    """A unit's own probabilities, tempered."""
    wide = values.astype(np.float64)
    if temperature == 1.0:
        return wide
    power = 1.0 / temperature
    return _bent(wide, power) if link == SIGMOID else _normal(np.maximum(wide, TINY) ** power)


def _voice(p: Wide, index: int, blend: Blend) -> Wide:
    """What a unit adds to the blend, before its weight."""
    if blend.kind == "geometric":
        return _logit(np.clip(p, TINY, 1.0 - TINY)) if blend.link == SIGMOID else np.asarray(np.log(np.maximum(p, TINY)))
    if blend.kind == "stack":
        return np.asarray(np.log(np.maximum(p, TINY_STACK)))
    if blend.kind == "vote":
        return np.asarray(p.argmax(axis=1)[:, None] == np.arange(p.shape[1]), dtype=np.float64)
    if blend.kind == "rank":
        columns = zip(blend.references[index], p.T, strict=True)
        return np.stack([_rank(known, values) for known, values in columns], axis=1)
    return p


def _rank(known: Wide, values: Wide) -> Wide:
    """The middle rank of each value among the known ones, 0 .. 1."""
    both = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    return np.asarray(both / (2.0 * max(1, len(known))))


def _answer(total: Wide, mean: Wide, lengths: Counts, prefixes: Sequence[Prefix], blend: Blend) -> Wide:
    """What the voices of a prefix's units add up to, as probabilities of classes."""
    if blend.kind == "stack":
        none = (0.0,) * total.shape[1]
        total = total + np.array([none, *(prefix.shift or none for prefix in prefixes)])[lengths]
        return _normal(np.exp(total - total.max(axis=1, keepdims=True)))
    if blend.kind == "geometric":
        total = _normal(np.exp(total - total.max(axis=1, keepdims=True)))
    elif blend.kind == "vote":
        total = _normal(total + mean / (lengths[:, None] + 1))
    elif blend.kind == "rank":
        total = _normal(total + TINY)
    power = _powers(lengths, prefixes)
    top = total.max(axis=1, keepdims=True)
    return _normal(np.where(power == 1.0, total, np.power(total / top, power)))


def _unlinked(total: Wide, lengths: Counts, prefixes: Sequence[Prefix], blend: Blend) -> Wide:
    """The same, as probabilities that know nothing of each other, or as numbers."""
    if blend.link == IDENTITY:
        return total
    power = _powers(lengths, prefixes)
    return sigmoid(power * total) if blend.kind == "geometric" else _bent(np.clip(total, 0.0, 1.0), power)


def _powers(lengths: Counts, prefixes: Sequence[Prefix]) -> Wide:
    """(n, 1): what a prefix's temperature raises probabilities to."""
    return np.asarray(np.array([1.0] + [1.0 / prefix.temperature for prefix in prefixes])[lengths][:, None])


def _bent(p: Wide, power: Wide | float) -> Wide:
    """Probabilities whose logits are `power` times those of `p`."""
    return np.asarray(np.where(power == 1.0, p, sigmoid(power * _logit(p))))


def _logit(p: Wide) -> Wide:
    with np.errstate(divide="ignore"):  # certain answers have infinite ones
        return np.asarray(np.log(p) - np.log1p(-p))


def _normal(p: Wide) -> Wide:
    return np.asarray(p / p.sum(axis=1, keepdims=True))
