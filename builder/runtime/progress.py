"""How far the run is, in plain lines for people: done, speed, forecast, and what the clock will drop.

Expects: a run's state with its schedule; `turn` is called whenever something may have happened.
Produces: the progress curve; a line when it is due, never two within `every` seconds; `on_unit` whenever samples have one
    unit more, all of them or on average.
Never: promises: a forecast is the rate so far, and says how far it may be off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .schedule import SURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .state import State


class Progress:
    """The progress of one run."""

    def __init__(self, state: State, workers: int, on_unit: Callable[[], None]) -> None:
        if state.schedule is None:
            raise RuntimeError("there is no schedule to tell of")
        self._units, self._samples, self._schedule = state.plan.units, len(state.ids), state.schedule
        self._clock, self._log, self._every = state.clock, state.log, state.settings.log_s
        self._workers, self._on_unit = workers, on_unit
        self._reached = 0
        self._told = self._clock.spent()
        self.curve: list[tuple[float, float]] = [(self._clock.spent(), 0.0)]

    def turn(self) -> None:
        """Look at the schedule; finalise and tell what is due."""
        done = self._schedule.mean_prefix()
        if done > self.curve[-1][1]:
            self.curve.append((self._clock.spent(), done))
        reached = max(self._schedule.complete, int(done))
        if reached > self._reached:
            self._reached = reached
            self._on_unit()
        if self._clock.spent() - self._told >= self._every:
            self._told = self._clock.spent()
            self._log(self.line())

    def line(self) -> str:
        """One line: time, units per sample, speed, forecast."""
        schedule, units = self._schedule, len(self._units)
        at = min(schedule.complete, units - 1)
        spent = self._clock.spent()
        speed = schedule.mean_prefix() * self._samples / max(1e-9, spent - self.curve[0][0])
        return (
            f"{spent:8.1f} s  {schedule.mean_prefix():.2f} of {units} units per sample, {speed:.3g} samples x units/s; "
            f"unit {at + 1}: {schedule.samples_done(at)} of {self._samples} samples; {self.forecast()}"
        )

    def forecast(self) -> str:
        """When all would be done, how sure that is, and what will be dropped."""
        left, spent = max(0.0, self._clock.left()), self._clock.spent()
        remaining = self._schedule.remaining_s() / self._workers
        dropped = self._schedule.beyond(left * self._workers)
        if dropped:
            names = ", ".join(f"{unit + 1}" for unit in dropped[:5]) + (", ..." if len(dropped) > 5 else "")
            return f"wants {remaining:.0f} s more, {left:.0f} s left: samples will go without unit {names}"
        sure = f"with 99 % by {spent + SURE * remaining:.0f} s"
        risk = "" if SURE * remaining <= left else ", and the last units are dropped if it is slower"
        return f"all done at about {spent + remaining:.0f} s, {sure}; {left:.0f} s left{risk}"
