"""What a notebook can see and reach at each level."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builder.errors import UserError
from builder.rehearse import engine, isolation
from builder.rehearse.session import COMPLETE
from tests.rehearse.conftest import Make

SWITCHES = [
    *("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity"),
    *("/sys/power/state", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/fs/cgroup", "/usr/bin", "/etc/ld.so.cache"),
]
LOOK = """
import json, os, socket, sys, threading
from pathlib import Path
def attempt(action):
    try:
        return ["ok", action()]
    except OSError as error:
        return [type(error).__name__, str(error)]
def connect(address):
    with socket.create_connection(tuple(address), timeout=3):
        return "connected"
def own_server():
    server = socket.create_server(("127.0.0.1", 0))
    return connect(server.getsockname())
kaggle = Path(os.environ["KKB_KAGGLE"])
asked = json.loads(os.environ["ASKED"])
seen = {
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    "input": sorted(str(path.relative_to(kaggle / "input")) for path in (kaggle / "input").rglob("*") if path.is_file()),
    "new input": attempt(lambda: (kaggle / "input/datasets/me/weights-1a2b/new.txt").write_text("x")),
    "new mount": attempt(lambda: (kaggle / "input/new.txt").write_text("x")),
    "changed input": attempt(lambda: (kaggle / "input/competitions/digits/test.csv").write_text("x")),
    "removed input": attempt(lambda: (kaggle / "input/competitions/digits/test.csv").unlink()),
    "paths": {path: os.path.lexists(path) for path in asked["paths"]},
    "public": attempt(lambda: connect(["1.1.1.1", 53])),
    "host": attempt(lambda: connect(asked["host"])),
    "own": attempt(own_server),
    "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "cores": [len(os.sched_getaffinity(0)), os.cpu_count()],
    "scratch": [attempt(lambda: (kaggle / name / "x").write_text("x"))[0] for name in ("temp", "tmp", "working")],
    "temporary": attempt(lambda: __import__("tempfile").mkdtemp()),
    "home": str(Path.home()),
    "devices": attempt(lambda: len(os.urandom(3)) + Path("/dev/null").write_text("x")),
    "shared memory": attempt(lambda: __import__("multiprocessing").Semaphore(1).acquire()),
    "switches": [path for path in asked["switches"] if os.access(path, os.W_OK)],
    "extra": attempt(lambda: (kaggle / "extra/notes.txt").read_text()),
    "packages": attempt(lambda: Path(json.__file__).with_name("new.txt").write_text("x")),
}
Path("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def look(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the notebook that looks around, beside a listener on the host's loopback; returns what it saw."""
    monkeypatch.setenv("KAGGLE_KEY", "do-not-pass-on")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid")
    (tmp_path / "notes.txt").write_text("only for the rehearsal")

    def run(**fields: Any) -> dict[str, Any]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            secrets = [str(tmp_path / "home" / "solution.csv"), str(Path.home() / ".kaggle"), str(Path(__file__)), str(tmp_path)]
            asked = {"paths": secrets, "host": listener.getsockname(), "switches": SWITCHES}
            extra = {"/kaggle/extra/notes.txt": tmp_path / "notes.txt"}
            session = make(LOOK, environment={"ASKED": json.dumps(asked)}, extra=extra, **fields)
            outcome = engine.run(session)
        assert outcome.failure == ""
        assert outcome.status == COMPLETE
        return {**json.loads((session.folder / "working" / "seen.json").read_text()), "outcome": outcome, "session": session}

    return run


def home_is_untouched(seen: dict[str, Any]) -> None:
    for folder in seen["session"].inputs.values():
        assert not (folder / "new.txt").exists()


def test_isolated(look: Any, every_isolating: str) -> None:
    seen = look(rerun=True)
    assert seen["cwd"] == "/kaggle/working"
    assert seen["home"] == "/root"
    assert seen["input"] == [
        "competitions/digits/images/1.txt",
        "competitions/digits/test.csv",
        "datasets/me/weights-1a2b/model.onnx",
    ]
    for name in ("new input", "new mount", "changed input", "removed input"):
        assert seen[name][0] in ("OSError", "PermissionError"), name
        assert "Read-only file system" in seen[name][1], name
    home_is_untouched(seen)
    assert seen["switches"] == []
    assert not any(seen["paths"].values()), seen["paths"]
    assert seen["public"][0] != "ok"
    assert seen["host"][0] == "ConnectionRefusedError"
    assert seen["own"] == ["ok", "connected"]
    assert seen["pids"][0] == 1
    assert len(seen["pids"]) < 8
    assert seen["scratch"] == ["ok", "ok", "ok"]
    assert seen["temporary"][1].startswith("/tmp/")  # noqa: S108
    assert seen["devices"] == ["ok", 4]
    assert seen["shared memory"] == ["ok", True]
    assert seen["extra"] == ["ok", "only for the rehearsal"]
    assert seen["packages"][0] == "OSError"
    assert {"no network", "read-only inputs", "hidden home and workspace"} <= set(seen["outcome"].enforced)
    environment_is_kaggles(seen["environment"])
    assert seen["environment"]["KAGGLE_IS_COMPETITION_RERUN"] == "1"
    assert seen["environment"]["KKB_KAGGLE"] == "/kaggle"


def test_without_isolation(look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolation.VARIABLE, isolation.NONE)
    seen = look()
    assert seen["cwd"] == str(seen["session"].folder / "working")
    assert seen["input"] == [
        "competitions/digits/images/1.txt",
        "competitions/digits/test.csv",
        "datasets/me/weights-1a2b/model.onnx",
    ]
    home_is_untouched(seen)
    assert seen["scratch"] == ["ok", "ok", "ok"]
    assert seen["extra"] == ["ok", "only for the rehearsal"]
    assert Path(seen["home"]).is_relative_to(seen["session"].folder)
    assert Path(seen["temporary"][1]).is_relative_to(seen["session"].folder)
    environment_is_kaggles(seen["environment"])
    assert "KAGGLE_IS_COMPETITION_RERUN" not in seen["environment"]
    missing = " ".join(seen["outcome"].not_enforced)
    for word in ("network", "read-only inputs", "hidden home", "private processes", "KKB_SANDBOX=none"):
        assert word in missing
    assert not {"no network", "read-only inputs"} & set(seen["outcome"].enforced)


def environment_is_kaggles(variables: dict[str, str]) -> None:
    assert variables["KAGGLE_KERNEL_RUN_TYPE"] == "Batch"
    assert not {"KAGGLE_KEY", "HTTP_PROXY", "OMP_NUM_THREADS", "PYTEST_CURRENT_TEST", isolation.VARIABLE} & set(variables)
    assert "do-not-pass-on" not in json.dumps(variables)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or isolation.available_cores() < 2, reason="needs two cores")
