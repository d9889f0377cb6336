"""Machines that are only numbers: a pool of workers of unknown speed that drift, throttle, stall, die, and meet bad samples.

They drive the real Schedule, Engine and Progress in simulated time; nothing of the clock is imitated here, only what it meets.
"""

import heapq
import random
import types
from dataclasses import dataclass, field

import numpy as np
from kkb_runtime import combine, contract
from kkb_runtime.chunks import chunk_size
from kkb_runtime.clock import Clock
from kkb_runtime.costs import model_of
from kkb_runtime.effort import doubt
from kkb_runtime.engine import Engine, Patience
from kkb_runtime.pool import Event, Slot
from kkb_runtime.progress import Progress
from kkb_runtime.schedule import Schedule

CLASSES = 3


def units(*seconds, batch=8, load=0.0, decode=0.0):
    size = contract.Input(4, 4)
    kind = "onnxruntime"
    return [contract.Unit(f"m{i}", 0, "identity", "d", f"{i}", kind, size, batch, s, load, decode) for i, s in enumerate(seconds)]


def plan(*seconds, effort=None, limit=100.0, reserve=0.05, **options):
    made = tuple(units(*seconds, **options))
    names = tuple("abc")[:CLASSES]
    return contract.Plan(
        kernel="k",
        task="t",
        metric="m",
        accelerator="cpu",
        limit_s=limit,
        reserve=reserve,
        source=contract.Source("c", "t", "", ""),
        answer=contract.Answer("s", "id", "columns", names, names),
        units=made,
        prefixes=tuple(contract.Prefix(tuple(uneven(k)), 1.0 + 0.1 * k) for k in range(1, len(made) + 1)),
        prior=(1 / CLASSES,) * CLASSES,
        effort=effort,
    )


def uneven(length):
    raw = [1.0 / (2 + k) for k in range(length)]
    return [each / sum(raw) for each in raw]


@dataclass
class Faults:
    """What a machine does to a run; shares are per task, times in seconds of the session.

    Attributes:
        speed: Times the planned seconds that everything takes.
        noise: Each task's own spread.
        drift: Of a slow random walk of the speed, per task.
        throttle: (when, times): from then on everything takes that much longer.
        growth: How much dearer the last sample is than the first.
        kill, fail, stall: Share of tasks whose worker dies, that raise, that never end.
        kills: When a worker is killed, whatever it does.
        memory: Most samples of a task; more kill the worker, as the kernel does when memory runs out.
        poison: Samples that kill every worker.
        corrupt: Samples without an answer, from a unit on: sample -> unit.
        refused: A unit whose model cannot be loaded.
        resident: Models that stay loaded.
    """

    speed: float = 1.0
    noise: float = 0.2
    drift: float = 0.0
    throttle: tuple = (float("inf"), 1.0)
    growth: float = 0.0
    kill: float = 0.0
    fail: float = 0.0
    stall: float = 0.0
    kills: tuple = ()
    memory: int = 10**9
    poison: frozenset = frozenset()
    corrupt: dict = field(default_factory=dict)
    refused: int = -1
    resident: int = 1


