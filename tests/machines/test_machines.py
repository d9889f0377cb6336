"""The machines: every file is complete, dated, and within what Kaggle has; a workspace's own come first."""

import datetime as dt
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import machines
from builder.errors import UserError
from builder.machines import writing

each_machine = pytest.mark.parametrize("name", machines.names())


@each_machine
def test_a_machine_is_complete_and_says_when_it_was_checked(name):
    machine = machines.load(name)
    assert machine.name == name
    assert machine.accelerator in {"cpu", "cuda"}
    assert (machine.devices == 0) == (machine.accelerator == "cpu") == (machine.shape == "") == (machine.cuda == "")
    assert (machine.device == "") == (machine.device_memory == 0) == (machine.devices == 0)
    assert machine.layout in {"typed", "classic"}
    assert 1 <= machine.cores <= 128
    assert 4 << 30 <= machine.memory <= 1 << 40
    assert 0 < machine.session_limit_s <= 12 * 3600
    assert machine.working == 20 << 30
    assert machine.python
    assert all(re.fullmatch(r"3\.\d+", tag) for tag in machine.python)
    assert dt.date.fromisoformat(machine.checked) <= dt.datetime.now(dt.UTC).date()
    assert machine.packages["numpy"]


@each_machine
def test_every_fact_has_a_date_and_a_source(name):
    machine = machines.load(name)
    raw = tomllib.loads((machines.BUILT_IN / f"{name}.toml").read_text("utf-8"))
    facts = {f"{table}.{key}" for table in ("image", "hardware", "limits") for key in raw[table] if raw[table][key] != ""}
    assert facts <= set(machine.sources), facts - set(machine.sources)
    assert set(machine.sources) <= {f"{table}.{key}" for table in ("image", "hardware", "limits") for key in raw[table]}
    for told in machine.sources.values():
        day, _, source = told.partition("; ")
        assert dt.date.fromisoformat(day) <= dt.datetime.now(dt.UTC).date()
        assert source


def test_there_is_a_cpu_and_a_gpu():
    found = {machines.load(name).accelerator for name in machines.names()}
    assert found == {"cpu", "cuda"}


def test_an_unknown_machine_names_the_nearest():
    with pytest.raises(UserError, match="unknown machine 't4x22'") as caught:
        machines.load("t4x22")
    assert caught.value.remedy == "did you mean 't4x2'?"


@pytest.fixture
def own(workspace):
    """`own(name, **changes of lines)`: a machine of the workspace, made from the built-in CPU machine."""

    def write(name, *changes):
        text = (machines.BUILT_IN / "cpu.toml").read_text("utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = workspace.root / "machines" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_workspaces_own_machine_comes_first(own, workspace, tmp_path):
    path = own("cpu", ("cores = 4", "cores = 2"))
    own("lab", ('"3.12", "3.13"', '"3.11"'))
    assert machines.load("cpu").cores == 2
    assert machines.load("cpu").file == str(path)
    assert machines.load("lab", workspace.root).python == ("3.11",)
    assert set(machines.names()) == {*machines.names(tmp_path), "lab"}
    assert machines.load("cpu", tmp_path).cores == 4
    with pytest.raises(UserError, match="unknown machine 'lab'"):
        machines.load("lab", tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("cores = 4\n", "", "hardware.cores"),
        ("cores = 4", 'cores = "four"', "hardware.cores"),
        ("cores = 4", "cores = -4", "hardware.cores"),
        ("memory_gib = 30", "memory_gib = true", "hardware.memory_gib"),
        ('accelerator = "cpu"', 'accelerator = "tpu"', "hardware.accelerator"),
        ('"3.12", "3.13"', "", "image.python"),
        ('["3.12", "3.13"]', '"3.12"', "image.python"),
        ('numpy = "2.1.3"', "numpy = 2", "image.packages"),
        ('speed_single = "unknown"', 'speed_single = "fast"', "hardware.speed_single"),
        ('speed_every = "unknown"', "speed_every = 0", "hardware.speed_every"),
        ("session_h = 12", 'session_h = "twelve"', "limits.session_h"),
        ('mount_layout = "typed"', 'mount_layout = "flat"', "hardware.mount_layout"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(own, before, after, key):
    path = own("mine", (before, after))
    with pytest.raises(UserError, match=f"'{key}' of machine 'mine' is wrong") as caught:
        machines.load("mine")
    assert caught.value.file == str(path)
    assert caught.value.remedy


def test_a_speed_is_a_number_or_unknown(own):
    own(
        "lab",
        ('speed_single = "unknown"', "speed_single = 1.25"),
        ('speed_every = "unknown"  # as many processes as cores, together\n', ""),
    )
    assert (machines.load("lab").speed_single, machines.load("lab").speed_every) == (1.25, 0.0)
    assert (machines.load("cpu").speed_single, machines.load("cpu").speed_every) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["tpu", "TpuV5E8"])
def test_a_tpu_is_refused_for_what_it_is(name):
    with pytest.raises(UserError, match="TPUs are not supported") as caught:
        machines.load(name)
    assert "t4x2" in caught.value.expected


def test_a_file_that_is_no_toml_is_named(own):
    path = own("mine", ("[image]", "[image"))
    with pytest.raises(UserError, match="not a readable machine") as caught:
        machines.load("mine")
    assert caught.value.file == str(path)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
VALUES = st.one_of(
    NAMES, st.integers(-(2**40), 2**40), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.lists(NAMES)
)
TABLES = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=3), lambda inner: st.dictionaries(NAMES, st.one_of(VALUES, inner), max_size=3)
)


@given(TABLES)
def test_what_is_written_is_what_is_read(raw):
    assert tomllib.loads(writing.dump(raw, "a comment\nof two lines")) == raw
