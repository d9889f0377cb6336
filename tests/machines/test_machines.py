"""The machines: every file is complete, dated, and within what Kaggle has."""

import datetime as dt
import re

import pytest

from builder import machines
from builder.errors import UserError

each_machine = pytest.mark.parametrize("name", machines.names())


@each_machine
def test_a_machine_is_complete_and_says_when_it_was_checked(name):
    machine = machines.load(name)
    assert machine.name == name
    assert machine.accelerator in {"cpu", "cuda"}
    assert (machine.devices == 0) == (machine.accelerator == "cpu") == (machine.shape == "")
    assert machine.layout in {"typed", "classic"}
    assert 1 <= machine.cores <= 128
    assert 4 << 30 <= machine.memory <= 1 << 40
    assert 0 < machine.session_limit_s <= 12 * 3600
    assert machine.python
    assert all(re.fullmatch(r"3\.\d+|cp3\d+|py3\d*", tag) for tag in machine.python)
    assert dt.date.fromisoformat(machine.checked) <= dt.datetime.now(dt.UTC).date()
    assert machine.packages["numpy"]


def test_there_is_a_cpu_and_a_gpu():
    found = {machines.load(name).accelerator for name in machines.names()}
    assert found == {"cpu", "cuda"}


def test_an_unknown_machine_names_the_nearest():
    with pytest.raises(UserError, match="unknown machine 't4x22'") as caught:
        machines.load("t4x22")
    assert caught.value.remedy == "did you mean 't4x2'?"
