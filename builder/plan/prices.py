"""What units cost: their own seconds per sample, what they share (decoding, once per sample), what is paid once (loading)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SHORTEST_S = 1e-9  # no unit is free: gain per second must stay finite


@dataclass(frozen=True)
class Family:
    """One model under one view: its name, seconds per sample of one fold, and the folds that exist.

    Attributes:
        fixed: Seconds per unit that are paid once (loading).
        shared: Key -> seconds per sample that are paid once for all families with that key (decoding).
    """

    name: str
    seconds: float
    folds: tuple[int, ...]
    fixed: float = 0.0
    shared: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prices:
    """Prices of one fold of each family.

    Attributes:
        seconds: Per sample.
        fixed: Once per unit, however many samples there are.
        shared: Key -> seconds per sample that the first unit with that key pays for all others; one mapping per family.
        rows: Samples that the fixed part is spread over.
    """

    seconds: tuple[float, ...]
    fixed: tuple[float, ...] = ()
    shared: tuple[Mapping[str, float], ...] = ()
    rows: int = 0
    _unit: tuple[float, ...] = field(init=False, repr=False, compare=False)
    _holders: dict[str, list[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spread = [fixed / self.rows if self.rows else 0.0 for fixed in self.fixed] or [0.0] * len(self.seconds)
        unit = tuple(max(s + f, SHORTEST_S) for s, f in zip(self.seconds, spread, strict=True))
        object.__setattr__(self, "_unit", unit)
        holders: dict[str, list[int]] = {}
        for family, shared in enumerate(self.shared):
            for key in shared:
                holders.setdefault(key, []).append(family)
        object.__setattr__(self, "_holders", holders)

    @classmethod
    def of_families(cls, families: Sequence[Family], rows: int) -> Prices:
        return cls(
            tuple(family.seconds for family in families),
            tuple(family.fixed for family in families),
            tuple(family.shared for family in families),
            rows,
        )

    def of(self, holding: Sequence[int]) -> float:
        """Seconds per sample of so many folds of each family, loading included."""
        own = sum(count * price for count, price in zip(holding, self._unit, strict=True))
        keys: dict[str, float] = {}
        for count, shared in zip(holding, self.shared, strict=False):
            if count:
                keys.update(shared)
        return own + sum(keys.values())

    def marginal(self, holding: Sequence[int], family: int) -> float:
        """Seconds per sample of one more fold of `family`."""
        price = self._unit[family]
        for key, seconds in (self.shared[family] if self.shared else {}).items():
            if not any(holding[f] for f in self._holders[key]):
                price += seconds
        return price
