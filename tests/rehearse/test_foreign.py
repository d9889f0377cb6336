"""Any notebook: what the command tells, what it refuses, and that nothing stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder import machines
from builder.cli.rehearsing import rehearse_foreign
from builder.cli.screen import Screen
from builder.errors import RunError, UserError
from builder.rehearse import clean, foreign, scratch
from builder.rehearse.foreign import Foreign
from builder.rehearse.session import PROCESSES
from tests.rehearse import pets
from tests.rehearse.conftest import write_notebook
from tests.rehearse.test_engine import gone, running
from tests.rehearse.test_faults import FAULTS, contents

ANSWERS = """
import csv
rows = list(csv.DictReader(open("/kaggle/input/competitions/pets/test.csv")))
with open("submission.csv", "w", newline="") as out:
    csv.writer(out).writerows([["id", "kind", "score"], *([row["id"], "cat", 0.5] for row in rows)])
"""
STAYS = """
import subprocess
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("here", flush=True)
while True:
    pass
"""
COMMAND = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where tests run in the background
from builder.cli.rehearsing import rehearse_foreign
from builder.cli.screen import Screen
notebook, competition = sys.argv[1:]
sys.exit(rehearse_foreign(Screen(as_json=True), Path(notebook), [f"pets={competition}"], [], limit="120s", json=True))
"""
Ask = Callable[..., int]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that everything temporary goes to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def ask(tmp_path: Path, temporary: Path) -> Ask:
    """The command on a healthy notebook; keywords replace its arguments."""
    competition = pets.competition(tmp_path / "pets")
    notebook = write_notebook(tmp_path / "mine.ipynb", ANSWERS)

    def call(**given: Any) -> int:
        wanted = {
            "notebook": notebook,
            "competitions": [f"pets={competition}"],
            "datasets": [],
            "limit": "120s",
            "memory": "2GB",
            "cpus": 1,
        }
        return rehearse_foreign(Screen(as_json=bool(given.get("json"))), **(wanted | given))

    return call


