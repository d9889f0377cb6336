"""How sessions end: each notebook has one fault and is named for it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from builder.errors import RunError, UserError
from builder.rehearse import engine, sandbox
from builder.rehearse.enter import process_table
from builder.rehearse.session import CANCELLED, COMPLETE, ERROR, TIMEOUT
from tests.rehearse.conftest import Make

THREW, TOO_SLOW, TOO_MUCH = "Notebook Threw Exception", "Notebook Timeout", "Notebook Exceeded Allowed Compute"
SCRATCH = ("/tmp", "/kaggle/temp", "/kaggle/tmp", "/root")  # noqa: S108 -- inside the sandbox
FOREVER = "while True:\n    pass"


def log_of(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "log.json").read_text())


def printed(folder: Path, stream: str = "stdout") -> str:
    return "".join(str(entry["data"]) for entry in log_of(folder) if entry["stream_name"] == stream)


def running(marker: str) -> list[int]:
    """Processes whose command line or environment holds the marker: a session's folder or a variable given to it."""
    found = []
    for pid, _ in process_table():
        for name in ("cmdline", "environ"):
            try:
                if marker.encode() in Path(f"/proc/{pid}/{name}").read_bytes() and pid != os.getpid():
                    found.append(pid)
            except OSError:
                continue
    return found


def gone(marker: str, within: float = 20) -> bool:
    """Whether no process with the marker is left, at the latest after a while."""
    deadline = time.monotonic() + within
    while running(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not running(marker)


def test_good(make: Make, level: str) -> None:
    session = make(
        "#md # A title",
        "import os, sys; print('first'); print('warned', file=sys.stderr)",
        "from pathlib import Path; Path('submission.csv').write_text('id,label\\n1,7\\n')",
        "os.makedirs('deep/er'); open('deep/er/x.txt', 'w').write('kept'); 6 * 7",
    )
    heard: list[dict[str, object]] = []
    outcome = engine.run(session, on_log=heard.append)
    assert (outcome.status, outcome.label, outcome.failure) == (COMPLETE, None, "")
    assert (session.folder / "working" / "submission.csv").read_text() == "id,label\n1,7\n"
    assert (session.folder / "working" / "deep" / "er" / "x.txt").read_text() == "kept"
    entries = log_of(session.folder)
    assert entries == heard
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert all(set(entry) == {"stream_name", "time", "data"} for entry in entries)
    assert (printed(session.folder), printed(session.folder, "stderr")) == ("first\n", "warned\n")
    executed = nbformat.read(session.folder / "executed.ipynb", as_version=4)
    nbformat.validate(executed)
    assert [cell.get("execution_count") for cell in executed.cells] == [None, 1, 2, 3]
    assert executed.cells[3].outputs[0]["data"]["text/plain"] == "42"
    assert outcome.peak_mb > 10
    assert 0 < outcome.disk_mb < 1
    assert not set(outcome.enforced) & set(outcome.not_enforced)
    assert sorted(path.name for path in session.folder.iterdir()) == ["executed.ipynb", "log.json", "timeline.json", "working"]
    assert "outputs" not in session.notebook.read_text().replace('"outputs": []', "")


def test_crashes(make: Make, level: str) -> None:
    session = make("print('before')", "#md text", "x = {}\nx['price']", "print('after')")
    outcome = engine.run(session)
    assert (outcome.status, outcome.label) == (ERROR, THREW)
    assert outcome.failure == "KeyError: 'price' (code cell 2 of 3: x = {}; x['price'])"
    assert printed(session.folder) == "before\n"
    traceback = printed(session.folder, "stderr")
    assert "----> 2 x['price']" in traceback
    assert "\x1b" not in traceback
    executed = nbformat.read(session.folder / "executed.ipynb", as_version=4)
    assert executed.cells[2].outputs[0]["ename"] == "KeyError"
    assert gone(str(session.folder))


@pytest.mark.parametrize(
    ("cell", "failure"),
    [
        pytest.param("raise SystemExit(0)", "SystemExit: 0", id="exits"),
        pytest.param("import os; os._exit(3)", "the kernel died, exit code 3", id="kernel-dies", marks=pytest.mark.slow),
        pytest.param(
            "import os; os.kill(os.getpid(), 11)", "the kernel died, signal SIGSEGV", id="segfault", marks=pytest.mark.slow
        ),
        pytest.param("import os; os.kill(os.getpid(), 9)", "the kernel died, signal SIGKILL", id="oom", marks=pytest.mark.slow),
        pytest.param("def broken(:", "SyntaxError: invalid syntax", id="syntax", marks=pytest.mark.slow),
    ],
)
def test_fails(make: Make, cell: str, failure: str) -> None:
    outcome = engine.run(make(cell, "print('after')"))
    assert (outcome.status, outcome.label) == (ERROR, THREW)
    assert outcome.failure.startswith(failure)
    assert "code cell 1 of 2" in outcome.failure


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        pytest.param("no-kernelspec", "the notebook names no kernel", id="no-kernelspec"),
        pytest.param("other-kernel", "No such kernel named ir", id="other-kernel", marks=pytest.mark.slow),
        pytest.param("torn", "not a notebook", id="torn", marks=pytest.mark.slow),
    ],
)
def test_notebook_that_cannot_run(make: Make, content: str, failure: str) -> None:
    kernelspec = {"name": "ir", "display_name": "R", "language": "R"} if content == "other-kernel" else None
    session = make("print(1)", kernelspec=kernelspec)
    if content == "torn":
        session.notebook.write_text(session.notebook.read_text()[:40])
    outcome = engine.run(session)
    assert (outcome.status, outcome.label) == (ERROR, THREW)
    assert failure in outcome.failure
    assert log_of(session.folder) == []


