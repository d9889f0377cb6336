"""The wheel: same sources, same bytes; and a wheel that pip and Python accept."""

import base64
import hashlib
import os
import subprocess
import sys
import zipfile

import pytest

import builder
from builder.bundle import runtime_wheel
from builder.runtime.contract import SCHEMA


def test_same_sources_same_bytes_whatever_the_machine(tmp_path, monkeypatch):
    first = runtime_wheel.build(tmp_path / "a")
    copies = tmp_path / "sources"
    copies.mkdir()
    for path in sorted(runtime_wheel.SOURCES.glob("*.py"), reverse=True):
        windows = path.read_bytes().replace(b"\n", b"\r\n")
        (copies / path.name).write_bytes(windows)
        os.utime(copies / path.name, (10**9, 10**9))
    monkeypatch.setattr(runtime_wheel, "SOURCES", copies)
    second = runtime_wheel.build(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name == f"kkb_runtime-{SCHEMA}-py3-none-any.whl"
    assert runtime_wheel.digest() == hashlib.sha256(first.read_bytes()).hexdigest()


def test_another_version_of_kkb_makes_the_same_bytes_of_the_same_sources(monkeypatch):
    before = runtime_wheel.content()
    monkeypatch.setattr(builder, "__version__", "99.0")
    assert runtime_wheel.content() == before


def test_what_is_there_is_left_alone_and_what_is_wrong_is_mended(tmp_path):
    wheel = runtime_wheel.build(tmp_path)
    before = wheel.stat()
    assert runtime_wheel.build(tmp_path).stat().st_mtime_ns == before.st_mtime_ns
    wheel.write_bytes(b"half")
    assert runtime_wheel.build(tmp_path).read_bytes() == runtime_wheel.content()


def test_any_change_of_a_source_changes_the_digest(tmp_path, monkeypatch):
    before = runtime_wheel.digest()
    (tmp_path / "__init__.py").write_text("changed = True\n")
    monkeypatch.setattr(runtime_wheel, "SOURCES", tmp_path)
    assert runtime_wheel.digest() != before


def test_record_holds_every_file_with_its_digest(tmp_path):
    with zipfile.ZipFile(runtime_wheel.build(tmp_path)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        info = f"kkb_runtime-{SCHEMA}.dist-info"
        lines = dict(line.split(",", 1) for line in archive.read(f"{info}/RECORD").decode().splitlines())
        assert sorted(lines) == sorted(names)
        assert lines.pop(f"{info}/RECORD") == ","
        for name, rest in lines.items():
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert rest == f"sha256={digest},{len(data)}"
        assert {info_.date_time for info_ in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    packed = {name.split("/")[1] for name in names if name.startswith("kkb_runtime/")}
    assert {"__init__.py", "contract.py", "supervisor.py", "worker.py"} <= packed
    assert "bootstrap.py" not in packed


def test_it_is_imported_from_the_file_as_it_is(tmp_path):
    wheel = runtime_wheel.build(tmp_path)
    code = "import kkb_runtime.contract as c; print(c.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == str(wheel / "kkb_runtime" / "contract.py")


@pytest.mark.slow
def test_pip_accepts_it(tmp_path):
    wheel = runtime_wheel.build(tmp_path)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
    ]
    subprocess.run(pip, check=True, timeout=120)
    assert (tmp_path / "site" / "kkb_runtime" / "worker.py").is_file()
