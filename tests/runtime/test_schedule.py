"""Clock and order on simulated machines: any speed, drift, stalls and kills; never late, never out of order."""

import heapq
import random
import types

import numpy as np
import pytest
from kkb_runtime import combine, contract
from kkb_runtime.clock import Clock
from kkb_runtime.costs import Hand, Spent, Task
from kkb_runtime.engine import Engine, Patience
from kkb_runtime.pool import Event, Slot
from kkb_runtime.progress import Progress
from kkb_runtime.schedule import Schedule, chunk_size

SPENT = Spent(0.0, 0.0, 1.0)


def units(*seconds, batch=8, load=0.0):
    size = contract.Input(4, 4)
    kind = "onnxruntime"
    return [contract.Unit(f"m{i}", 0, "identity", "d", f"{i}", kind, size, batch, s, load) for i, s in enumerate(seconds)]


def plan(*seconds, **options):
    made = tuple(units(*seconds, **options))
    return contract.Plan(
        kernel="k",
        task="t",
        metric="m",
        accelerator="cpu",
        limit_s=100.0,
        reserve=0.05,
        source=contract.Source("c", "t", "", ""),
        answer=contract.Answer("s", "id", "columns", ("a", "b"), ("a", "b")),
        units=made,
        prefixes=tuple(contract.Prefix((1 / k,) * k) for k in range(1, len(made) + 1)),
        prior=(0.5, 0.5),
    )


class Machine:
    """A pool without processes: workers of some speed that stall, die and are killed, in simulated time."""

    def __init__(self, seed, workers, *, speed=1.0, kill=0.0, stall=0.0, fail=0.0, seconds=(), poison=()):
        self.dice = random.Random(seed)  # noqa: S311
        self.slots = [Slot(number, {}) for number in range(workers)]
        self.speed, self.kill, self.stall, self.fail = speed, kill, stall, fail
        self.seconds, self.poison = seconds, set(poison)
        self.time, self.events, self.log, self.count = 0.0, [], [], 0
        self.busy_after_deadline = False

    def now(self):
        return self.time

    def start(self, slot):
        slot.life += 1
        slot.state, slot.work = "starting", None
        slot.resident.clear()
        self.after(self.dice.uniform(0.5, 2.0), slot, {"ready": True})

    def send(self, slot, message):
        slot.state = "busy"
        task = Task(message["unit"], message["start"], message["stop"])
        self.log.append((self.time, task))
        fate, length = self.dice.random(), task.size * self.seconds[task.unit] * self.speed * self.dice.uniform(0.8, 1.2)
        if fate < self.kill or self.poison & set(range(task.start, task.stop)):
            self.after(length * self.dice.random(), slot, None)
        elif fate < self.kill + self.fail:
            self.after(length, slot, {"ok": False, "kind": "task", "cause": "bad luck"})
        elif fate >= self.kill + self.fail + self.stall:
            seconds = {"load": 0.0, "decode": 0.0, "first": 0.0, "predict": length}
            answer = {
                "ok": True,
                "seconds": seconds,
                "bad": [],
                "bad_count": 0,
                "not_finite": 0,
                "peak_mb": 1.0,
                "accelerator": "cpu",
                "resident": 1,
            }
            self.after(length, slot, answer)

    def after(self, seconds, slot, message):
        self.count += 1
        heapq.heappush(self.events, (self.time + seconds, self.count, slot.life, slot, message))

    def wait(self, seconds):
        assert seconds > 0
        if not self.events or self.events[0][0] > self.time + seconds:
            self.time += seconds
            return None
        at, _, life, slot, message = heapq.heappop(self.events)
        self.time = max(self.time, at)
        return Event(slot, message) if life == slot.life and slot.state != "retired" else None

    def stop(self, slot, *, dead=False):  # noqa: ARG002
        slot.state = "retired"
        return "stopped"


def play(machine, made, samples, *, limit=100.0, chunk=None, stall=5.0, together=2):
    size = chunk or chunk_size(made.units, samples, limit)
    schedule = Schedule(made.units, samples, size, workers=len(machine.slots), together=together)
    clock = Clock.begin(limit, 0.05, now=machine.now)
    fetch = lambda task: np.full((task.size, 2), 0.5, np.float32)  # noqa: E731
    engine = Engine(made, samples, schedule, machine, clock, fetch, Patience(10.0, stall, 5.0, 1000.0))
    engine.run(lambda: None)
    return engine, clock, combine.reached(engine.arrays())


def test_units_run_in_order_and_everybody_has_the_first_before_anyone_has_the_second():
    machine = Machine(0, 3, seconds=(0.01, 0.02, 0.01))
    made = plan(0.01, 0.02, 0.01)
    _, _, reached = play(machine, made, 100, chunk=16)
    assert reached.tolist() == [3] * 100
    order = [task.unit for _, task in machine.log]
    assert order[:7] == [0] * 7
    assert 0 not in order[7:]
    for start in range(0, 100, 16):
        assert [task.unit for _, task in machine.log if task.start == start] == [0, 1, 2]


