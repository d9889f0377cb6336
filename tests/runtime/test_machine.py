"""What a session runs on, as it comes home in run.json; nothing of it may ever raise."""

import os
from types import SimpleNamespace

import pytest
from kkb_runtime import launch, machine
from kkb_runtime.devices import Devices


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1234)'\necho 'GPU 1: Tesla T4 (UUID: GPU-5678)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


def test_everything_that_is_told_is_read(tmp_path, monkeypatch, nvidia):
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    monkeypatch.setenv("BUILD_DATE", "20260812-120000")
    (tmp_path / "git_commit").write_text("78aaa43\n")
    (tmp_path / "build_date").write_text("the environment wins\n")
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\n")
    (tmp_path / "meminfo").write_text("MemTotal:       32000000 kB\n")
    found = machine.describe(tmp_path, tmp_path)
    assert found["processor"] == "Intel(R) Xeon(R) CPU @ 2.00GHz"
    assert found["gpus"] == ["Tesla T4", "Tesla T4"]
    assert found["image"] == {"git_commit": "78aaa43", "build_date": "20260812-120000"}
    assert 0 < found["memory_gb"] <= 32.77
    assert found["cores"] >= 1


def test_what_is_not_told_is_none(tmp_path, monkeypatch):
    for name in ("GIT_COMMIT", "BUILD_DATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.describe(tmp_path / "nowhere", tmp_path / "nowhere")
    assert found["image"] == {"git_commit": None, "build_date": None}
    assert found["gpus"] == []


@pytest.mark.parametrize(("megabytes", "workers", "expected"), [(1, 2, 5), (100, 2, 5), (600, 2, 2), (600, 1, 5), (10_000, 4, 2)])
def test_workers_keep_as_many_models_as_a_share_of_the_memory_holds(tmp_path, monkeypatch, megabytes, workers, expected):
    monkeypatch.setattr(machine, "memory_gb", lambda: 30.0)
    models = [tmp_path / f"{index}.onnx" for index in range(5)]
    for path in models:
        with path.open("wb") as stream:
            stream.truncate(megabytes * 1_000_000)  # sparse: no bytes are written
    state = SimpleNamespace(attached=SimpleNamespace(models=tuple(map(str, models))))
    assert launch.resident(state, Devices("cpu", ({},) * workers, 1)) == expected
