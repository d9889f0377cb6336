"""The rule of effort at run time: whose climb comes first, in whole tasks, and nothing left unused."""

import numpy as np
import pytest
from kkb_runtime.contract import Effort
from kkb_runtime.costs import Hand, Spent
from kkb_runtime.effort import doubt, priority, unabridged
from kkb_runtime.schedule import Schedule
from kkb_runtime.waiting import Waiting

from .simulated import Machine, faults_of, plan, play, units

QUEUE = Effort("queue", (1, 2, 4), 1, (3.0, 1.0), (0.0, 1.0), (0.1, 2.0))


def exact(seconds, effort, samples, seed, *, chunk=1):
    """A schedule with one worker whose tasks take what the plan says, and the doubts at each prefix."""
    doubts = np.random.default_rng(seed).random((len(seconds) + 1, samples))
    made = units(*seconds, batch=1)
    return Schedule(made, samples, chunk, effort=effort, doubts=lambda rows, length: doubts[length, rows]), doubts


def spend(schedule, budget, seconds):
    """Run tasks until none fits; per sample the units it got."""
    got, steps = np.zeros(schedule._samples, dtype=int), []
    while (task := schedule.next(budget + 1e-6)) is not None:
        took = task.size * seconds[task.unit]
        budget -= took
        steps.append((task.unit, task.rows.tolist()))
        schedule.finished(task, Spent(0.0, 0.0, took))
        got[task.rows] += 1
    return got, steps


@pytest.mark.parametrize("effort", [QUEUE, Effort("static", (1, 2, 4)), Effort("tiers", (1, 4))], ids=lambda e: e.kind)
def test_climbs_come_in_the_order_of_their_priority(effort):
    seconds = [1.0, 1.0, 1.0, 1.0]
    schedule, doubts = exact(seconds, effort, 20, 3)
    schedule.costs.each_bound = lambda unit: seconds[unit]
    got, _ = spend(schedule, 45.0, seconds)
    order = priority(effort, np.stack([doubts[stop] for stop in effort.stops]))
    stop = np.searchsorted(effort.stops, got, side="right") - 1
    there = [order[step, row] for row in range(20) for step in range(stop[row])]
    waiting = [order[stop[row], row] for row in range(20) if stop[row] < len(effort.stops) - 1]
    assert got.min() >= 1
    assert got.sum() == 45
    assert len(set(got.tolist())) > 1
    assert min(there) >= max(waiting) - 1e-12 or (got == 2).sum() + (got == 3).sum() == 1, "one climb was cut by the clock"


def test_everybody_reaches_the_common_stops_first():
    effort = Effort("tiers", (2, 4), 1)
    schedule, _ = exact([1.0] * 4, effort, 10, 0)
    schedule.costs.each_bound = lambda _: 1.0
    got, _ = spend(schedule, 26.0, [1.0] * 4)
    assert sorted(got.tolist()) == [2] * 7 + [4] * 3


def test_a_climb_is_whole_while_it_fits_and_its_first_units_use_the_rest():
    effort = Effort("tiers", (1, 4), 1)
    schedule, doubts = exact([1.0] * 4, effort, 10, 0)
    schedule.costs.each_bound = lambda _: 1.0
    got, _ = spend(schedule, 10.0 + 3 * 2 + 2, [1.0] * 4)
    first = np.argsort(-doubts[1], kind="stable")
    assert got[first].tolist() == [4, 4, 3] + [1] * 7 or got[first].tolist() == [4, 4, 2, 2] + [1] * 6


def test_when_the_dear_climb_does_not_fit_cheaper_ones_of_others_go_on():
    effort = Effort("queue", (1, 2, 3), 1, (1.0, 5.0), (0.0, 1.0), (0.5, 1.5))
    seconds = [1.0, 1.0, 50.0]
    schedule, _ = exact(seconds, effort, 10, 0)
    schedule.costs.each_bound = lambda unit: seconds[unit]
    got, _ = spend(schedule, 20.0, seconds)
    assert got.tolist() == [2] * 10


def test_after_the_last_stop_the_remaining_units_go_on():
    effort = Effort("queue", (1, 2), 1, (1.0,), (0.0, 1.0), (0.5, 1.5))
    schedule, _ = exact([1.0] * 4, effort, 6, 0)
    got, _ = spend(schedule, 1e9, [1.0] * 4)
    assert got.tolist() == [4] * 6
    schedule, _ = exact([1.0] * 4, effort, 6, 0)
    schedule.costs.each_bound = lambda _: 1.0
    got, _ = spend(schedule, 20.0, [1.0] * 4)
    assert sorted(got.tolist()) == [3, 3, 3, 3, 4, 4]


def test_the_rule_has_every_prefix_before_its_first_stop_and_after_its_last():
    whole = unabridged(Effort("queue", (3, 5), 1, (2.0,), (0.0, 1.0), (0.0, 1.0)), 7)
    assert (whole.stops, whole.common, whole.worth) == ((1, 2, 3, 5, 6, 7), 3, (0.0, 0.0, 2.0))
    order = priority(whole, np.tile(np.array([[0.9, 0.1]]), (6, 1)))
    assert (np.diff(order, axis=0) <= 0).all()
    assert order[1].min() > order[2].max(), "common climbs come before all others"
    assert order[2].min() > order[3].max(), "those after the last stop come after them"


