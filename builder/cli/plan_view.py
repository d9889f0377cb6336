"""A kernel's plan for eyes: the units as a table, the reasons in words, score against minutes as a curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from builder.cli.screen import Screen, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.plan.stage import Planned

WIDEST = 100


def show(screen: Screen, planned: Planned) -> None:
    """Print everything that a person wants to know of a plan."""
    made, expected = planned.plan, planned.plan.expected
    won = "won" if made.answer.heads else "logloss won"  # of labels and numbers: how much less than the prior loses
    columns = ("unit", "model", "fold", "view", "ms/sample", won, made.metric, "s")
    screen.table("", columns, list(_rows(planned)), right=(0, 2, 4, 5, 6, 7))
    work = f"{planned.rows} rows on {planned.workers} workers in {planned.seconds:.0f} s"
    screen.say(f"  for {work}; prices from {expected['prices_from']}")
    if made.effort is not None:
        screen.say(f"  effort: {made.effort.kind}, samples may stay after unit {', '.join(map(str, made.effort.stops))}")
    if expected["score"] is not None:
        low, high = number(expected["low"], 4), number(expected["high"], 4)
        screen.say(f"  predicted {made.metric} in that time: {number(expected['score'])}, 90 % interval {low} to {high}")
    for sentence in (*planned.told, *made.notes):
        screen.say(f"  {sentence}")
    if len(planned.predicted) > 1:
        from builder.plan import curve

        width = min(screen.console.width, WIDEST)
        drawn = curve.terminal(planned.predicted, planned.seconds, made.metric, width=width, fixed_list=planned.fixed_list)
        screen.say(drawn)


def draw(screen: Screen, planned: Planned, path: Path) -> None:
    """Draw score against minutes into `path`."""
    from builder.errors import UserError
    from builder.plan import curve

    if not planned.predicted:
        raise UserError(
            "there is nothing to draw: no scores are known",
            found="members without out-of-fold predictions",
            remedy="say in kernel.toml which rows the models did not see (folds or holdout)",
        )
    curve.save(path, planned.predicted, planned.seconds, planned.plan.metric, fixed_list=planned.fixed_list)
    screen.say(f"  drawn: {path}")


def _rows(planned: Planned) -> Iterator[tuple[object, ...]]:
    """One row per unit; seconds are those of the whole prefix on all rows."""
    spent, seen = 0.0, set[str]()
    made = planned.plan
    for k, (unit, prefix, gain) in enumerate(zip(made.units, made.prefixes, planned.gains, strict=True), start=1):
        reading = 0.0 if unit.input.key in seen else unit.decode_s
        seen.add(unit.input.key)
        spent += unit.load_s + math.ceil(planned.rows / planned.workers) * (unit.seconds + reading)
        won = "" if gain is None else f"{gain:+.5f}"
        yield k, unit.member, unit.fold, unit.view, f"{unit.seconds * 1e3:.3f}", won, number(prefix.score), f"{spent:.1f}"
