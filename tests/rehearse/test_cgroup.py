"""Control groups: where one may be made, what is written there, and that its absence is no fault.

Plain folders stand for the kernel's where this host delegates none: they take the same writes.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.rehearse import cgroup


@pytest.fixture
def slice_(tmp_path: Path) -> Path:
    """A user's slice that hands out memory and pids, and a scope in it."""
    place = tmp_path / "user.slice"
    (place / "mine.scope").mkdir(parents=True)
    (place / "cgroup.subtree_control").write_text("memory pids\n")
    (place / "cgroup.procs").touch()
    return place


def test_the_place_is_the_parent_that_hands_out_memory(slice_: Path, tmp_path: Path) -> None:
    assert cgroup.delegated("4:memory:/x\n0::/user.slice/mine.scope\n", tmp_path) == slice_
    (slice_ / "cgroup.subtree_control").write_text("pids\n")
    assert cgroup.delegated("0::/user.slice/mine.scope\n", tmp_path) is None


@pytest.mark.parametrize("own", ["", "0::/\n", "4:memory:/x\n", "0::/gone/mine.scope\n"])
def test_without_delegation_there_is_no_place(tmp_path: Path, own: str) -> None:
    assert cgroup.delegated(own, tmp_path) is None


def test_a_group_has_its_limits_and_its_first_process(slice_: Path) -> None:
    made = cgroup._made(slice_, 300 << 20, 500)
    assert made is not None
    assert (made.path / "memory.max").read_text() == f"{300 << 20}\n"
    said = subprocess.run(made.wrap(["/bin/sh", "-c", "echo $$"]), check=True, capture_output=True, text=True).stdout
    assert (made.path / "cgroup.procs").read_text() == said
    assert not made.ran_out()
    (made.path / "memory.events").write_text("max 3\noom_kill 1\n")
    assert made.ran_out()


def test_no_group_is_no_fault() -> None:
    with cgroup.group(300 << 20, 500) as made:
        assert made is None or made.path.is_dir()
    assert made is None or not made.path.exists()


def test_a_place_that_refuses_is_left_alone(slice_: Path, tmp_path: Path) -> None:
    assert cgroup._made(slice_ / "cgroup.procs", 1, 1) is None
    assert sorted(path.name for path in slice_.iterdir()) == ["cgroup.procs", "cgroup.subtree_control", "mine.scope"]