class Machine:
    """A pool without processes. `truth` float32 (units, samples, classes): what the models say."""

    def __init__(self, seed, workers, made, samples, faults=None, **options):
        self.dice = random.Random(seed)
        self.slots = [Slot(number, {}) for number in range(workers)]
        self.faults, self.made, self.samples = faults or Faults(**options), made, samples
        raw = np.random.default_rng(seed).random((len(made.units), samples, CLASSES)) ** 3
        self.truth = (raw / raw.sum(axis=2, keepdims=True)).astype(np.float32)
        for row, unit in self.faults.corrupt.items():
            self.truth[unit:, row] = np.nan
        self.pace = np.cumsum([self.dice.gauss(0.0, self.faults.drift) for _ in range(4000)])
        self.loaded = [[] for _ in self.slots]
        self.time, self.events, self.log, self.count = 0.0, [], [], 0
        self.tasks = 0
        self.lost = []  # samples of the tasks that a dying worker took with it
        self.to_come = sorted(self.faults.kills)

    def now(self):
        return self.time

    def start(self, slot):
        slot.life += 1
        slot.state, slot.work = "starting", None
        slot.resident.clear()
        slot.samples = None
        self.loaded[slot.number] = []
        self.after(self.dice.uniform(0.5, 2.0), slot, {"ready": True})

    def send(self, slot, message):
        slot.state = "busy"
        self.tasks += 1
        index, rows, faults = message["unit"], message["rows"], self.faults
        self.log.append((self.time, index, message["chunk"], rows))
        if index == faults.refused:
            self.after(0.1, slot, {"ok": False, "kind": "model", "cause": "no such model"})
            return
        load, length = self.load(slot, index), self.length(index, rows)
        fate = self.dice.random()
        if fate < faults.kill or faults.poison.intersection(rows) or len(rows) > faults.memory:
            self.after((load + length) * self.dice.random(), slot, None)
        elif fate < faults.kill + faults.fail:
            self.after(load + length, slot, {"ok": False, "kind": "task", "cause": "bad luck"})
        elif fate >= faults.kill + faults.fail + faults.stall:
            bad = [[row, "corrupt"] for row in rows if np.isnan(self.truth[index, row, 0])]
            answer = {
                "ok": True,
                "seconds": {"load": load, "decode": None, "first": 0.0, "predict": length},
                "bad": bad,
                "bad_count": len(bad),
                "not_finite": 0,
                "peak_mb": 1.0,
                "accelerator": "cpu",
                "resident": len(self.loaded[slot.number]),
            }
            self.after(load + length, slot, answer)

    def load(self, slot, index):
        """Seconds to load a unit's model on a worker."""
        held, model = self.loaded[slot.number], model_of(self.made.units[index])
        if model in held:
            return 0.0
        held[:] = [*held, model][-self.faults.resident :]
        return self.made.units[index].load_s * self.faults.speed * self.dice.uniform(0.8, 1.3)

    def length(self, index, rows):
        """Seconds of a task."""
        faults = self.faults
        times = faults.speed * float(np.exp(self.pace[self.tasks % len(self.pace)]))
        times *= self.dice.uniform(1 - faults.noise, 1 + faults.noise)
        times *= faults.throttle[1] if self.time > faults.throttle[0] else 1.0
        grown = 1.0 + faults.growth * float(np.mean(rows)) / self.samples
        return len(rows) * self.made.units[index].seconds * times * grown

    def after(self, seconds, slot, message):
        self.count += 1
        heapq.heappush(self.events, (self.time + seconds, self.count, slot.life, slot, message))

    def wait(self, seconds):
        assert seconds > 0
        until = self.time + seconds
        if self.to_come and self.to_come[0] <= min(until, self.events[0][0] if self.events else until):
            self.time = max(self.time, self.to_come.pop(0))
            living = [slot for slot in self.slots if slot.state != "retired"]
            if living:
                slot = self.dice.choice(living)
                self.lost.append((slot.state == "busy", slot.number))
                return Event(slot, None)
            return None
        if not self.events or self.events[0][0] > until:
            self.time = until
            return None
        at, _, life, slot, message = heapq.heappop(self.events)
        self.time = max(self.time, at)
        return Event(slot, message) if life == slot.life and slot.state != "retired" else None

    def stop(self, slot, *, dead=False):  # noqa: ARG002
        slot.state = "retired"
        return "stopped"

    def fetch(self, task):
        return self.truth[task.unit, task.rows]


@dataclass(frozen=True)
class Look:
    """A forecast in the middle of a run: seconds spent, share of the work done, and what the forecast is made of and says."""

    spent: float
    share: float
    scaled: float
    longest: float
    sure: float


@dataclass
class Run:
    """How a run on a simulated machine ended."""

    machine: Machine
    engine: Engine
    schedule: Schedule
    clock: Clock
    progress: Progress
    lengths: np.ndarray
    forecasts: list

    def submission(self):
        """float (samples, classes): each sample's answer."""
        return combine.pool(self.engine.arrays(), self.lengths, self.machine.made.prefixes)


def play(machine, *, limit=100.0, reserve=0.05, chunk=None, stall=5.0, together=2, finalise=0.0, log=30.0):
    """Run the machine's plan. `finalise`: seconds that writing the submission takes."""
    made, samples = machine.made, machine.samples
    size = chunk or chunk_size(made.units, samples, limit)
    engine = None

    def doubts(rows, length):
        held = [engine.predictions[index][rows] for index in range(length)]
        return doubt(combine.pool(held, np.full(len(rows), length), made.prefixes[:length]))

    schedule = Schedule(
        made.units, samples, size, workers=len(machine.slots), together=together, effort=made.effort, doubts=doubts
    )
    clock = Clock.begin(limit, reserve, now=machine.now)
    engine = Engine(made, samples, schedule, machine, clock, machine.fetch, Patience(10.0, stall, 5.0, 1000.0))
    told = []
    state = types.SimpleNamespace(
        plan=made,
        ids=range(samples),
        schedule=schedule,
        clock=clock,
        log=told.append,
        settings=types.SimpleNamespace(log_s=log),
        rerun=True,
    )

    def write():
        machine.time += finalise

    progress = Progress(state, machine.slots, write)
    forecasts = []

    def turn():
        progress.turn()
        if not schedule.over and machine.time > 1.1 * (forecasts[-1].spent if forecasts else 0.0):
            spent, remaining = clock.spent(), progress._remaining()
            forecasts.append(
                Look(
                    spent,
                    progress._forecast.share(spent, remaining),
                    remaining * progress._forecast.grown(spent, remaining),
                    schedule.longest_s(),
                    progress.expected()[1],
                )
            )

    engine.run(turn)
    if finalise:
        write()
    return Run(machine, engine, schedule, clock, progress, combine.reached(engine.arrays()), forecasts)