def test_while_all_surely_fits_chunks_stay_together_and_go_in_passes():
    schedule, _ = exact([0.01] * 4, QUEUE, 32, 0, chunk=8)
    hand, seen = Hand(), []
    while (task := schedule.next(1e9, hand)) is not None:
        seen.append((task.unit, int(task.rows[0]), task.size))
        schedule.finished(task, Spent(0.0, 0.0, 0.08))
        hand = Hand((), schedule.costs.key(task))
    assert {size for _, _, size in seen} == {8}
    assert not schedule.choosing


def test_the_most_urgent_wait_together_in_whole_tasks():
    doubts = np.linspace(0.0, 1.0, 10)
    waiting = Waiting(Effort("static", (1, 2)), 2, 10, lambda rows, _: doubts[rows])
    waiting.add(np.arange(10), 1)
    ((done, rows),) = waiting.climbs(4, 2, lambda _: (0.0, 1.0))
    assert (done, rows.tolist()) == (1, [9, 8, 7, 6])
    waiting.remove(rows)
    assert waiting.climbs(4, 2, lambda _: (0.0, 1.0))[0][1].tolist() == [5, 4, 3, 2]
    assert waiting.count == 6


def test_equal_samples_go_in_their_order():
    waiting = Waiting(Effort("static", (1, 2)), 2, 5000, lambda rows, _: np.full(len(rows), 0.5))
    waiting.add(np.arange(5000), 1)
    assert waiting.climbs(300, 8, lambda _: (0.0, 1.0))[0][1].tolist() == list(range(300))


def test_a_queue_counts_what_loading_and_part_batches_cost():
    """A few very urgent samples do not make everybody wait for a model that is not loaded."""
    doubts = {1: np.repeat([0.5, 0.95], [98, 2]), 2: np.full(100, 0.9)}
    effort = Effort("queue", (1, 2, 3), 1, (1.0, 1.0), (0.0, 1.0), (0.0, 2.0))
    waiting = Waiting(effort, 3, 100, lambda rows, length: doubts[length][rows])
    waiting.add(np.arange(98), 1)
    waiting.add(np.arange(98, 100), 1)
    waiting.remove(np.arange(98, 100))
    waiting.add(np.arange(98, 100), 2)
    assert waiting.climbs(32, 32, lambda _: (0.0, 1.0))[0][0] == 1
    assert waiting.climbs(32, 1, lambda _: (0.0, 1.0))[0][0] == 2
    assert waiting.climbs(32, 1, lambda done: (100.0, 1.0) if done == 2 else (0.0, 1.0))[0][0] == 1


def test_the_order_does_not_depend_on_what_a_sample_would_say_later():
    effort = Effort("queue", (1, 2, 3), 1, (1.0, 9.0), (0.0, 1.0), (0.1, 1.0))
    waiting = Waiting(effort, 3, 2, lambda rows, _: np.array([0.2, 0.4])[rows])
    waiting.add(np.array([0, 1]), 1)
    before = waiting._urgency.copy()
    waiting.remove(np.array([0]))
    waiting.add(np.array([0]), 2)
    assert waiting._urgency[0] == before[0], "a climb comes no earlier than the climbs before it"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_doubtful_get_more(workers):
    made = plan(0.1, 0.1, 0.1, 0.1, effort=Effort("queue", (1, 2, 4), 1, (2.0, 1.0), (0.0, 1.0), (0.01, 2.0)))
    machine = Machine(0, workers, made, 300 * workers, noise=0.01)
    run = play(machine, limit=60.0)
    assert faults_of(run) == []
    doubts = doubt(machine.truth[0].astype(np.float64))
    most, least = doubts[run.lengths == 4], doubts[run.lengths == 1]
    assert min(len(most), len(least)) > 30
    assert most.mean() > least.mean() + 0.1
    assert run.clock.spent() > 0.95 * 57.0


def test_a_sample_without_an_answer_goes_no_further():
    machine = Machine(0, 1, plan(0.01, 0.01, 0.01), 40, corrupt={3: 1, 7: 0})
    run = play(machine)
    assert run.lengths[[3, 7]].tolist() == [1, 0]
    assert not any(unit == 2 and 3 in rows for _, unit, _, rows in machine.log)
    assert [run.schedule.samples_done(unit) for unit in range(3)] == [39, 38, 38]


def test_workers_that_run_out_of_memory_get_smaller_chunks_and_the_rest_of_the_run_goes_on():
    machine = Machine(0, 2, plan(0.01, 0.01, batch=32), 3000, memory=20)
    run = play(machine, limit=600.0)
    assert run.lengths.tolist() == [2] * 3000
    assert sum("died" in event for event in run.engine.events) < 60


def test_the_last_worker_is_not_retired_for_bad_luck():
    run = play(Machine(0, 1, plan(0.1), 500, kill=0.5), limit=600.0)
    assert run.lengths.mean() > 0.7
    assert not any("retired" in event for event in run.engine.events)
