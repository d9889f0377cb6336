"""From members to an order: what has to be done in which time, and what the planner makes of it.

Expects: joined members, the competition's limit, its machine.
Produces: a course (units in order, weights, the rule of effort) and in words what was assumed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder.errors import UserError
from builder.plan import planner
from builder.plan.course import Course, Evidence
from builder.plan.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.config import Config
    from builder.machines import Machine
    from builder.metrics import Metric
    from builder.plan.members import Joined
    from builder.plan.prices import Family


@dataclass(frozen=True)
class Workload:
    """What the clock will have to do.

    Attributes:
        rows: Samples of the hidden test set.
        workers: Processes that predict at the same time.
        seconds: Until the reserve begins.
        note: What of this was assumed; empty when everything is known.
    """

    rows: int
    workers: int
    seconds: float
    note: str = ""

    @property
    def budget_s(self) -> float:
        """Seconds of all workers together."""
        return self.seconds * self.workers


def workload(config: Config, machine: Machine, visible: int, trained: int) -> Workload:
    """The workload of a kernel whose competition shows `visible` test rows and has `trained` training rows."""
    limit, reserve = config.competition.limit, config.inference.reserve
    seconds = limit - (reserve * limit if reserve < 1 else min(reserve, limit))
    workers = max(1, machine.devices if machine.accelerator != "cpu" else machine.cores)
    if config.competition.test_rows:
        return Workload(config.competition.test_rows, workers, seconds)
    rows = max(visible, trained, 1)
    where = "as many as training rows" if rows == trained else "as many as are visible"
    note = f"planned for {rows} test rows, {where}; say competition.test_rows when you know better"
    return Workload(rows, workers, seconds, note)


def choose(config: Config, joined: Joined, metric: Metric, work: Workload) -> tuple[Course, Workload]:
    """The course for `work`; and the work, with fewer rows when an assumed number of them does not fit.

    Raises UserError when some members have no out-of-fold predictions and others do, when no row was left out by all of them, or
    when not even the cheapest unit fits on as many rows as kernel.toml says.
    """
    _refuse_incomparable(joined)
    families = [dataclasses.replace(family, fixed=family.fixed * work.workers) for family in joined.families]
    if work.note:
        work = _what_fits(families, work)
    evidence = Evidence(joined.oof, joined.y, joined.folds)
    equal = config.inference.blend == "mean"
    try:
        course = planner.course(families, evidence, metric, budget_s=work.budget_s, rows=work.rows, equal=equal)
    except UserError as error:
        raise _in_words_of_a_kernel(error, work) from None
    return course, work


def _what_fits(families: Sequence[Family], work: Workload) -> Workload:
    """`work` with as many of its rows as the cheapest unit can do in half of the time, but at least one."""
    prices = Prices.of_families(families, 0)
    alone = [[int(f == g) for g in range(len(families))] for f in range(len(families))]
    rows = max(int((work.budget_s / 2 - family.fixed) / prices.of(own)) for family, own in zip(families, alone, strict=True))
    return dataclasses.replace(work, rows=min(work.rows, max(1, rows)))


def _in_words_of_a_kernel(error: UserError, work: Workload) -> UserError:
    return UserError(
        error.what,
        found=f"{work.seconds:g} s on {work.workers} workers for {work.rows} rows",
        expected=error.expected,
        remedy=f"use a faster model or a smaller input, or check competition.limit and test_rows; {error.remedy}",
    )


def _refuse_incomparable(joined: Joined) -> None:
    known = [bool(np.isfinite(oof).any()) for oof in joined.oof]
    if not any(known) or np.isfinite(joined.oof).all(axis=(0, 2)).any():
        return
    strangers = [family.name for family, some in zip(joined.families, known, strict=True) if not some]
    raise UserError(
        "no row was left out by all models of the plan, so they cannot be compared",
        found=f"no out-of-fold predictions of {', '.join(strangers)}" if strangers else "hold-outs without a common row",
        remedy="say in kernel.toml which rows they did not see (folds or holdout), or take them out of [inference] members",
    )