@pytest.mark.parametrize("seed", [*range(40), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(40, 300))])
def test_any_machine_ends_in_time_with_whole_prefixes(seed):
    dice = random.Random(seed)  # noqa: S311
    seconds = [dice.choice([0.01, 0.03, 0.1]) for _ in range(dice.randint(1, 6))]
    made = plan(*seconds, batch=dice.choice([1, 8, 32]))
    samples, workers = dice.choice([1, 7, 64, 500]), dice.randint(1, 4)
    machine = Machine(
        seed,
        workers,
        speed=dice.choice([0.3, 1.0, 3.0]),
        kill=dice.choice([0.0, 0.05, 0.3]),
        stall=dice.choice([0.0, 0.02]),
        fail=dice.choice([0.0, 0.1]),
        seconds=seconds,
        poison=dice.sample(range(samples), dice.choice([0, 0, 1]) if samples > 1 else 0),
    )
    engine, clock, reached = play(machine, made, samples, together=dice.choice([1, 2, 9]))
    assert clock.left() > -0.02, "overran the reserve"
    assert all(slot.state != "busy" for slot in machine.slots)
    first_of_second = min((at for at, task in machine.log if task.unit == 1), default=np.inf)
    last_of_first = max((at for at, task in machine.log if task.unit == 0), default=0.0)
    assert last_of_first <= first_of_second
    for index, values in enumerate(engine.arrays()):
        assert np.isfinite(values[reached > index]).all()
    if reached.max() > 1 and not engine._order.notes:
        assert reached.min() >= 1


def test_most_of_the_clock_is_used_while_work_remains():
    made = plan(0.1, 0.1, 0.1)
    machine = Machine(1, 2, seconds=(0.1, 0.1, 0.1))
    _, clock, reached = play(machine, made, 1000)  # 150 s of work for 100 s
    assert reached.min() < 3
    assert clock.spent() > 0.95 * 95.0


def test_a_unit_that_cannot_fit_is_not_started():
    made = plan(0.001, 5.0)
    machine = Machine(0, 1, seconds=(0.001, 5.0))
    _, clock, reached = play(machine, made, 40, chunk=40)
    assert reached.tolist() == [1] * 40
    assert [task.unit for _, task in machine.log] == [0]
    assert clock.spent() < 10


def test_the_bound_follows_what_was_measured():
    schedule = Schedule(units(0.1, 0.2), 30, 10)
    task = schedule.next(1e9)
    cold = schedule.bound(task)
    schedule.finished(task, Spent(0.0, 0.0, 30.0))  # 3 s a sample: thirty times slower than planned
    assert schedule.bound(Task(0, 10, 20)) > 2 * cold
    assert schedule.bound(Task(0, 10, 20)) == pytest.approx(10 * 4.5)
    assert schedule.bound(Task(1, 0, 10)) == pytest.approx(10 * 1.5 * 0.2 * 30)
    assert schedule.next(40.0) is None
    assert schedule.next(46.0) == Task(0, 10, 20)


def test_the_largest_of_the_last_times_counts():
    schedule = Schedule(units(0.1), 100, 10)
    for predict in (1.0, 9.0, 1.0):
        task = schedule.next(1e9)
        schedule.finished(task, Spent(0.0, 0.0, predict))
    assert schedule.bound(Task(0, 90, 100)) == pytest.approx(9.0)


def test_a_loaded_model_is_not_paid_again():
    schedule = Schedule(units(0.1, load=4.0), 10, 10)
    task = Task(0, 0, 10)
    assert schedule.bound(task) - schedule.bound(task, Hand((("d", "0"),))) == pytest.approx(1.5 * 4.0)


def test_failures_are_retried_then_halved_then_given_up():
    schedule = Schedule(units(0.0, 0.0), 4, 4)
    seen = []
    while (task := schedule.next(1e9)) is not None:
        seen.append((task.start, task.stop))
        if task.start <= 2 < task.stop:
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
        order.append(task.start)
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
    assert schedule.keep(Task(1, 20, 30)) is False, "no unit after it"
    assert schedule.bound(Task(1, 0, 10)) < 1.0 < schedule.bound(Task(1, 20, 30))


def order_of(machine, start):
    return [(task.unit, task.start) for _, task in machine.log if task.unit >= start]