def faults_of(run):
    """Everything that is wrong with a run, as sentences; empty when it kept all promises."""
    machine, arrays, found = run.machine, run.engine.arrays(), []
    if run.clock.spent() > run.clock.limit:
        found.append(f"overran: {run.clock.spent():.1f} of {run.clock.limit:.1f} s")
    if any(slot.state == "busy" for slot in machine.slots):
        found.append("a worker is still busy")
    later = [at for at, unit, _, _ in machine.log if unit > 0]
    if later and max((at for at, unit, _, _ in machine.log if unit == 0), default=0.0) > min(later):
        found.append("a sample got a second unit before another had its first")
    for index, values in enumerate(arrays):
        there = np.isfinite(values).all(axis=1)
        if (values[there] != machine.truth[index][there]).any():
            found.append(f"unit {index + 1} has answers of other samples")
        if run.schedule.samples_done(index) != (run.lengths > index).sum():
            found.append(f"the schedule counts {run.schedule.samples_done(index)} samples at unit {index + 1}")
    answer, whole = run.submission(), [values.astype(np.float64) for values in machine.truth]
    for length in np.unique(run.lengths[run.lengths > 0]).tolist():
        rows, prefix = np.flatnonzero(run.lengths == length), machine.made.prefixes[length - 1]
        mixed = sum(weight * values[rows] for weight, values in zip(prefix.weights, whole, strict=False))
        cooled = mixed ** (1 / prefix.temperature)
        if not np.allclose(answer[rows], cooled / cooled.sum(axis=1, keepdims=True), atol=1e-12):
            found.append(f"answers with {length} units are not those of prefix {length}")
    if np.isfinite(answer[run.lengths == 0]).any():
        found.append("a sample without any unit has an answer")
    return found


def drawn(seed, *, enough=None, most=1000):
    """A plan, a machine and a limit, by chance: (machine, what `play` takes).

    `enough`: times the work that the limit is; `most`: samples.
    """
    dice = random.Random(seed)
    count, samples = dice.randint(1, 6), min(most, dice.choice([1, 7, 64, 64, 64, 300, 1000]))
    seconds = [0.02 * 30.0 ** dice.random() for _ in range(count)]
    workers, speed = dice.randint(1, 4), 0.3 * 10.0 ** dice.random()
    work = samples * sum(seconds) * speed / workers
    limit = max(60.0, work * (enough or dice.choice([0.1, 0.3, 0.6, 0.9, 1.1, 2.0, 4.0])))
    made = plan(
        *(second * dice.uniform(0.7, 1.4) for second in seconds),
        effort=rule(dice, count),
        limit=limit,
        batch=dice.choice([1, 8, 32]),
        load=dice.choice([0.0, limit / 2000]),
    )
    bad = dice.sample(range(samples), min(samples // 7, dice.choice([0, 0, 1, 5])))
    faults = Faults(
        speed=speed,
        noise=dice.choice([0.05, 0.2]),
        drift=dice.choice([0.0, 0.005, 0.015]),
        throttle=(limit * dice.random(), 1.35) if dice.random() < 0.3 else (float("inf"), 1.0),
        growth=dice.choice([0.0, 0.0, 0.5]),
        kill=dice.choice([0.0, 0.0, 0.003, 0.02]),
        fail=dice.choice([0.0, 0.0, 0.02]),
        stall=dice.choice([0.0, 0.0, 0.002]),
        kills=tuple(limit * dice.random() for _ in range(dice.choice([0, 0, 1, 3]))),
        memory=dice.choice([10**9, 10**9, 10**9, 16]),
        poison=frozenset(bad[:1] if dice.random() < 0.2 else ()),
        corrupt={row: dice.randrange(count) for row in bad[1:]},
        refused=dice.randrange(1, count) if count > 1 and dice.random() < 0.05 else -1,
        resident=dice.choice([1, 2, 9]),
    )
    options = {"limit": limit, "together": faults.resident, "stall": limit / 200, "finalise": limit * dice.choice([0.0, 0.0005])}
    return Machine(seed, workers, made, samples, faults), options


def rule(dice, count):
    """A rule of effort for so many units, or none."""
    kind = dice.choice(["none", "static", "tiers", "queue"])
    stops = sorted(dice.sample(range(1, count + 1), dice.randint(1, count)))
    climbs = len(stops) - 1
    if kind == "none":
        return None
    if kind == "queue":
        return contract.Effort(
            kind, tuple(stops), dice.randint(1, len(stops)), tuple(dice.random() for _ in range(climbs)), (0.0, 1.0), (0.1, 2.0)
        )
    return contract.Effort(kind, tuple(stops), dice.randint(1, len(stops)))


def covered(seed):
    """Whether each forecast "with 99 %" of a run held; the run has time for everything."""
    machine, options = drawn(seed, enough=6.0)
    run = play(machine, **options)
    end = run.clock.spent() - options["finalise"] if run.schedule.over else float("inf")
    return [look.sure >= end for look in run.forecasts]
