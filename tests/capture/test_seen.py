"""From what a session saw to a machine."""

import pytest

from builder import machines
from builder.capture import seen
from builder.errors import RunError

T4 = {"name": "Tesla T4", "mib": 15360, "driver": "570.1"}
SEEN = {
    "python": "3.13.2",
    "glibc": "2.35",
    "packages": {"numpy": "2.1.4", "Torch": "2.11.0+cu128", "odd": "unknown", "scikit_learn": "1.6.1", "new-one": "1.0"},
    "processor": "Intel(R) Xeon(R) CPU @ 2.00GHz",
    "cores": 4,
    "memory": 31_300_000_000,
    "speed": {"single": 0.91, "every": 2.3},
    "gpus": [T4, T4],
    "disks": {"working": {"free": 20 << 30}, "tmp": {"free": 55_900_000_000}},
    "mounts": {"datasets": {"me": {"kkb-probe-1a": {}}}},
}


def captured(name="t4x2", image="gcr.io/x@sha256:ab", **changes):
    base = machines.load(name)
    raw = seen.tables({**SEEN, **changes}, base, image, "2026-11-21; kernel me/probe version 3", "kkb-probe-1a")
    return base, machines.parse(name, raw, machines.BUILT_IN / "x.toml")


def test_what_was_seen_replaces_what_was_known():
    base, found = captured()
    assert (found.python, found.glibc, found.cuda, found.docker_image) == (("3.13",), "2.35", "12.8", "gcr.io/x@sha256:ab")
    assert found.packages == {"new-one": "1.0", "numpy": "2.1.4", "scikit-learn": "1.6.1", "torch": "2.11.0+cu128"}
    assert (found.device, found.device_memory, found.devices) == ("Tesla T4", 15 << 30, 2)
    assert 31_300_000_000 - (1 << 30) / 10 <= found.memory <= 31_300_000_000, "never larger than it is"
    assert (found.session_limit_s, found.working, found.shape) == (base.session_limit_s, base.working, base.shape)
    assert (found.speed_single, found.speed_every) == (0.91, 2.3)
    assert found.checked == "2026-11-21"
    assert found.sources["image"] == "2026-11-21; kernel me/probe version 3"
    assert found.sources["limits.session_h"] == base.sources["limits.session_h"]


@pytest.mark.parametrize("speed", [{}, None, {"single": "fast", "every": 0.0}, {"single": 1e9, "every": -1.0}])
def test_a_speed_that_is_none_stays_unknown(speed):
    _, found = captured(speed=speed)
    assert (found.speed_single, found.speed_every) == (0.0, 0.0)


def test_the_changes_are_told():
    told = seen.changes(*captured())
    assert "speed_single: - -> 0.91" in told
    assert "python: ('3.12', '3.13') -> ('3.13',)" in told
    assert "numpy: 2.1.3 -> 2.1.4" in told
    assert "pandas: 2.2.3 -> not there" in told
    assert not [one for one in told if one.startswith(("glibc", "cores", "scikit-learn"))]


@pytest.mark.parametrize(
    ("mounts", "layout"),
    [
        ({"datasets": {"me": {"kkb-probe-1a": {}}}}, "typed"),
        ({"kkb-probe-1a": {"about.txt": None}}, "classic"),
        ({"d": {"me": {"kkb-probe-1a": {}}}}, "classic"),
        ({"datasets": {}}, ""),
        ({"datasets": None, "x": None}, ""),
        ({}, ""),
    ],
)
def test_the_place_of_the_dataset_tells_the_layout(mounts, layout):
    assert seen.layout_of(mounts, "kkb-probe-1a") == layout
    base, found = captured(mounts=mounts)
    assert found.layout == (layout or base.layout)
    assert ("hardware.mount_layout" in found.sources) == (not layout)


def test_another_accelerator_than_was_asked_for_is_refused():
    """Kaggle replaces retired shapes without a word."""
    with pytest.raises(RunError, match="not the machine 't4x2'") as caught:
        captured(gpus=[])
    assert caught.value.found == "0 GPUs (none)"
    assert captured("cpu", gpus=[])[1].cuda == ""
