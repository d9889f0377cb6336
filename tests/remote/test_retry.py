from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.remote.faults import retry_after
from builder.remote.retry import Polling, Retry

NOW = datetime(2026, 3, 26, 12, 0, 0, tzinfo=UTC)


@given(st.integers(1, 50), st.floats(0, 0.999), st.one_of(st.none(), st.floats(0, 1000)))
def test_a_delay_is_capped_jittered_and_never_shorter_than_the_server_asks(failures, dice, asked):
    retry = Retry()
    delay = retry.delay(failures, asked, dice)
    if asked is None:
        assert 0 < delay <= retry.longest_s
    else:
        assert asked <= delay <= asked + 1.0


def test_delays_double():
    retry = Retry(first_s=1.0, longest_s=8.0)
    assert [retry.delay(n, None, 1.0) for n in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 8.0]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_an_interval_never_outlasts_the_time_left_nor_the_longest(waited, left):
    interval = Polling().interval(waited, left)
    assert 0 <= interval <= min(left, 60.0)


def test_intervals_grow_from_the_shortest_to_the_longest():
    polling = Polling(shortest_s=2.0, longest_s=60.0)
    seen = [polling.interval(waited, 1e9) for waited in (0.0, 10.0, 100.0, 10_000.0)]
    assert seen == [2.0, 2.0, 10.0, 60.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 26 Mar 2026 12:00:30 GMT", 30.0),
        ("Thu, 26 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert retry_after(header, NOW) == seconds
