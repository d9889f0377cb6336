"""Who gets how much: never more seconds than there are, nobody further before everybody has a stop, ranks and no thresholds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.plan.effort import spend
from builder.runtime.contract import Effort
from builder.runtime.effort import priority

STOPS, ROWS = 4, 30


def rule(kind):
    stops = tuple(range(1, STOPS + 1))
    return Effort(kind, stops, 1, (3.0, 2.0, 1.0), (0.0, 1.0), (0.1, 2.0)) if kind == "queue" else Effort(kind, stops)


def played(kind, seed, share, *, fixed=0.0):
    draw = np.random.default_rng(seed)
    doubts = draw.random((STOPS, ROWS))
    costs, once = draw.uniform(0.5, 3, STOPS), np.full(STOPS, fixed)
    budget = share * (costs.sum() * ROWS + once.sum())
    return doubts, costs, once, budget, spend(priority(rule(kind), doubts), costs, once, budget)


@pytest.mark.parametrize("kind", ["static", "tiers", "queue"])
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.2), fixed=st.sampled_from([0.0, 2.0]))
def test_the_bill_is_right_and_never_above_the_budget(kind, seed, share, fixed):
    _, costs, once, budget, spent = played(kind, seed, share, fixed=fixed)
    bill = sum(costs[: stop + 1].sum() for stop in spent.stops) + once[: spent.stops.max() + 1].sum()
    assert spent.seconds == pytest.approx(bill)
    assert spent.seconds <= budget or spent.seconds == 0


@pytest.mark.parametrize("kind", ["static", "tiers", "queue"])
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.2))
def test_nobody_goes_on_before_everybody_is_there(kind, seed, share):
    spent = played(kind, seed, share)[-1]
    assert spent.stops.min() >= 0 or spent.stops.max() <= 0


@pytest.mark.parametrize("kind", ["static", "queue"])
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.2))
def test_no_affordable_climb_is_left(kind, seed, share):
    _, costs, _, budget, spent = played(kind, seed, share)
    left = budget - spent.seconds
    after = [costs[stop + 1] for stop in spent.stops if stop + 1 < STOPS]
    if spent.stops.min() >= 0:
        assert not after or min(after) > left - 1e-6


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.3, 0.9))
def test_static_means_at_most_one_stop_apart_and_the_doubtful_first(seed, share):
    doubts, *_, spent = played("static", seed, share)
    low, high = spent.stops.min(), spent.stops.max()
    if low >= 0 and high == low + 1:
        assert doubts[low][spent.stops == high].min() >= doubts[low][spent.stops == low].max()


def test_a_queue_gives_to_those_who_gain_most():
    doubts = np.tile(np.linspace(0, 1, ROWS), (STOPS, 1))
    spent = spend(priority(rule("queue"), doubts), np.ones(STOPS), np.zeros(STOPS), 2.6 * ROWS)
    assert (np.diff(spent.stops) >= 0).all()
    assert spent.stops[-1] == STOPS - 1
    assert spent.stops[0] == 0


def test_what_a_later_stop_would_say_is_not_asked_before_a_sample_is_there():
    doubts = np.random.default_rng(0).random((STOPS, ROWS))
    other = doubts.copy()
    other[2] = 1 - other[2]
    for kind in ("static", "queue"):
        before, after = priority(rule(kind), doubts), priority(rule(kind), other)
        np.testing.assert_array_equal(before[:2], after[:2])


def test_doubling_all_doubts_changes_no_rank():
    doubts = np.random.default_rng(1).random((STOPS, ROWS)) / 2
    one, two = (spend(priority(Effort("static", (1, 2, 3, 4)), d), np.ones(4), np.zeros(4), 75.0) for d in (doubts, 2 * doubts))
    np.testing.assert_array_equal(one.stops, two.stops)


def test_common_stops_come_before_a_queue_looks_at_gains():
    doubts = np.tile(np.linspace(0, 1, ROWS), (STOPS, 1))
    effort = Effort("queue", (1, 2, 3, 4), 3, (1e-9, 1e-9, 5.0), (0.0, 1.0), (0.0, 9.0))
    spent = spend(priority(effort, doubts), np.ones(STOPS), np.zeros(STOPS), 3.2 * ROWS)
    assert spent.stops.min() == 2


def test_one_row_and_no_money():
    spent = spend(np.zeros((0, 1)), np.array([2.0]), np.zeros(1), 1.0)
    assert (spent.stops.tolist(), spent.seconds) == ([-1], 0.0)
    spent = spend(np.zeros((0, 1)), np.array([2.0]), np.zeros(1), 2.0)
    assert (spent.stops.tolist(), spent.seconds) == ([0], 2.0)


def test_a_hair_too_little_for_three_rows_is_enough_for_two():
    """So little that it is lost when seconds are divided by the price of a row."""
    spent = spend(np.zeros((0, 4)), np.array([1.0]), np.zeros(1), 3.0 - 1e-10)
    assert (spent.stops.tolist(), spent.seconds) == ([0, 0, -1, -1], 2.0)
    spent = spend(np.zeros((0, 4)), np.array([1.0]), np.zeros(1), 3.0)
    assert (spent.stops.tolist(), spent.seconds) == ([0, 0, 0, -1], 3.0)
