"""Clock and order on simulated machines: any speed, drift, stalls and kills; never late, never out of order."""

import types

import numpy as np
import pytest
from kkb_runtime.chunks import chunk_size
from kkb_runtime.clock import Clock
from kkb_runtime.costs import Hand, Spent, Task
from kkb_runtime.forecast import Forecast
from kkb_runtime.pool import Slot
from kkb_runtime.progress import Progress
from kkb_runtime.schedule import Schedule

from .simulated import Machine, covered, drawn, faults_of, plan, play, units

SPENT = Spent(0.0, 0.0, 1.0)


def some(unit, start, stop, chunk=0):
    return Task(unit, chunk, np.arange(start, stop))


def idle(count):
    return [Slot(number, {}, state="idle") for number in range(count)]


def told(task):
    """Unit and samples of a task."""
    return (task.unit, int(task.rows[0]), int(task.rows[-1]) + 1) if task else None


def test_units_run_in_order_and_everybody_has_the_first_before_anyone_has_the_second():
    machine = Machine(0, 3, plan(0.01, 0.02, 0.01), 100)
    run = play(machine, chunk=16)
    assert run.lengths.tolist() == [3] * 100
    order = [unit for _, unit, _, _ in machine.log]
    assert order[:7] == [0] * 7
    assert 0 not in order[7:]
    for start in range(0, 100, 16):
        assert [unit for _, unit, _, rows in machine.log if rows[0] == start] == [0, 1, 2]


def test_most_of_the_clock_is_used_while_work_remains():
    run = play(Machine(1, 2, plan(0.1, 0.1, 0.1), 1000))  # 150 s of work for 100 s
    assert run.lengths.min() < 3
    assert run.clock.spent() > 0.95 * 95.0


def test_a_unit_that_cannot_fit_is_not_started():
    machine = Machine(0, 1, plan(0.001, 50.0), 40)
    run = play(machine, chunk=40)
    assert run.lengths.tolist() == [1] * 40
    assert [unit for _, unit, _, _ in machine.log] == [0]
    assert run.clock.spent() < 10


def test_a_chunk_that_does_not_fit_is_cut_down_to_the_batches_that_do():
    machine = Machine(0, 1, plan(0.001, 5.0, batch=2), 40)
    run = play(machine, chunk=40)
    assert [len(rows) for _, _, _, rows in machine.log][:2] == [40, 12], "12 times 1.5 times 5 s are 90 s of 95 s"
    assert 12 < (run.lengths == 2).sum() < 20


def test_the_bound_follows_what_was_measured():
    schedule = Schedule(units(0.1, 0.2), 30, 10)
    task = schedule.next(1e9)
    cold = schedule.bound(task)
    schedule.finished(task, Spent(0.0, 0.0, 30.0))  # 3 s a sample: thirty times slower than planned
    assert schedule.bound(some(0, 10, 20)) > 2 * cold
    assert schedule.bound(some(0, 10, 20)) == pytest.approx(10 * 4.5)
    assert schedule.bound(some(1, 0, 10)) == pytest.approx(10 * 1.5 * 0.2 * 30)
    assert told(schedule.next(46.0)) == (0, 10, 20)
    assert told(schedule.next(35.0)) is None, "not even a batch of 8 fits"
    assert told(schedule.next(40.0)) == (0, 20, 28)


def test_the_largest_of_the_last_times_counts():
    schedule = Schedule(units(0.1), 100, 10)
    for predict in (1.0, 9.0, 1.0):
        task = schedule.next(1e9)
        schedule.finished(task, Spent(0.0, 0.0, predict))
    assert schedule.bound(some(0, 90, 100)) == pytest.approx(9.0)


def test_a_loaded_model_is_not_paid_again():
    schedule = Schedule(units(0.1, load=4.0), 10, 10)
    task = some(0, 0, 10)
    assert schedule.bound(task) - schedule.bound(task, Hand((("d", "0"),))) == pytest.approx(1.5 * 4.0)


