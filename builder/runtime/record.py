"""run.json: what was done, dropped and skipped, on what, and what it took.

Expects: the state of a run (state.py), finished or failed at any point.
Produces: JSON values; seconds per sample, load time and memory per unit are what the next plan is priced with.
Never: raises because a stage was not reached.
"""

from __future__ import annotations

import contextlib
import json
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from .probe import Probed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .clock import Clock
    from .state import State

SCHEMA = 1
TOLD = 20


class Stages:
    """Seconds of each stage, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self.began: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as stage `name`."""
        begin = self._clock.now()
        self.began[name] = round(self._clock.spent(), 3)
        try:
            yield
        finally:
            self.seconds[name] = round(self._clock.now() - begin, 3)


def content(state: State, status: str) -> dict[str, Any]:
    """The content of run.json."""
    engine, chosen, clock, probed = state.engine, state.devices, state.clock, state.probed or Probed()
    return {
        "schema": SCHEMA,
        "kernel": state.plan.kernel,
        "status": status,
        "rerun": state.rerun,
        "rows": len(state.ids),
        "samples_per_prefix": per_prefix(state),
        "probes": list(probed.probes),
        "prices": list(probed.prices),
        "decode": dict(probed.decode),
        "machine": dict(probed.machine),
        "units": [_unit(state, index) for index in range(len(state.plan.units))],
        "bad_samples": _bad(state),
        "honest": state.honest is not None,
        "skipped": state.schedule.notes[:TOLD] if state.schedule else [],
        "dropped": _dropped(state),
        "events": engine.events if engine else [],
        "notes": state.notes,
        "accelerator": {
            "asked": state.plan.accelerator,
            "used": "+".join(sorted(set(engine.accelerators.values()))) if engine and engine.accelerators else None,
            "workers": len(chosen.environments) if chosen else 0,
        },
        "clock": {
            "limit_s": clock.limit,
            "reserve_s": round(clock.reserve, 3),
            "spent_s": round(clock.spent(), 3),
            "left_s": round(clock.limit - clock.spent(), 3),
        },
        "stages": state.stages.seconds,
        "timeline": _timeline(state),
        "peak_mb": {"supervisor": _own_peak_mb(), "worker": max(engine.peak_mb.values(), default=None) if engine else None},
        "versions": {**_versions(), **(engine.versions if engine else {})},
    }


def write(path: Path, values: dict[str, Any]) -> None:
    """Write run.json by atomic rename."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    partial.replace(path)


def per_prefix(state: State) -> dict[str, int]:
    """Number of samples by the length of the prefix that answers them."""
    lengths, counts = np.unique(state.lengths, return_counts=True)
    return {str(length): int(count) for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)}


def causes(state: State) -> str:
    """Why nothing came out, for the one error message that a person gets to see."""
    found: list[str] = []
    if state.engine is not None:
        bad = list(state.engine.bad.items())
        found += [f"sample {state.ids[row]!r}: {cause}" for row, cause in bad[:3]]
        found += [f"({max(state.engine.bad_counts.values())} bad samples in all)"] if len(bad) > 3 else []
        found += state.engine.events[:5]
    if state.clock.left() <= 0:
        found.append(f"the time was over: {state.clock.spent():.1f} s of {state.clock.limit:.1f} s spent")
    found += state.notes[:3]
    return "Causes: " + ("; ".join(found) or "unit 1 did not fit into the time that was left")


def _unit(state: State, index: int) -> dict[str, Any]:
    unit, schedule, engine = state.plan.units[index], state.schedule, state.engine
    return {
        "member": unit.member,
        "fold": unit.fold,
        "view": unit.view,
        "samples": schedule.samples_done(index) if schedule else 0,
        "seconds_per_sample": schedule.costs.seconds(index) if schedule else None,
        "decode_seconds_per_sample": schedule.costs.decode_seconds(index) if schedule else None,
        "load_s": schedule.costs.load_seconds(index) if schedule else None,
        "peak_mb": engine.peak_mb.get(index) if engine else None,
        "planned_seconds_per_sample": unit.seconds,
    }


def _timeline(state: State) -> dict[str, Any]:
    """Seconds of the session: stages (name, begin, end), units (first begin, last end, seconds of workers), units per sample."""
    stages, engine = state.stages, state.engine
    spans = engine.spans if engine else {}
    return {
        "stages": [[name, at, round(at + stages.seconds.get(name, 0.0), 3)] for name, at in stages.began.items()],
        "units": [_rounded(spans[index]) if index in spans else None for index in range(len(state.plan.units))],
        "curve": [_rounded(point) for point in state.progress.curve] if state.progress else [],
    }


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _bad(state: State) -> dict[str, Any]:
    if state.engine is None:
        return {"count": 0, "first": []}
    first = [{"id": state.ids[row], "cause": cause} for row, cause in sorted(state.engine.bad.items())]
    return {"count": max(state.engine.bad_counts.values(), default=0), "first": first[:TOLD]}


def _dropped(state: State) -> list[str]:
    """What the clock, or a failure, left undone."""
    if state.schedule is None or not state.ids:
        return []
    out = []
    for index, unit in enumerate(state.plan.units):
        missing = len(state.ids) - state.schedule.samples_done(index)
        if missing:
            out.append(f"unit {index + 1} ({unit.member} fold {unit.fold} {unit.view}): {missing} of {len(state.ids)} samples")
    return out


def _versions() -> dict[str, str]:
    import pandas as pd

    return {"python": platform.python_version(), "numpy": np.__version__, "pandas": pd.__version__}


def _own_peak_mb() -> float:
    from .worker import peak_mb

    return round(peak_mb(), 1)
