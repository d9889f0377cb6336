"""What a session runs on, as it comes home in run.json; nothing of it may ever raise."""

import os
from types import SimpleNamespace

import pytest
from kkb_runtime import devices, launch, machine
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


def test_workers_on_a_cpu_have_their_threads_and_huge_pages(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    chosen = devices.choose("cpu", samples=1000, chunks=40, threads=2, workers=3)
    assert len(chosen.environments) == 3
    for environment in chosen.environments:
        assert environment["OMP_NUM_THREADS"] == "2"
        assert environment["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


def test_tunables_of_the_session_stay(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    assert devices.on_cpu(1)["GLIBC_TUNABLES"] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert devices.on_cpu(1)["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=0"


def test_workers_on_a_gpu_have_the_memory_of_the_session(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    environments = devices.choose("cuda", samples=1000, chunks=40, threads=1).environments
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0", "1"]
    assert not any("GLIBC_TUNABLES" in environment for environment in environments)