def test_too_slow(make: Make, level: str) -> None:
    session = make(FOREVER, limit_s=3)
    outcome = engine.run(session)
    assert (outcome.status, outcome.label) == (TIMEOUT, TOO_SLOW)
    assert "3 s" in outcome.failure
    assert outcome.seconds >= 3
    assert gone(str(session.folder))


@pytest.mark.slow
def test_memory_hog(make: Make) -> None:
    outcome = engine.run(make("x = bytearray(1 << 30)\nfor i in range(0, 1 << 30, 4096): x[i] = 1", FOREVER, memory=512 << 20))
    assert (outcome.status, outcome.label) == (ERROR, TOO_MUCH)
    assert "memory" in outcome.failure
    assert outcome.peak_mb > 512


@pytest.mark.slow
def test_memory_of_children_counts_once_when_shared(make: Make, every_level: str) -> None:
    hold = "import os, time\nx = bytearray(os.urandom(1 << 20)) * 300\n"
    shared = "for _ in range(3):\n    if os.fork() == 0: time.sleep(1); os._exit(0)\ntime.sleep(1)"
    assert engine.run(make(hold + shared, memory=1 << 30)).status == COMPLETE
    own = "for _ in range(3):\n    if os.fork() == 0:\n        y = bytearray(x); time.sleep(60); os._exit(0)\ntime.sleep(60)"
    assert engine.run(make(hold + own, memory=1 << 30)).label == TOO_MUCH


@pytest.mark.parametrize("then", [FOREVER, pytest.param("pass", marks=pytest.mark.slow)], ids=["while-it-runs", "at-the-end"])
def test_fills_working(make: Make, then: str) -> None:
    session = make("open('big.bin', 'wb').write(bytes(30 << 20))", then, working=20 << 20)
    outcome = engine.run(session)
    assert (outcome.status, outcome.label) == (ERROR, TOO_MUCH)
    assert "/kaggle/working" in outcome.failure
    assert outcome.disk_mb > 20


def test_scratch_does_not_count_as_working_and_goes_away(make: Make, isolating: str) -> None:
    cells = [f"open('{folder}/x.bin', 'wb').write(bytes(9 << 20))" for folder in SCRATCH]
    session = make("\n".join(cells), working=5 << 20)
    assert engine.run(session).status == COMPLETE
    assert sorted(path.name for path in session.folder.iterdir()) == ["executed.ipynb", "log.json", "timeline.json", "working"]
    assert list((session.folder / "working").iterdir()) == []


def test_cancelled(make: Make, level: str) -> None:
    stop = threading.Event()
    session = make("print('began', flush=True)", "print('go', flush=True)\n" + FOREVER)
    outcome = engine.run(session, on_log=lambda entry: stop.set() if entry["data"] == "go\n" else None, stop=stop)
    assert (outcome.status, outcome.label) == (CANCELLED, None)
    assert printed(session.folder) == "began\ngo\n"
    executed = nbformat.read(session.folder / "executed.ipynb", as_version=4)
    assert executed.cells[0].outputs[0]["text"] == "began\n"
    assert gone(str(session.folder))


def test_links_out_of_the_output_are_not_kept(make: Make) -> None:
    session = make("import os; os.symlink('/etc/passwd', 'submission.csv'); open('a', 'w').write('x'); os.symlink('a', 'b')")
    assert engine.run(session).status == COMPLETE
    assert sorted(path.name for path in (session.folder / "working").iterdir()) == ["a", "b"]
    assert "submission.csv is a link" in printed(session.folder, "stderr")


SPECIAL = """
import os
open('suid', 'w').write('x')
os.chmod('suid', 0o6777)
os.mkfifo('fifo')
os.symlink('missing', 'dangling')
"""