def test_fewer_cores(look: Any, isolating: str) -> None:
    seen = look(cores=1)
    assert seen["cores"] == [1, 1]
    assert "1 CPU core" in seen["outcome"].enforced


def test_more_cores_than_there_are_is_said() -> None:
    _, missing = isolation.guarantees(isolation.choose(), 10_000)
    assert any(text.startswith("10000 CPU cores") for text in missing)


def test_unknown_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolation.VARIABLE, "unshar")
    with pytest.raises(UserError, match="did you mean 'unshare'"):
        engine.capabilities()


def test_level_that_does_not_work_is_refused_by_name_and_replaced_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "platform", "plan9")
    isolation.probe.cache_clear()
    try:
        monkeypatch.setenv(isolation.VARIABLE, "bwrap")
        with pytest.raises(UserError, match="does not work here"):
            engine.capabilities()
        monkeypatch.delenv(isolation.VARIABLE)
        enforced, missing = engine.capabilities()
        assert "no network" not in enforced
        assert any("needs Linux" in text for text in missing)
    finally:
        isolation.probe.cache_clear()


INSTALL = """
import os, subprocess, sys
command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links"]
command += [os.environ["KKB_KAGGLE"] + "/input/datasets/me/wheels", "newcomer"]
subprocess.run(command, check=True)
import newcomer
print(newcomer.__file__, newcomer.GREETING, flush=True)
subprocess.run([sys.executable, "-c", "import newcomer"], check=True)
"""


