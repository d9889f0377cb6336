"""The probe, pushed by the real client to the real stand-in, and what comes home."""

import json
import os
import platform
import time
from pathlib import Path

import pytest

from builder import machines
from builder.capture import probe, stage
from builder.errors import RunError
from builder.rehearse import labour, outlook
from builder.rehearse.benchmark import Speed
from builder.remote.client import Client
from builder.remote.retry import Polling
from builder.standin import control

POLLING = Polling(shortest_s=0.05, longest_s=0.3)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("standin")
    control.configure(home, processing_s=0.2)
    control.up(home)
    try:
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], **control.environment(home)}
        with Client(environment, timeout_s=60, sleep=lambda seconds: time.sleep(min(seconds, 0.3))) as opened:
            yield opened
    finally:
        control.down(home)


def capture(client, workspace, name="cpu"):
    return stage.capture(client, workspace, name, "local", wait_s=120, standin=True, polling=POLLING)


@pytest.mark.slow
def test_a_machine_is_captured_and_can_be_used(client, workspace):
    captured = capture(client, workspace)
    found = machines.load("standin")
    assert found == captured.machine
    assert found.file == str(workspace.root / "machines" / "standin.toml")
    assert found.python == (".".join(platform.python_version_tuple()[:2]),)
    assert found.layout == "typed"
    assert found.cores <= os.cpu_count()
    assert found.packages["numpy"]
    assert 0.05 < found.speed_single < 50
    assert found.speed_every >= 0.5 * found.speed_single
    assert outlook.pace(found, lambda cores: Speed(found.speed_single, found.speed_every, cores)).known
    assert found.sources["image"].endswith("the stand-in, which is this computer")
    assert machines.load("cpu").file == str(machines.BUILT_IN / "cpu.toml"), "the real one is not replaced"
    record = captured.record()
    assert (record["machine"], record["kernel"], record["packages"]) == ("standin", "local/kkb-machine-cpu", len(found.packages))
    assert json.dumps(record)
    saw = json.loads((workspace.private / "runs" / "kkb-machine-cpu" / probe.FILE).read_text())
    assert "about.txt" in next(iter(saw["mounts"]["datasets"]["local"].values()))
    assert set(saw["environment"]) >= {"KAGGLE_KERNEL_RUN_TYPE"}


@pytest.mark.slow
def test_a_second_capture_is_a_second_run(client, workspace):
    first, second = capture(client, workspace), capture(client, workspace)
    assert second.version == first.version + 1
    assert second.machine.packages == first.machine.packages


@pytest.mark.slow
def test_a_probe_that_sees_too_little_writes_nothing(client, workspace, monkeypatch, tmp_path):
    for source in ("x = 1", "open('/kaggle/working/machine.json', 'w').write('{\"python\": \"3.13.1\"}')"):
        broken = tmp_path / "probe.py"
        broken.write_text(source)
        monkeypatch.setattr(probe, "__file__", str(broken))
        with pytest.raises(RunError, match=r"the probe (left no|saw too little)"):
            capture(client, workspace)
    assert not (workspace.root / "machines").exists()


def test_the_probe_needs_nothing_and_shows_no_values(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_SECRET_THING", "hush-hush")
    monkeypatch.setattr(probe, "KAGGLE", tmp_path)
    monkeypatch.setenv("PATH", "")
    (tmp_path / "input" / "datasets" / "me").mkdir(parents=True)
    saw = probe.look()
    assert "KAGGLE_SECRET_THING" in saw["environment"]
    assert "hush-hush" not in json.dumps(saw)
    assert saw["mounts"] == {"datasets": {"me": {}}}
    assert (saw["gpus"], saw["memory"] > 0, saw["cores"] > 0) == ([], True, True)


def test_the_probe_runs_the_program_that_lies_where_it_looks(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert probe.speed() == {}, "without it, nothing is known"
    (tmp_path / probe.LABOUR).write_text("import sys; print(1.5 * int(sys.argv[1]))")
    assert probe.speed() == {"single": 1.5, "every": 1.5 * probe.cores()}
    (tmp_path / probe.LABOUR).write_text("print('no number')")
    assert probe.speed() == {}


def test_the_cell_before_the_probe_lays_down_the_program_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    exec(stage._labour(), {})  # noqa: S102  the very cell
    assert (tmp_path / probe.LABOUR).read_text("utf-8") == Path(labour.__file__).read_text("utf-8")