def test_a_program_gets_one_object_and_nothing_stays(ask: Ask, temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(json=True) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert {"label", "score", "rows", "seconds", "peak_mb", "disk_mb", "findings", "enforced", "not_enforced", "forecast"} <= set(
        record
    )
    assert (record["label"], record["rows"], sorted(record["runs"])) == ("Scored", 50, ["commit", "rerun"])
    assert told.err.index("enforced: ") < told.err.index("commit run: ") < told.err.index("rehearse: Scored, 50 rows")
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_failure_tells_where_and_what_to_do(ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(notebook=write_notebook(tmp_path / "bad.ipynb", "print('before')", "1 / 0")) == RunError.exit_code
    told = capsys.readouterr()
    assert told.out == ""
    for words in ("rehearse: Notebook Threw Exception", "must-fix", "code cell 2 of 2: 1 / 0", "| before", "to do:"):
        assert words in told.err


@pytest.mark.slow
def test_what_is_kept_holds_both_runs(ask: Ask, temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(keep=True, json=True) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    assert folder.parent == temporary
    assert (folder / "rerun" / "working" / "submission.csv").is_file()
    assert json.loads((folder / foreign.RECORD).read_text())["label"] == "Scored"
    scratch.sweep()
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"notebook": Path("nowhere.ipynb")}, "not a notebook"),
        ({"notebook": Path(__file__).with_name("missing.txt")}, "not a notebook"),
        ({"notebook": FAULTS}, "found: a folder"),
        ({"competitions": []}, "which competition"),
        ({"competitions": ["pets"]}, "SLUG=DIR"),
        ({"competitions": ["pets=nowhere"]}, "competition pets: not a folder"),
        ({"datasets": ["weights=x"]}, "OWNER/SLUG=DIR"),
        ({"datasets": ["me/weights=nowhere"]}, "datasets/me/weights: not a folder"),
        ({"hidden": Path("nowhere")}, "the hidden files: not a folder"),
        ({"limit": "0s"}, "--limit makes no sense"),
        ({"limit": "soon"}, "--limit makes no sense"),
        ({"limit": "0.1s"}, "the limit makes no sense"),
        ({"limit": "30h"}, "the longest session"),
        ({"memory": "lots"}, "--memory makes no sense"),
        ({"memory": "1MB"}, "no notebook runs in so little memory"),
        ({"cpus": 0}, "at least one core"),
        ({"machine": "tpu"}, "TPUs cannot be rehearsed"),
        ({"machine": "cpuu"}, "did you mean 'cpu'"),
        ({"layout": "new"}, "unknown mount layout"),
        ({"file": "out/submission.csv"}, "not the name of a submission"),
        ({"rows": 0}, "at least one row"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    ask: Ask, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        ask(**given)
    assert words in raised.value.text()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not a notebook"), ('{"cells": []}', "not a notebook"), ("[1]", "not a notebook"), ("", "not a notebook")],
)
def test_what_is_no_notebook_is_refused(ask: Ask, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "torn.ipynb"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        ask(notebook=path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no sample submission here"),
        ({"sample_submission.csv": ""}, "cannot be read"),
        ({"sample_submission.csv": "id\n1\n"}, "not in sample form"),
        ({"sample_sub_a.csv": "id,x\n1,2\n", "sample_sub_b.csv": "id,x\n1,2\n"}, "several files"),
    ],
)
def test_without_a_sample_form_there_is_no_verdict(ask: Ask, tmp_path: Path, files: dict[str, str], words: str) -> None:
    folder = tmp_path / "formless"
    folder.mkdir()
    (folder / "test.csv").write_text("id\n1\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(UserError, match=words):
        ask(competitions=[f"pets={folder}"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_after_a_signal(tmp_path: Path, temporary: Path, number: signal.Signals) -> None:
    competition = pets.competition(tmp_path / "pets")
    before = contents(competition)
    notebook = write_notebook(tmp_path / "mine.ipynb", STAYS)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(foreign.__file__).parents[2])}
    command = [sys.executable, "-c", COMMAND, str(notebook), str(competition)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not any("here" in log.read_text() for log in temporary.glob("*/commit/log.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode in {-number, 128 + number, 1}
    assert gone(str(temporary))
    assert running("sleep\0600") == []
    if number == signal.SIGKILL:  # nobody is left to clear away: the next rehearsal does
        scratch.sweep()
    assert list(temporary.iterdir()) == []
    assert contents(competition) == before


def test_the_sweep_leaves_what_is_in_use(temporary: Path) -> None:
    with scratch.scratch() as folder:
        scratch.sweep()
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.slow
def test_a_full_disk_is_not_the_notebooks_fault(tmp_path: Path) -> None:
    competition, disk = pets.competition(tmp_path / "pets"), tmp_path / "disk"
    disk.mkdir()
    fill = "data = b'x' * 10_000_000\nfor n in range(100): open(f'/kaggle/temp/{n}.bin', 'wb').write(data)"
    notebook = write_notebook(tmp_path / "mine.ipynb", fill)
    mounted = f'mount -t tmpfs -o size=300m none "{disk}" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mounted, "sh", sys.executable, "-c", COMMAND, str(notebook), str(competition)]
    if os.geteuid() or subprocess.run([*command[:6], "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a small disk")
    environment = {**os.environ, "TMPDIR": str(disk), "PYTHONPATH": str(Path(foreign.__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "RunError: " in done.stderr
    assert "the disk here is full" in done.stderr
    assert "set TMPDIR" in done.stderr


@pytest.mark.slow
def test_a_clean_environment_has_what_the_list_has_and_nothing_else(tmp_path: Path) -> None:
    machine = machines.load("cpu")
    packages = {"six": "1.16.0", "packaging": "0.0.99"}
    machine = type(machine)(**{**vars(machine), "packages": packages, "memory": 2 << 30})
    steps: list[str] = []
    made = clean.environment(machine, tmp_path / "cache", report=lambda _done, _total, words: steps.append(words))
    text = " ".join(made.notes)
    assert "packaging 0.0.99 is not in it" in text
    assert ("the only one here" in text) == (clean.interpreter(machine)[1] not in machine.python)
    assert any("six 1.16.0" in words for words in steps)
    steps.clear()
    assert clean.environment(machine, tmp_path / "cache", report=lambda *_: steps.append("again")) == made
    assert steps == []
    look = "import importlib.util as u, six, sys; print(six.__version__, sys.prefix); assert not u.find_spec('pandas')"
    notebook = write_notebook(tmp_path / "mine.ipynb", look, ANSWERS)
    competition = pets.competition(tmp_path / "pets")
    job = Foreign(notebook, {"pets": competition}, {}, machine, 120, python=made.python, notes=made.notes)
    (tmp_path / "scratch").mkdir()
    verdict = foreign.rehearse(job, tmp_path / "scratch")
    assert verdict.label == "Scored", verdict.findings
    assert [finding.message for finding in verdict.findings if finding.code == "environment"] == list(made.notes)


def test_limits_leave_room_for_real_work() -> None:
    assert PROCESSES >= 200
