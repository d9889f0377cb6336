"""How far a forecast of seconds may be off: a split-conformal factor from recorded runs, widened by what this run has shown.

Expects: at every look the seconds that are spent, and the seconds that the rest will take at the speed so far.
Produces: the seconds in which the rest is done with 99 %.
Never: assumes a distribution: FACTORS are quantiles of (what it took) / (what was forecast) over recorded runs on machines that
    drift, throttle, stall and lose workers (tests/bench/test_clock.py records and checks them).
"""

from __future__ import annotations

SURE = 1.57  # times a forecast of which nothing more is known
# From this share of the work on: what 99 of 100 forecasts stay below, of 700 runs on simulated machines. Early on the speed of
# the machine is not known yet; at the end little is left, and one dead or silent worker is much of it.
FACTORS = (
    (0.0, 4.2),
    (0.02, 3.5),
    (0.05, 3.0),
    (0.1, 2.5),
    (0.2, 2.2),
    (0.35, 2.0),
    (0.5, 3.4),
    (0.7, 3.2),
    (0.85, 3.5),
)
LOOKS = 64


class Forecast:
    """The forecasts of one run."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._looks: list[tuple[float, float]] = []

    def look(self, spent: float, remaining: float) -> None:
        """Remember what was forecast, at most LOOKS times, evenly spread."""
        if not self._looks or spent > self._looks[-1][0] + 0.01 * (spent - self._begin + remaining):
            self._looks.append((spent, remaining))
            if len(self._looks) > LOOKS:
                del self._looks[1::2]

    def grown(self, spent: float, remaining: float) -> float:
        """By how much this run's forecasts have grown, at most, at least 1: a machine that becomes slower goes on so."""
        return max([1.0, *((spent - at + remaining) / then for at, then in self._looks if then > 0)])

    def sure(self, spent: float, remaining: float, longest: float) -> float:
        """Seconds from now in which all is done with 99 %. `longest`: of a single task, which the end may have to wait for."""
        return factor(self.share(spent, remaining)) * remaining * self.grown(spent, remaining) + longest

    def share(self, spent: float, remaining: float) -> float:
        """How much of the work is done, 0 .. 1, by its seconds."""
        done = spent - self._begin
        return done / (done + remaining) if done + remaining > 0 else 1.0


def factor(share: float) -> float:
    """What a forecast is multiplied with when this share of the work is done."""
    return next(value for start, value in reversed(FACTORS) if share >= start)
