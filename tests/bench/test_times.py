"""The times that issues name, measured: run alone, on an idle machine (`make bench`)."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

KKB = Path(sys.executable).with_name("kkb")
EMPTY = """
import typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def a(): "x"
@app.command()
def b(): "y"
app()
"""
PAIRS = 9


def wall(command, **options):
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, **options)
    return time.perf_counter() - started


def test_help_costs_at_most_twice_an_empty_program(tmp_path):
    (tmp_path / "empty.py").write_text(EMPTY)
    ratios = []
    for _ in range(PAIRS):
        ours = wall([KKB, "--help"])
        ratios.append(ours / wall([sys.executable, tmp_path / "empty.py", "--help"]))
    print(f"kkb --help / empty program: median {statistics.median(ratios):.2f}")
    assert statistics.median(ratios) <= 2


def test_the_demo_takes_five_minutes_and_its_repetition_forty_seconds(tmp_path):
    (tmp_path / "kernels").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path)}
    times = []
    for _ in range(2):
        started = time.perf_counter()
        done = subprocess.run([KKB, "demo", "--json"], cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE)
        times.append(time.perf_counter() - started)
        shown = json.loads(done.stdout)
        print(f"demo: {times[-1]:.1f} s, score {shown['score']}, stages {shown['seconds']}")
        assert shown["score"] >= 0.97
    assert times[0] <= 300
    assert times[1] <= 40
