"""The forecast for the machine that the kernel will run on, and the limits that its speed means here.

Expects: the commit run and the rerun of a rehearsal; the plan with its prices; what is known of both machines' speed.
Produces: `9h limit: 3h12m to 4h05m at 120,000 rows`, what it rests on, and findings.
Never: foretells a GPU from a CPU: only from prices that were measured on that GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from builder.machines import Machine
from builder.rehearse import forecast as counting
from builder.rehearse.benchmark import Speed
from builder.rehearse.findings import MUST, NOTE, SHOULD, Finding
from builder.rehearse.forecast import CLOSING_S, Estimate
from builder.rehearse.playing import Played, Stage
from builder.runtime.contract import Plan

MEASURED = 1.15  # two measured machines: how far off their ratio may be for other work
UNKNOWN = 2.5  # how many times faster or slower a machine may be that nobody measured
PRICED = 1.57  # ratio of real to forecast time that 99 of 100 runs stayed under: split-conformal on recorded runs
TIMES = 10


@dataclass(frozen=True)
class Pace:
    """How many times as long work takes on the machine as here: the bounds, and how we know."""

    low: float
    high: float
    known: bool
    words: str

    def limit(self, seconds: float) -> float:
        """The wall clock here that means `seconds` there; unscaled when nothing is known."""
        return seconds / math.sqrt(self.low * self.high) if self.known else seconds


def pace(machine: Machine, measure: Callable[[int], Speed]) -> Pace:
    """Compare `machine` with this one, which is measured only where there is something to compare."""
    if machine.accelerator != "cpu":
        return Pace(1.0, 1.0, known=False, words=f"a GPU's speed cannot be told from here: {machine.name}")
    if not (machine.speed_single and machine.speed_every):
        words = f"the speed of '{machine.name}' was never measured (kkb machine capture): it may take {UNKNOWN:g} times as long"
        return Pace(1 / UNKNOWN, UNKNOWN, known=False, words=words)
    own = measure(machine.cores)
    ratios = sorted((own.single / machine.speed_single, own.every / machine.speed_every))
    words = f"'{machine.name}' takes {ratios[0]:.2f} to {ratios[1]:.2f} times as long as this machine, by the built-in benchmark"
    return Pace(ratios[0] / MEASURED, ratios[1] * MEASURED, known=True, words=words)


@dataclass(frozen=True)
class Outlook:
    """A forecast, or why there is none. `limit_s` is the competition's."""

    estimate: Estimate | None
    limit_s: float
    basis: str

    def record(self) -> dict[str, float]:
        """`forecast` of `--json`."""
        if self.estimate is None:
            return {}
        return {"rows": self.estimate.rows, "low_s": round(self.estimate.low, 2), "high_s": round(self.estimate.high, 2)}

    @property
    def text(self) -> str:
        """One line for a person; empty when there is no forecast."""
        if self.estimate is None:
            return ""
        low, high = duration(self.estimate.low), duration(self.estimate.high)
        return f"{duration(self.limit_s)} limit: {low} to {high} at {self.estimate.rows:,} rows"

    def findings(self, name: str) -> Iterator[Finding]:
        """What the forecast means."""
        if self.estimate is None:
            if self.basis:
                remedy = f"measure it once: kkb push {name} --wait, kkb output {name}, kkb plan {name}"
                yield Finding(NOTE, "no-forecast", self.basis, remedy, "")
        elif self.estimate.high >= self.limit_s:
            sure = self.estimate.low >= self.limit_s
            severity, word = (MUST, "will not") if sure else (SHOULD, "may not")
            text = f"{self.estimate.rows:,} rows {word} fit: {self.text}"
            yield Finding(severity, "forecast", text, f"fewer or cheaper units leave more room: kkb plan {name}", "")


NONE = Outlook(None, 0.0, "")


def forecast(stage: Stage, commit: Played, rerun: Played, speed: Pace) -> Outlook:
    """The forecast for the competition's known size, else ten times the rehearsed rows."""
    limit, rows = stage.config.competition.limit, stage.config.competition.test_rows or TIMES * rerun.run.rows
    if not rerun.record or not rerun.run.rows:
        return Outlook(None, limit, "")
    short, long = (counting.seen(one.record, one.run.seconds) for one in (commit, rerun))
    if priced_on(stage.plan, stage.machine.name):
        estimate = priced(stage.plan, long.once, rows)
        basis = f"prices measured on {stage.machine.name}"
    elif stage.machine.accelerator != "cpu":
        basis = (
            f"no forecast for {stage.machine.name}: nothing of this plan was measured on that GPU, and this machine cannot tell"
        )
        return Outlook(None, limit, basis)
    else:
        estimate = counting.here(short, long, rows).scaled(speed.low, speed.high)
        basis = f"runs of {short.rows} and {long.rows} rows here; {speed.words}"
    return Outlook(estimate.below(bound(stage.plan, limit, long.once)), limit, basis)


def bound(plan: Plan, limit: float, fixed: float) -> float:
    """What a notebook that obeys its clock takes at most: it stops at limit less reserve, then closes its files."""
    reserve = plan.reserve * plan.limit_s if plan.reserve < 1 else min(plan.reserve, plan.limit_s)
    return max(0.0, min(limit, plan.limit_s) - reserve) + min(reserve, CLOSING_S, fixed)


def priced_on(plan: Plan, machine: str) -> bool:
    """Whether all prices of the plan were measured by runs on `machine`."""
    told = str(plan.expected.get("prices_from", "")).split("; ")
    return all(one == f"a run on {machine}" or one.startswith(f"a run on {machine} (") for one in told)


def priced(plan: Plan, fixed: float, rows: int) -> Estimate:
    """By the plan's own prices: start and end as here, each model loaded once, each input decoded once per row."""
    loads = {(unit.dataset, unit.file): unit.load_s for unit in plan.units}
    decodes = {unit.input.key: unit.decode_s for unit in plan.units}
    workers = max(1, int(plan.expected.get("workers") or 1))
    row = (sum(unit.seconds for unit in plan.units) + sum(decodes.values())) / workers
    middle = fixed + sum(loads.values()) + row * rows
    return Estimate(rows, middle, middle / PRICED, middle * PRICED)


def duration(seconds: float) -> str:
    """`3h12m`, `9h`, `12m30s`, `4.2s`."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h{minutes:02d}m" if minutes else f"{hours}h"
