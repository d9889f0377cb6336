"""Source, graph and model are never in memory together when they are large."""

from __future__ import annotations

import os

import pytest

from builder.errors import GateError, KkbError, RunError, WaitError
from builder.export import apart
from tests.export import memory

pytest.importorskip("torch")


def double(number):
    print("not for stdout")
    return 2 * number, os.getpid()


def refuse():
    raise GateError("refused", found="this", expected="that", remedy="mend it", file="m.onnx")


def fail():
    raise ZeroDivisionError("by zero")


def die():
    os.kill(os.getpid(), 9)


def sleep():
    import time

    time.sleep(600)


def test_a_function_apart_answers_from_a_process_of_its_own(capfd):
    here, there = apart.run(double, 3, apart=False), apart.run(double, 3, apart=True)
    assert here == (6, os.getpid())
    assert there[0] == 6
    assert there[1] != os.getpid()
    assert capfd.readouterr().out == "not for stdout\n", "stdout is that of the one that was called here"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "kind", "told"),
    [(refuse, GateError, "refused"), (fail, RuntimeError, "ZeroDivisionError: by zero"), (die, RunError, "exit status -9")],
)
def test_what_goes_wrong_apart_goes_wrong_here(function, kind, told):
    with pytest.raises(kind) as caught:
        apart.run(function, apart=True)
    assert told in str(caught.value)
    if isinstance(caught.value, KkbError) and function is refuse:
        with pytest.raises(GateError) as same:
            refuse()
        assert caught.value.record() == same.value.record()


@pytest.mark.slow
def test_nobody_waits_for_ever():
    with pytest.raises(WaitError):
        apart.run(sleep, apart=True, limit_s=0.5)


@pytest.mark.slow
def test_a_fold_takes_twice_its_size_above_the_source(tmp_path):
    told = memory.measured(tmp_path, "fp32", "apart")
    assert told["above_mb"] <= 2 * told["weights_mb"], told


@pytest.mark.slow
def test_it_would_take_more_in_one_process(tmp_path):
    """So that the law above says something."""
    told = memory.measured(tmp_path, "fp32", "together")
    assert told["above_mb"] > 2 * told["weights_mb"], told
