"""kkb machine list, show and capture: what people and programs get."""

import json

import pytest
from typer.testing import CliRunner

from builder import machines
from builder.cli.machines import machine
from builder.errors import UserError
from builder.standin import control


def run(*arguments):
    return CliRunner().invoke(machine, [*arguments, "--json"], catch_exceptions=False)


def test_the_list_tells_where_each_machine_comes_from(workspace):
    own = workspace.root / "machines" / "lab.toml"
    own.parent.mkdir()
    own.write_text((machines.BUILT_IN / "t4x2.toml").read_text())
    done = run("list")
    assert {one["name"]: one["file"] for one in json.loads(done.stdout)["machines"]}["lab"] == str(own)
    assert "machines/lab.toml" in done.stderr
    assert "built in" in done.stderr


def test_one_machine_is_shown_with_its_sources(workspace):
    done = run("show", "t4x2")
    assert json.loads(done.stdout)["sources"]["hardware.machine_shape"].startswith("2026-")
    for part in ("NvidiaTeslaT4", "Tesla T4", "date and source", "kaggle-cli#1198"):
        assert part in done.stderr
    with pytest.raises(UserError, match="unknown machine"):
        run("show", "t4")


@pytest.mark.slow
def test_a_capture_from_the_stand_in(workspace):
    control.up(workspace.standin)
    try:
        done = run("capture", "--standin")
    finally:
        control.down(workspace.standin)
    record = json.loads(done.stdout)
    assert (record["machine"], record["kernel_version"]) == ("standin", 1)
    assert machines.load("standin").packages
    assert "machines/standin.toml" in done.stderr
    assert "not pinned" in done.stderr
