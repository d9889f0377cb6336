"""From members to an order: what has to be done in which time, and what the planner makes of it.

Expects: joined members, the competition's limit, its machine.
Produces: a course (units in order, weights, the rule of effort) and in words what was assumed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from builder.errors import UserError
from builder.plan import general, planner
from builder.plan.asked import one_class, refuse_unfit
from builder.plan.course import Course, Evidence
from builder.plan.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.config import Config
    from builder.machines import Machine
    from builder.metrics import Metric
    from builder.plan.members import Joined
    from builder.plan.prices import Family


FIRST = 0.3  # of the time, for unit 1 on all samples: machines were seen that are three times slower than they were priced


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
    def share(self) -> int:
        """Samples of one worker: all work at the same time, so what one worker takes is what the run takes."""
        return math.ceil(self.rows / self.workers)


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

    Raises UserError when some members have no out-of-fold predictions and others do, when no row was left out by all of them,
    when not even the cheapest unit fits on as many rows as kernel.toml says, or when its blend is none of such answers.
    """
    _refuse_incomparable(joined)
    families = joined.families
    if work.note:
        work = _what_fits(families, work)
    refuse_unfit(config.inference.blend, joined.heads)
    evidence = Evidence(joined.oof, joined.y, joined.folds)
    equal = config.inference.blend == "mean"
    if _most(families, work, work.seconds) < work.rows:
        raise _too_much(families, work)
    if one_class(joined.heads):
        made = planner.course(families, evidence, metric, budget_s=work.seconds, rows=work.share, equal=equal, first=FIRST)
    else:
        made = general.course(
            families, evidence, joined.heads, metric, budget_s=work.seconds, rows=work.share, equal=equal, first=FIRST
        )
    return made, work


def _most(families: Sequence[Family], work: Workload, seconds: float) -> int:
    """Samples for which the cheapest unit has time enough in `seconds`."""
    prices = Prices.of_families(families, 0)
    alone = [prices.marginal([0] * len(families), f) for f in range(len(families))]
    return max(math.floor((seconds - family.fixed) / each) for family, each in zip(families, alone, strict=True)) * work.workers


def _what_fits(families: Sequence[Family], work: Workload) -> Workload:
    """`work` with as many of its rows as the cheapest unit can do in half of the time, but at least one."""
    return dataclasses.replace(work, rows=min(work.rows, max(1, _most(families, work, work.seconds / 2))))


def _too_much(families: Sequence[Family], work: Workload) -> UserError:
    cheapest = min(families, key=lambda family: family.seconds)
    fits = max(0, _most(families, work, work.seconds))
    return UserError(
        "the time is too short for even the cheapest unit on all test rows",
        found=f"{work.rows} rows, {work.seconds:g} s before the reserve, {work.workers} workers",
        expected=f"at most {fits} rows, for one fold of {cheapest.name} at {cheapest.seconds * 1e3:.3g} ms per sample",
        remedy="add a faster model or a smaller input, or mend competition.limit and competition.test_rows",
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
