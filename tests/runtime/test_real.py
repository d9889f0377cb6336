"""Real runs with random kills and stalls: a valid submission every time, one task lost per kill, equal progress equal bytes."""

import sys

import pytest

from .real import conflicts, real_run


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc")
@pytest.mark.parametrize("seeds", [(1, 2, 4), pytest.param(range(100, 120), marks=pytest.mark.slow)])
def test_whatever_is_killed_or_stopped_the_submission_is_valid(tmp_path, wheel, seeds):
    runs = [real_run(tmp_path / str(seed), seed, wheel) for seed in seeds]
    assert [fault for run in runs for fault in run.faults] == []
    assert conflicts(runs) == []
