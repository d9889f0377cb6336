"""Forecasts are arithmetic on what runs told: they contain what is certain, widen with doubt, and obey the clock."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import machines
from builder.rehearse import forecast, outlook
from builder.rehearse.benchmark import Speed
from builder.rehearse.forecast import Estimate, Seen

ROWS = st.integers(1, 500)
SECONDS = st.floats(0.01, 100)


def runs(rows, fixed, row, visible=3):
    """Two runs without any noise."""
    return Seen(visible, fixed, visible * row, row), Seen(rows, fixed, rows * row, row)


@given(st.integers(4, 500), SECONDS, st.floats(1e-4, 1))
def test_without_noise_the_truth_is_the_middle(rows, fixed, row):
    short, long = runs(rows, fixed, row)
    found = forecast.here(short, long, 10 * rows)
    assert found.middle == pytest.approx(fixed + 10 * rows * row)
    assert 0 < found.low <= found.middle <= found.high


@given(st.integers(4, 500), SECONDS, st.floats(1e-4, 1), st.floats(0.8, 1.25))
def test_more_rows_take_longer_and_are_less_sure(rows, fixed, row, noise):
    short, long = runs(rows, fixed, row)
    long = Seen(long.rows, long.once * noise, long.work * noise, long.row)
    near, far = forecast.here(short, long, rows), forecast.here(short, long, 10 * rows)
    assert near.middle <= far.middle
    assert near.high - near.middle <= far.high - far.middle


@given(ROWS, ROWS, SECONDS, SECONDS, st.floats(0, 1), st.integers(1, 5000))
def test_whatever_runs_tell_there_is_an_interval(visible, rows, work, longer, row, wanted):
    """A longer run that was the faster one, equal sizes, rows that cost nothing: all of it happens."""
    short, long = Seen(visible, 1.0, work, row), Seen(rows, 1.0, longer, row)
    found = forecast.here(short, long, wanted)
    assert 0 <= found.low <= found.middle <= found.high


def test_a_machine_that_is_slower_takes_longer_and_a_clock_bounds_it():
    found = Estimate(100, 60.0, 50.0, 80.0)
    assert found.scaled(2.0, 2.0) == Estimate(100, 120.0, 100.0, 160.0)
    assert found.scaled(0.5, 2.0) == Estimate(100, 60.0, 25.0, 160.0)
    assert found.below(55.0) == Estimate(100, 55.0, 50.0, 55.0)


def test_units_of_one_input_decode_once():
    unit = {"samples": 10, "seconds_per_sample": 0.02, "decode_seconds_per_sample": 0.1}
    run = {"rows": 10, "stages": {"predict": 2.0}, "units": [unit, unit], "accelerator": {"workers": 2}}
    assert forecast.seen(run, 5.0) == Seen(10, 3.0, 2.0, pytest.approx((0.02 + 0.02 + 0.1) / 2))


def test_a_run_that_hung_on_its_way_does_not_count_twice():
    short, long = runs(100, 3.0, 0.01)
    stalled = Seen(long.rows, 300.0, long.work, long.row)
    assert forecast.here(short, stalled, 1000) == forecast.here(short, Seen(100, 3.0, long.work, 0.01), 1000)


def machine(**changes):
    return replace(machines.load("cpu"), **changes)


def refuse(_cores):
    raise AssertionError("nothing to compare with, and measured all the same")


def test_a_machine_that_nobody_measured_widens_the_interval_and_says_so():
    found = outlook.pace(machine(), refuse)
    assert (found.low, found.high, found.known) == (0.4, 2.5, False)
    assert "never measured" in found.words
    assert found.limit(100.0) == 100.0


def test_a_measured_machine_scales_limits_and_forecasts():
    found = outlook.pace(machine(speed_single=0.5, speed_every=2.0), lambda cores: Speed(1.0, 4.0, cores))
    assert found.known
    assert found.low < 2.0 < found.high
    assert found.limit(100.0) == pytest.approx(50.0), "half as fast: what takes 100 s there takes 50 s here"


def test_a_gpu_is_not_foretold_by_a_cpu():
    found = outlook.pace(machines.load("t4x2"), refuse)
    assert not found.known
    assert "GPU" in found.words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.24, "4.2s"),
        (59.4, "59s"),
        (60, "1m"),
        (750, "12m30s"),
        (3600, "1h"),
        (32_400, "9h"),
        (11_520, "3h12m"),
        (14_699, "4h05m"),
    ],
)
def test_durations_read_as_people_write_them(seconds, text):
    assert outlook.duration(seconds) == text


def test_a_forecast_over_the_limit_is_a_finding():
    def severities(low, high):
        return [found.severity for found in outlook.Outlook(Estimate(120_000, low, low, high), 32_400.0, "").findings("digits")]

    assert severities(11_520.0, 14_700.0) == []
    assert severities(30_000.0, 33_000.0) == ["should-fix"]
    assert severities(33_000.0, 40_000.0) == ["must-fix"]
    text = outlook.Outlook(Estimate(120_000, 0.0, 11_520.0, 14_700.0), 32_400.0, "").text
    assert text == "9h limit: 3h12m to 4h05m at 120,000 rows"
