"""The built-in benchmark: measured once a day, in processes of their own, and remembered for the machine that it ran on."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.errors import RunError
from builder.rehearse import benchmark, labour
from builder.rehearse.benchmark import Speed


@pytest.fixture
def measured(monkeypatch):
    """How often it was measured; the measuring itself has its own test."""
    calls = []
    monkeypatch.setattr(benchmark, "measure", lambda cores: calls.append(cores) or Speed(1.0, 1.5, cores))
    return calls


def test_a_speed_is_remembered_for_a_day(tmp_path, measured):
    assert benchmark.here(tmp_path, 2) == benchmark.here(tmp_path, 2) == Speed(1.0, 1.5, 2)
    assert measured == [2]
    (path,) = tmp_path.glob("speed-*.json")
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "at": time.time() - 2 * benchmark.DAY_S}))
    benchmark.here(tmp_path, 2)
    assert measured == [2, 2]
    benchmark.here(tmp_path, 4)
    assert measured == [2, 2, 4], "four cores are another machine than two"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"at": 1e99, "single": 1}', '{"at": "now"}'])
def test_a_broken_memory_is_measured_again(tmp_path, measured, text):
    benchmark.here(tmp_path, 2)
    (path,) = tmp_path.glob("speed-*.json")
    path.write_text(text)
    assert benchmark.here(tmp_path, 2) == Speed(1.0, 1.5, 2)
    assert measured == [2, 2]


def test_a_machine_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    program = tmp_path / "labour.py"
    monkeypatch.setattr(labour, "__file__", str(program))
    for source in ("print('no number')", "raise SystemExit(3)", ""):
        program.write_text(source)
        with pytest.raises(RunError, match="speed could not be measured"):
            benchmark.measure(1)


def test_the_program_asks_for_nothing_of_ours(tmp_path):
    """It is copied to machines where nothing of ours is."""
    source = Path(labour.__file__).read_text("utf-8")
    copy = tmp_path / "copied.py"
    copy.write_text(source.replace("ROUND_S = 0.8", "ROUND_S = 0.03"))
    ran = subprocess.run(
        [sys.executable, "-P", str(copy), "2"], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert float(ran.stdout) > 0
    assert "builder" not in source


@pytest.mark.slow
def test_processes_are_really_measured():
    found = benchmark.measure(2)
    assert 0.05 < found.single < 50
    assert found.every > 0.5 * found.single