def test_failures_are_retried_then_halved_then_given_up():
    schedule = Schedule(units(0.0, 0.0), 4, 4)
    seen = []
    while (task := schedule.next(1e9)) is not None:
        seen.append(told(task)[1:])
        if 2 in task.rows:
            schedule.failed(task, "sample 2 is poison")
        else:
            schedule.finished(task, SPENT)
    assert seen[:2] == [(0, 4), (0, 4)]
    assert sorted(seen[2:])[:1] == [(0, 2)]
    assert schedule.samples_done(1) == 3
    assert schedule.notes == ["sample 2 skipped at unit 1: sample 2 is poison"]
    assert schedule.over


def test_a_retried_task_waits_for_its_units_others():
    schedule = Schedule(units(0.0), 30, 10)
    schedule.failed(schedule.next(1e9), "killed")
    order = []
    while (task := schedule.next(1e9)) is not None:
        order.append(told(task)[1])
        schedule.finished(task, SPENT)
    assert order == [10, 20, 0]


def test_decoded_images_are_kept_while_there_is_room_and_a_later_unit_wants_them():
    size = 10 * 4 * 4 * 3
    schedule = Schedule(units(0.0, 0.0), 30, 10, keep_bytes=2 * size)
    kept = []
    for _ in range(3):
        task = schedule.next(1e9)
        kept.append(schedule.keep(task))
        schedule.finished(task, Spent(0.0, 1.0, 0.0), kept[-1])
    assert kept == [True, True, False]
    assert schedule.keep(some(1, 20, 30)) is False, "no unit after it"
    assert schedule.bound(some(1, 0, 10)) < 1.0 < schedule.bound(some(1, 20, 30))


def order_of(machine, start):
    return [(unit, rows[0]) for _, unit, _, rows in machine.log if unit >= start]


def test_after_unit_1_all_loaded_units_run_on_the_same_chunk_when_everything_fits():
    machine = Machine(0, 1, plan(0.001, 0.001, 0.001, 0.001), 48)
    run = play(machine, chunk=16, together=3)
    assert run.lengths.tolist() == [4] * 48
    assert order_of(machine, 1) == [(unit, start) for start in (32, 0, 16) for unit in (1, 2, 3)], "first the chunk in memory"


def test_a_pass_has_as_many_models_as_stay_loaded():
    machine = Machine(0, 1, plan(0.001, 0.001, 0.001, 0.001), 32)
    play(machine, chunk=16, together=2)
    assert order_of(machine, 1) == [(1, 16), (2, 16), (1, 0), (2, 0), (3, 0), (3, 16)]


def test_when_not_everything_surely_fits_all_samples_get_the_next_unit_before_any_gets_another():
    machine = Machine(0, 1, plan(0.1, 0.3, 0.3, 0.3), 100)  # 100 s for 100 samples, and 95 s there are
    run = play(machine, chunk=10, together=9)
    assert run.lengths.min() >= 3
    assert [unit for unit, _ in order_of(machine, 1)][:10] == [1] * 10


def test_nobody_waits_for_a_chunk_that_lags_once_all_have_the_first_unit():
    schedule = Schedule(units(0.0, 0.0, 0.0), 30, 10, workers=2, together=9)
    for _ in range(3):
        schedule.finished(schedule.next(1e9), SPENT)
    lagging = schedule.next(1e9)
    seen = []
    while (task := schedule.next(1e9)) is not None:
        seen.append(told(task)[:2])
        schedule.finished(task, SPENT)
    assert told(lagging) == (1, 0, 10)
    assert seen == [(1, 10), (2, 10), (1, 20), (2, 20)]