@pytest.mark.slow
def test_wheels_can_be_installed_and_go_away(make: Make, level: str, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    files = {
        "newcomer.py": "GREETING = 'hello from a wheel'\n",
        "newcomer-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: newcomer\nVersion: 1.0\n",
        "newcomer-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "newcomer-1.0.dist-info/RECORD": "newcomer.py,,\nnewcomer-1.0.dist-info/RECORD,,\n",
    }
    with zipfile.ZipFile(wheels / "newcomer-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    heard: list[str] = []
    session = make(INSTALL, inputs={"datasets/me/wheels": wheels})
    outcome = engine.run(session, on_log=lambda entry: heard.append(entry["data"]))
    assert outcome.failure == ""
    assert "hello from a wheel" in "".join(heard)
    assert list((session.folder / "working").iterdir()) == []


UNPRIVILEGED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from builder.rehearse import engine, limits
from builder.rehearse.session import Session
heard = []
class Limits(limits.Limits):  # the script goes on as soon as its memory was seen, however seldom a slow machine looks
    def _look_at_memory(self, members, now):
        breach = super()._look_at_memory(members, now)
        if self.peak > 500_000_000:
            Path(sys.argv[1], "run", "working", "seen").touch()
        return breach
engine.Limits = Limits
session = Session(Path(sys.argv[2]), Path(sys.argv[1], "run"), {}, 60, 1, 2 << 30, 1 << 30)
outcome = engine.run(session, on_log=lambda entry: heard.append(entry["data"]))
print(json.dumps([outcome.status, outcome.failure, outcome.peak_mb, list(outcome.enforced), "".join(heard)]))
"""
LOOK_SMALL = """
import os, socket, time
print(os.getuid(), os.path.exists({outside!r}), os.access("/usr/bin", os.W_OK))
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError as error:
    print(error)
x = b"x" * 300_000_000
open("/dev/shm/x", "wb").write(b"x" * 200_000_000)
while not os.path.exists("/kaggle/working/seen"):
    time.sleep(0.02)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [isolation.BWRAP, isolation.UNSHARE])
def test_no_root_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nobody, with the system's Python and no package but ours, runs a script: isolated, its memory seen."""
    python = next(
        (Path(each) for each in ("/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11") if Path(each).exists()),
        None,
    )
    if os.geteuid() or python is None or not shutil.which("setpriv"):
        pytest.skip("needs root to become nobody, and a Python that nobody may use")
    home = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        shutil.copytree(Path(isolation.__file__).parents[1], home / "builder", ignore=shutil.ignore_patterns("__pycache__"))
        (home / "outside").write_text("everybody may read this, but for whom is isolated")
        (home / "look.py").write_text(LOOK_SMALL.format(outside=str(home / "outside")))
        for path in (home, *home.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o644)
        become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        plain = {"PATH": "/usr/bin:/bin", "TMPDIR": str(home), isolation.VARIABLE: name, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [*become, str(python), "-c", UNPRIVILEGED, str(home), str(home / "look.py")]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, timeout=120, check=False)
        if "does not work here" in done.stderr:
            pytest.skip(done.stderr.splitlines()[-1])
        status, failure, peak_mb, enforced, heard = json.loads(done.stdout)
    finally:
        shutil.rmtree(home)
    assert (status, failure) == (COMPLETE, "")
    assert heard == "65534 False False\n[Errno 101] Network is unreachable\n"
    assert 500 < peak_mb < 800
    assert {"no network", "read-only inputs", "private processes", "number of processes"} <= set(enforced)