def test_nothing_special_is_left_in_the_output(make: Make) -> None:
    session = make(SPECIAL)
    assert engine.run(session).status == COMPLETE
    [kept] = (session.folder / "working").iterdir()
    assert (kept.name, oct(kept.stat().st_mode)) == ("suid", "0o100777")
    words = printed(session.folder, "stderr")
    assert "fifo is neither a file nor a folder: it is not kept" in words
    assert "dangling is a link that leads nowhere: it is not kept" in words


STAYS = """
import os, subprocess, sys
code = "import time; time.sleep(600)  # " + os.environ["MARKER"]
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    os._exit(0)
os.wait()
print("left", flush=True)
"""


def test_nothing_outlives_a_good_run(make: Make, level: str, tmp_path: Path) -> None:
    marker = f"stays-{tmp_path}"
    outcome = engine.run(make(STAYS, environment={"MARKER": marker}))
    assert outcome.status == COMPLETE
    assert gone(marker)


CALLER = """
import sys
from pathlib import Path
from builder.rehearse import engine
from builder.rehearse.session import Session
notebook, folder, marker = sys.argv[1:]
session = Session(Path(notebook), Path(folder), {}, 120, 2, 2 << 30, 1 << 30, environment={"MARKER": marker})
engine.run(session, on_log=lambda entry: print(entry["data"], flush=True))
"""


def test_nothing_outlives_a_killed_caller(make: Make, level: str, tmp_path: Path) -> None:
    session, marker = make(STAYS, FOREVER), f"orphans-{tmp_path}"
    command = [sys.executable, "-c", CALLER, str(session.notebook), str(session.folder), marker]
    environment = {**os.environ, "PYTHONPATH": str(Path(engine.__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as caller:
        assert caller.stdout is not None
        while caller.stdout.readline() != "left\n":
            assert caller.poll() is None
        assert len(running(marker)) > 1
        caller.send_signal(signal.SIGKILL)
    assert gone(marker)
    lines = (session.folder / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["data"] == "left\n"


def test_interrupted_listener_ends_the_run(make: Make) -> None:
    def interrupt(entry: dict[str, object]) -> None:
        raise KeyboardInterrupt

    session = make("print('began', flush=True)", FOREVER)
    with pytest.raises(KeyboardInterrupt):
        engine.run(session, on_log=interrupt)
    assert gone(str(session.folder))
    assert printed(session.folder) == "began\n"


@pytest.mark.slow
def test_second_run_replaces_the_first(make: Make) -> None:
    first = make("import os; os.makedirs('locked/in'); open('old.txt', 'w'); os.chmod('locked', 0)")
    assert engine.run(first).status == COMPLETE
    second = make("open('new.txt', 'w')")
    assert engine.run(second).status == COMPLETE
    assert [path.name for path in (second.folder / "working").iterdir()] == ["new.txt"]


@pytest.mark.slow
def test_sessions_at_the_same_time(make: Make, tmp_path: Path) -> None:
    session = make("import time; time.sleep(1); print('done')")
    sessions = [dataclasses.replace(session, folder=tmp_path / f"run{number}") for number in range(3)]
    threads = [threading.Thread(target=engine.run, args=(each,)) for each in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [printed(each.folder) for each in sessions] == ["done\n"] * 3


@pytest.mark.slow
def test_endless_output_keeps_the_log_within_kaggles_limit(make: Make) -> None:
    session = make("line = 'x' * 99\nfor number in range(250_000): print(number, line)", "raise ValueError('the end')")
    outcome = engine.run(session)
    assert outcome.failure.startswith("ValueError: the end")
    assert (session.folder / "log.json").stat().st_size <= 10 << 20
    assert printed(session.folder).startswith("0 xxx")
    assert "ValueError: the end" in printed(session.folder, "stderr")
    assert "bytes left out" in printed(session.folder, "stderr")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"notebook": Path("missing.ipynb")}, "missing notebook"),
        ({"inputs": {"datasets/me/x": Path("missing")}}, "input 'datasets/me/x' is not a folder"),
        ({"inputs": {"../x": Path()}}, "leaves /kaggle/input"),
        ({"inputs": {"/etc": Path()}}, "leaves /kaggle/input"),
        ({"extra": {"relative": Path()}}, "absolute path"),
        ({"extra": {"/kaggle/x": Path("missing")}}, "missing file for /kaggle/x"),
        ({"limit_s": 0}, "must be positive"),
        ({"environment": {"A=B": "c"}}, "not an environment variable"),
    ],
)
def test_impossible_sessions_are_refused(make: Make, fields: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        engine.run(make("print(1)", **fields))


def test_sandbox_that_does_not_start_is_our_error(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "DRIVER", tmp_path)  # a folder cannot be executed
    session = make("print(1)")
    with pytest.raises(RunError, match="did not start the notebook"):
        engine.run(session)
    assert gone(str(session.folder))