def test_a_chunk_that_a_killed_worker_left_is_finished_by_another():
    schedule = Schedule(units(0.0, 0.0, 0.0), 20, 10, together=9)
    for _ in range(2):
        schedule.finished(schedule.next(1e9), SPENT)
    half = schedule.next(1e9)
    schedule.finished(half, SPENT)
    assert told(schedule.next(1e9, Hand())) == (2, *told(half)[1:])


def test_a_run_that_never_looks_at_the_clock_again_still_tells_a_forecast():
    said = []
    made = plan(0.1, 0.1, 0.1)
    schedule = Schedule(made.units, 300, 10)
    time = [0.0]
    clock = Clock.begin(60.0, 0.05, now=lambda: time[0])
    state = types.SimpleNamespace(
        plan=made, ids=["x"] * 300, schedule=schedule, clock=clock, log=said.append, settings=types.SimpleNamespace(log_s=30.0)
    )
    finalised = []
    progress = Progress(state, [], lambda: finalised.append(schedule.mean_prefix()))
    while (task := schedule.next(clock.left())) is not None:
        time[0] += 1.0
        schedule.finished(task, Spent(0.0, 0.0, 1.0))
        progress.turn()
    assert len(said) == 1, "one line in 57 s"
    assert "1.00 of 3 units per sample" in said[0]
    assert said[0].endswith("wants 60 s more, 27 s left: samples will go without unit 2, 3")
    assert finalised == [1.0]
    assert progress.curve[-1][1] == schedule.mean_prefix()


def test_a_forecast_says_when_and_how_surely():
    made = plan(0.1)
    schedule = Schedule(made.units, 100, 10)
    clock = Clock.begin(100.0, 0.0, now=lambda: 0.0)
    state = types.SimpleNamespace(
        plan=made, ids=["x"] * 100, schedule=schedule, clock=clock, log=print, settings=types.SimpleNamespace(log_s=30.0)
    )
    assert Progress(state, idle(1), lambda: None).forecast() == "all done at about 10 s, with 99 % by 44 s; 100 s left"
    assert Progress(state, idle(2), lambda: None).forecast() == "all done at about 5 s, with 99 % by 22 s; 100 s left"


@pytest.mark.parametrize(
    ("samples", "batch", "seconds", "expected"),
    [(10, 4, 0.0, 4), (10_000, 32, 0.0, 160), (10**6, 32, 0.0, 512), (10_000, 32, 1.0, 45), (3, 4, 1e9, 1)],
)
def test_chunk_size(samples, batch, seconds, expected):
    assert chunk_size(units(seconds, batch=batch), samples, 9000.0) == expected


@pytest.mark.parametrize(("seeds", "most"), [(range(20), 64), pytest.param(range(20, 220), 1000, marks=pytest.mark.slow)])
def test_any_machine_ends_in_time_with_whole_prefixes_and_uses_its_clock(seeds, most):
    used = []
    for seed in seeds:
        machine, options = drawn(seed, most=most)
        run = play(machine, **options)
        assert faults_of(run) == [], f"seed {seed}"
        if not run.schedule.over:
            used.append(run.clock.spent() / (run.clock.limit - run.clock.reserve))
    assert np.mean(used) >= 0.95


@pytest.mark.slow
def test_forecasts_with_99_percent_hold():
    held = [kept for seed in range(800_000, 800_060) for kept in covered(seed)]
    assert np.mean(held) >= 0.97  # of few runs; tests/bench/test_clock.py has many


def test_a_machine_that_becomes_slower_widens_its_forecasts():
    forecast = Forecast(0.0)
    forecast.look(0.0, 100.0)
    steady = forecast.sure(10.0, 90.0, 0.0)
    assert forecast.sure(10.0, 180.0, 0.0) > 2.5 * steady


def test_a_broken_machine_is_given_up_long_before_the_limit():
    run = play(Machine(0, 2, plan(0.01), 5000, kill=1.0), limit=9 * 3600.0)
    assert not run.lengths.any()
    assert run.clock.spent() < 600
    assert len(run.engine.events) < 100
