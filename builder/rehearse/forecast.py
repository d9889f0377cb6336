"""How long another number of rows would take, with an interval: pure arithmetic on what two runs told.

A run takes what is paid once (start, mounts, loading, the end), which both runs tell, and then so much per row. That is told by
the batches that the notebook itself timed: the difference of the two runs holds the start of workers, too, and drowns in it
when there are few rows. The interval is normalised split conformal (Papadopoulos et al. 2002; Lei et al. 2018): errors of
recorded runs, each divided by what made it doubtful, give the factor that 95 % of them stay within. A notebook that obeys its
clock never takes longer than that allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLOSING_S = 30.0  # after the plan's deadline a notebook still writes its files
# What makes a forecast doubtful, as shares: of what is paid once; of what rows cost, however many were timed; of what rows cost
# when only one second of them was timed. Then the factor: 30 runs of 8 kernels on two shared, overloaded cores, 2026-11-21.
FIXED, ROW, SECOND = 0.15, 0.12, 0.35
FACTOR = 2.2
HICCUP = 1.5  # times the other run's start: something else was going on


@dataclass(frozen=True)
class Seen:
    """What one run told. Seconds.

    Attributes:
        rows: That it answered.
        once: What was paid once, outside the stages that answer rows.
        work: Its predicting stage: starting workers, loading models, answering rows.
        row: Per row, by the batches that the notebook timed; 0 when it told nothing.
    """

    rows: int
    once: float
    work: float
    row: float


@dataclass(frozen=True)
class Estimate:
    """Seconds for `rows` rows: the middle, and the interval that 95 % of such runs lie in."""

    rows: int
    middle: float
    low: float
    high: float

    def scaled(self, low: float, high: float) -> Estimate:
        """On a machine that takes `low` to `high` times as long."""
        return Estimate(self.rows, self.middle * math.sqrt(low * high), self.low * low, self.high * high)

    def below(self, limit: float) -> Estimate:
        """Under a clock that ends the work in time."""
        return Estimate(self.rows, min(self.middle, limit), min(self.low, limit), min(self.high, limit))


def seen(run: Mapping[str, Any], seconds: float) -> Seen:
    """What a run's own run.json and its wall clock tell."""
    workers = max(1, int(run.get("accelerator", {}).get("workers") or 1))
    rows, stages = int(run.get("rows", 0)), run["stages"]
    work, probe = float(stages.get("predict", 0.0)), float(stages.get("probe", 0.0))
    return Seen(rows, max(0.0, seconds - work - probe), work, _row_seconds(run) / workers)


def _row_seconds(run: Mapping[str, Any]) -> float:
    """Processor seconds per row, by the medians of the notebook's own batches; each input is decoded once."""
    rows, total, decoded = max(1, int(run.get("rows", 0))), 0.0, set()
    for unit in run.get("units", ()):
        total += (unit.get("seconds_per_sample") or 0.0) * unit.get("samples", 0) / rows
        decode = unit.get("decode_seconds_per_sample") or 0.0
        if decode not in decoded:  # units that share an input report the same figure, to the last digit
            decoded.add(decode)
            total += decode
    return total


def here(short: Seen, long: Seen, rows: int) -> Estimate:
    """Seconds that `rows` rows would take on the machine of both runs, of which `long` had more rows."""
    row = min(long.row, long.work / max(1, long.rows))
    timed = row * long.rows
    low, high = sorted((short.once, long.once))
    once = (low + high) / 2 if high < HICCUP * low else low
    fixed, work = once + long.work - timed, row * rows
    middle = fixed + work
    share = math.hypot(ROW, SECOND / math.sqrt(max(timed, 0.01)))
    half = FACTOR * math.hypot(FIXED * fixed, share * work)
    return Estimate(rows, middle, max(middle - half, min(fixed, middle) / 2), middle + half)
