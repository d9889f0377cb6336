"""What a rehearsal costs beside the run itself, and how fast it steps in: run alone, on an idle machine (`make bench`)."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import pytest

from builder import machines
from builder.rehearse import engine, foreign
from builder.rehearse.foreign import Foreign
from builder.rehearse.session import Session
from tests.rehearse import pets
from tests.rehearse.conftest import write_notebook

pytestmark = pytest.mark.bench

PLAIN = """
import sys, nbformat
from nbclient import NotebookClient
NotebookClient(nbformat.read(sys.argv[1], as_version=4), resources={"metadata": {"path": sys.argv[2]}}).execute()
"""
ROUNDS = 5
WORK = "import time\ntime.sleep(1)\nopen('submission.csv', 'w').write('id,kind,score\\n')"
# Jupyter and an empty kernel take 70 MB and more: with 230 MB on top, 300 MB are passed.
GROW = """
import time
held = []
while True:
    held.append(b"x" * 10_000_000)
    if len(held) == 23:
        print("on top", flush=True)
    time.sleep(0.01)
"""


def test_a_rehearsal_costs_at_most_five_seconds_more_than_its_runs(tmp_path):
    notebook, overhead = write_notebook(tmp_path / "mine.ipynb", WORK), []
    competition = pets.competition(tmp_path / "pets")
    job = Foreign(notebook, {"pets": competition}, {}, machines.load("cpu"), 120)
    for number in range(ROUNDS):
        plain, scratch = tmp_path / f"plain{number}", tmp_path / f"scratch{number}"
        plain.mkdir()
        scratch.mkdir()
        started = time.perf_counter()
        for _ in range(2):  # a rehearsal plays the commit run and the rerun
            subprocess.run([sys.executable, "-c", PLAIN, notebook, plain], check=True)
        between = time.perf_counter()
        verdict = foreign.rehearse(job, scratch)
        overhead.append(time.perf_counter() - between - (between - started))
        assert verdict.label == "Submission Format Error"
        assert sorted(verdict.runs) == ["commit", "rerun"]
    print(f"rehearsal beside its two runs: median {statistics.median(overhead):+.2f} s, worst {max(overhead):+.2f} s")
    assert statistics.median(overhead) <= 5


def test_an_overshoot_is_stopped_within_a_second(tmp_path):
    took = []
    for number in range(ROUNDS):
        session = Session(
            write_notebook(tmp_path / "grows.ipynb", GROW), tmp_path / f"run{number}", {}, 120, 2, 300_000_000, 10**9
        )
        outcome = engine.run(session)
        took.append(outcome.seconds - json.loads((session.folder / "log.json").read_text())[0]["time"])
        assert outcome.exceeded == "memory"
    print(f"from the overshoot to the end of the run: worst {max(took):.2f} s")
    assert max(took) <= 1
