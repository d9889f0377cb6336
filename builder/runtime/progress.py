"""How far the run is, in plain lines for people: done, speed, forecast, and what the clock will drop.

Expects: a run's state with its schedule; `turn` is called whenever something may have happened.
Produces: the progress curve; a line when it is due, never two within `every` seconds; `on_unit` whenever samples have one
    unit more, all of them or on average, but never for more than a small share of the time.
Never: promises: a forecast says how far it may be off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .forecast import Forecast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pool import Slot
    from .state import State

POINTS = 200  # of the curve, at most
WRITING = 0.02  # share of the time, at most, that goes into submissions that are not the last


class Progress:
    """The progress of one run."""

    def __init__(self, state: State, workers: Sequence[Slot], on_unit: Callable[[], None]) -> None:
        if state.schedule is None:
            raise RuntimeError("there is no schedule to tell of")
        self._units, self._samples, self._schedule = state.plan.units, len(state.ids), state.schedule
        self._clock, self._log, self._every = state.clock, state.log, state.settings.log_s
        self._workers, self._on_unit = workers, on_unit
        self._reached = 0
        self._told = self._clock.spent()
        self._wait_until = 0.0
        self._forecast = Forecast(self._clock.spent())
        self.curve: list[tuple[float, float]] = [(self._clock.spent(), 0.0)]

    def turn(self) -> None:
        """Look at the schedule; finalise and tell what is due."""
        done = self._schedule.mean_prefix()
        if done > self.curve[-1][1]:
            self.curve.append((self._clock.spent(), done))
            if len(self.curve) > POINTS:
                self.curve[1:-1] = self.curve[2:-1:2]
        reached = max(self._schedule.complete, int(done))
        if reached > self._reached and self._clock.spent() >= self._wait_until:
            self._reached = reached
            self._finalise()
        self._forecast.look(self._clock.spent(), self._remaining())
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
        dropped = self._schedule.beyond(left * self._living())
        if dropped:
            names = ", ".join(f"{unit + 1}" for unit in dropped[:5]) + (", ..." if len(dropped) > 5 else "")
            who = "the least doubtful samples" if self._schedule.choosing else "samples"
            return f"wants {self._remaining():.0f} s more, {left:.0f} s left: {who} will go without unit {names}"
        likely, sure = self.expected()
        risk = "" if sure <= spent + left else ", and the last units are dropped if it is slower"
        return f"all done at about {likely:.0f} s, with 99 % by {sure:.0f} s; {left:.0f} s left{risk}"

    def expected(self) -> tuple[float, float]:
        """When all units will have run on all samples, in seconds of the session: probably, and with 99 %."""
        spent, remaining = self._clock.spent(), self._remaining()
        return spent + remaining, spent + self._forecast.sure(spent, remaining, self._schedule.longest_s())

    def _remaining(self) -> float:
        return self._schedule.remaining_s() / self._living()

    def _living(self) -> int:
        return max(1, sum(slot.state != "retired" for slot in self._workers))

    def _finalise(self) -> None:
        """Write what there is; writing must not eat the time, and the last time must fit."""
        begin = self._clock.spent()
        self._on_unit()
        took = self._clock.spent() - begin
        self._wait_until = self._clock.spent() + took / WRITING
        self._clock.hold(2 * took)