def test_after_unit_1_all_loaded_units_run_on_the_same_chunk_when_everything_fits():
    made = plan(0.001, 0.001, 0.001, 0.001)
    machine = Machine(0, 1, seconds=(0.001,) * 4)
    _, _, reached = play(machine, made, 48, chunk=16, together=3)
    assert reached.tolist() == [4] * 48
    assert order_of(machine, 1) == [(unit, start) for start in (32, 0, 16) for unit in (1, 2, 3)], "first the chunk in memory"


def test_a_pass_has_as_many_models_as_stay_loaded():
    made = plan(0.001, 0.001, 0.001, 0.001)
    machine = Machine(0, 1, seconds=(0.001,) * 4)
    play(machine, made, 32, chunk=16, together=2)
    assert order_of(machine, 1) == [(1, 16), (2, 16), (1, 0), (2, 0), (3, 0), (3, 16)]


def test_when_not_everything_surely_fits_all_samples_get_the_next_unit_before_any_gets_another():
    made = plan(0.1, 0.3, 0.3, 0.3)  # 100 s for 100 samples, and 95 s there are
    machine = Machine(0, 1, seconds=(0.1, 0.3, 0.3, 0.3))
    _, _, reached = play(machine, made, 100, chunk=10, together=9)
    assert reached.min() >= 3
    assert [unit for unit, _ in order_of(machine, 1)][:10] == [1] * 10


def test_nobody_waits_for_a_chunk_that_lags_once_all_have_the_first_unit():
    schedule = Schedule(units(0.0, 0.0, 0.0), 30, 10, workers=2, together=9)
    for _ in range(3):
        schedule.finished(schedule.next(1e9), SPENT)
    lagging = schedule.next(1e9)
    seen = []
    while (task := schedule.next(1e9)) is not None:
        seen.append(task)
        schedule.finished(task, SPENT)
    assert lagging == Task(1, 0, 10)
    assert [(task.unit, task.start) for task in seen] == [(1, 10), (2, 10), (1, 20), (2, 20)]


def test_a_chunk_that_a_killed_worker_left_is_finished_by_another():
    schedule = Schedule(units(0.0, 0.0, 0.0), 20, 10, together=9)
    for _ in range(2):
        schedule.finished(schedule.next(1e9), SPENT)
    half = schedule.next(1e9)
    schedule.finished(half, SPENT)
    assert schedule.next(1e9, Hand()) == Task(2, half.start, half.stop)


def test_a_run_that_never_looks_at_the_clock_again_still_tells_a_forecast():
    told = []
    made = plan(0.1, 0.1, 0.1)
    schedule = Schedule(made.units, 300, 10)
    time = [0.0]
    clock = Clock.begin(60.0, 0.05, now=lambda: time[0])
    state = types.SimpleNamespace(
        plan=made, ids=["x"] * 300, schedule=schedule, clock=clock, log=told.append, settings=types.SimpleNamespace(log_s=30.0)
    )
    finalised = []
    progress = Progress(state, 1, lambda: finalised.append(schedule.mean_prefix()))
    while (task := schedule.next(clock.left())) is not None:
        time[0] += 1.0
        schedule.finished(task, Spent(0.0, 0.0, 1.0))
        progress.turn()
    assert len(told) == 1, "one line in 57 s"
    assert "1.00 of 3 units per sample" in told[0]
    assert told[0].endswith("wants 60 s more, 27 s left: samples will go without unit 2, 3")
    assert finalised == [1.0]
    assert progress.curve[-1][1] == schedule.mean_prefix()


def test_a_forecast_says_when_and_how_surely():
    made = plan(0.1)
    schedule = Schedule(made.units, 100, 10)
    clock = Clock.begin(100.0, 0.0, now=lambda: 0.0)
    state = types.SimpleNamespace(
        plan=made, ids=["x"] * 100, schedule=schedule, clock=clock, log=print, settings=types.SimpleNamespace(log_s=30.0)
    )
    assert Progress(state, 1, lambda: None).forecast() == "all done at about 10 s, with 99 % by 16 s; 100 s left"
    assert Progress(state, 2, lambda: None).forecast() == "all done at about 5 s, with 99 % by 8 s; 100 s left"


@pytest.mark.parametrize(
    ("samples", "batch", "seconds", "expected"),
    [(10, 4, 0.0, 4), (10_000, 32, 0.0, 160), (10**6, 32, 0.0, 512), (10_000, 32, 1.0, 45), (3, 4, 1e9, 1)],
)
def test_chunk_size(samples, batch, seconds, expected):
    assert chunk_size(units(seconds, batch=batch), samples, 9000.0) == expected


def test_a_broken_machine_is_given_up_long_before_the_limit():
    made = plan(0.01)
    machine = Machine(0, 2, kill=1.0, seconds=(0.01,))
    engine, clock, reached = play(machine, made, 5000, limit=9 * 3600.0)
    assert not reached.any()
    assert clock.spent() < 600
    assert len(engine.events) < 100
