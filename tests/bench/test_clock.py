"""The clock on thousands of simulated machines and a hundred real runs: never late or invalid, the clock used, forecasts kept.

Simulated machines (tests/runtime/simulated.py) drive the real schedule, engine and progress; real runs (tests/runtime/real.py)
are processes that are killed and stopped at random. Seeds are printed.
"""

import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from tests.runtime import conftest  # puts the runtime, as it travels, where it is found
from tests.runtime.real import conflicts, real_run
from tests.runtime.simulated import covered, drawn, faults_of, play

pytestmark = pytest.mark.bench

MACHINES = range(3000)
HELD_OUT = range(900_000, 900_500)
CALIBRATION = range(500_000, 500_700)  # what forecast.FACTORS were made from, with `recorded`
REAL = range(100)


def everywhere(work, seeds):
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, seeds, chunksize=10))


def one(seed):
    """What is wrong with a run, and which share of the clock it used if work was left."""
    machine, options = drawn(seed)
    run = play(machine, **options)
    used = None if run.schedule.over else run.clock.spent() / (run.clock.limit - run.clock.reserve)
    return seed, faults_of(run), used, machine.made.effort.kind if machine.made.effort else "none"


def test_on_any_machine_no_overrun_no_invalid_submission_and_the_clock_is_used():
    found = everywhere(one, MACHINES)
    print(f"\nseeds {MACHINES.start}..{MACHINES.stop - 1}")
    for kind in ("none", "static", "tiers", "queue"):
        used = [use for _, _, use, of in found if use is not None and of == kind]
        print(f"effort {kind}: {len(used)} runs with work left used {np.mean(used):.1%} of the clock, the least {min(used):.1%}")
    wrong = {seed: faults for seed, faults, _, _ in found if faults}
    used = [use for _, _, use, _ in found if use is not None]
    print(f"{len(found)} runs, {len(wrong)} with faults; {len(used)} with work left used {np.mean(used):.2%} of the clock")
    assert wrong == {}
    assert np.mean(used) >= 0.95


def test_a_forecast_with_99_percent_holds_in_98_to_100_of_100():
    held = [kept for run in everywhere(covered, HELD_OUT) for kept in run]
    print(f"\nseeds {HELD_OUT.start}..{HELD_OUT.stop - 1}: {len(held)} forecasts, {np.mean(held):.2%} held")
    assert 0.98 <= np.mean(held) <= 1.0


def ratios(seed):
    """Of every look at a run: share of the work done, and what the rest took over what was forecast."""
    machine, options = drawn(seed, enough=6.0)
    run = play(machine, **options)
    end = run.clock.spent() - options["finalise"]
    return [(look.share, (end - look.spent - look.longest) / max(look.scaled, 1e-9)) for look in run.forecasts]


def recorded(seeds, quantile=0.99):
    """The table of forecast.FACTORS, split-conformal: the smallest value that `quantile` of one more look would stay below."""
    looks = np.array([look for run in everywhere(ratios, seeds) for look in run])
    starts = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85)
    table = []
    for start, stop in zip(starts, (*starts[1:], 1.01), strict=True):
        values = np.sort(looks[(looks[:, 0] >= start) & (looks[:, 0] < stop), 1])
        table.append((start, float(values[min(len(values) - 1, int(np.ceil((len(values) + 1) * quantile)) - 1)])))
    return tuple(table)


def test_a_hundred_real_runs_with_kills_and_stalls(tmp_path):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda seed: real_run(tmp_path / f"run{seed}", seed, conftest.WHEEL), REAL))
    print(f"\nseeds {REAL.start}..{REAL.stop - 1}: {sum(run.killed for run in found)} workers killed, ", end="")
    print(f"{sum(run.stalled for run in found)} stopped, {sum(run.ended for run in found)} supervisors killed; ", end="")
    print(f"at most {max(run.lost for run in found):.2f} tasks done again per kill or stop")
    assert [fault for run in found for fault in run.faults] == []
    assert conflicts(found) == []
