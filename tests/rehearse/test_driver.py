"""What the driver tells the engine, line by line: how a script or a notebook went, what it left running. Without a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.rehearse import driver, enter
from tests.rehearse.conftest import write_notebook


def told(path: Path) -> list[dict[str, Any]]:
    """What the driver says of a script or notebook that it runs, under the launcher that buries what is left."""
    environment = {**os.environ, "TMPDIR": str(path.parent), "JUPYTER_PLATFORM_DIRS": "1"}
    command = [sys.executable, driver.__file__, str(path), "", "0"]
    spec = {"parent": os.getpid(), "command": command, "chdir": str(path.parent), "root": None, "mounts": []}
    launch = [sys.executable, enter.__file__, json.dumps(spec)]
    ran = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def script(folder: Path, source: str) -> list[dict[str, Any]]:
    (folder / "script.py").write_text(source)
    return told(folder / "script.py")


def log(said: list[dict[str, Any]], stream: str) -> str:
    return "".join(line["data"] for line in said if line["kind"] == "log" and line["stream"] == stream)


def test_a_script_that_works(tmp_path: Path) -> None:
    said = script(tmp_path, "import sys\nprint('caf\\u00e9')\nprint('careful', file=sys.stderr)")
    assert said[0] == {"kind": "begin", "place": "the script"}
    assert (log(said, "stdout"), log(said, "stderr")) == ("café\n", "careful\n")
    assert said[-1] == {"kind": "done", "left": [], "bytes": 0}


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        ("raise ValueError('no rows')", "ValueError: no rows (exit code 1)"),
        ("raise SystemExit(3)", "the script failed without a message (exit code 3)"),
        ("import os; os.kill(os.getpid(), 9)", "the script was killed by signal SIGKILL"),
    ],
)
def test_a_script_that_fails_says_how(tmp_path: Path, source: str, failure: str) -> None:
    said = script(tmp_path, source)
    assert (said[-1]["kind"], said[-1]["failure"]) == ("failed", failure)


def test_what_is_left_running_is_named(tmp_path: Path) -> None:
    source = "import subprocess\nleft = subprocess.Popen(['sleep', '600'], start_new_session=True)\nprint(left.pid)"
    said = script(tmp_path, source)
    assert said[-1] == {"kind": "done", "left": ["sleep 600"], "bytes": 0}
    with pytest.raises(ProcessLookupError):
        os.kill(int(log(said, "stdout")), 0)


def test_a_notebook_is_told_cell_by_cell_up_to_the_one_that_fails(tmp_path: Path) -> None:
    cells = ("#md # Title", "print('first')", "2 + 3", "\n\nraise ValueError('no rows')", "print('never')")
    said = told(write_notebook(tmp_path / "n.ipynb", *cells))
    assert said[0]["kind"] == "notebook"
    begun = [line["place"] for line in said if line["kind"] == "begin"]
    assert begun == [
        "code cell 1 of 4: print('first')",
        "code cell 2 of 4: 2 + 3",
        "code cell 3 of 4: raise ValueError('no rows')",
    ]
    done = {line["index"]: line["cell"] for line in said if line["kind"] == "cell"}
    assert done[2]["outputs"][0]["data"] == {"text/plain": "5"}
    assert log(said, "stdout") == "first\n"
    assert "ValueError: no rows" in log(said, "stderr")
    assert "\x1b" not in log(said, "stderr")
    assert said[-1]["failure"] == "ValueError: no rows (code cell 3 of 4: raise ValueError('no rows'))"
    assert said[-1]["bytes"] == len("first\n5")


@pytest.mark.slow
@pytest.mark.parametrize(("source", "how"), [("os._exit(7)", "exit code 7"), ("os.kill(os.getpid(), 9)", "signal SIGKILL")])
def test_a_kernel_that_dies_is_told_with_its_cell(tmp_path: Path, source: str, how: str) -> None:
    said = told(write_notebook(tmp_path / "n.ipynb", f"import os; {source}"))
    assert said[-1]["failure"] == f"the kernel died, {how} (code cell 1 of 1: import os; {source})"


def test_a_file_that_is_no_notebook_and_one_without_a_kernel_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.ipynb").write_text("{")
    assert told(tmp_path / "broken.ipynb")[-1]["failure"].startswith("not a notebook: ")
    nameless = told(write_notebook(tmp_path / "n.ipynb", "1", kernelspec=None))
    assert nameless[-1]["failure"].startswith("the notebook names no kernel")


def test_a_long_cell_is_cut_and_an_unknown_signal_keeps_its_number() -> None:
    assert driver.preview("a = 1\n\n  b = 2\nc = 3") == "a = 1; b = 2; c = 3"
    assert driver.preview("a = 1\nb = 2\nc = 3\nd = 4") == "a = 1; b = 2; c = 3 ..."
    assert driver.preview("x" * 200) == "x" * 100 + " ..."
    assert (driver.name_of(9), driver.name_of(999)) == ("SIGKILL", "999")
