"""The forecast for ten times the rows against the run with ten times the rows: in the interval in at least 17 of 20 trials.

Real notebooks in real processes, on this machine with all its noise; three kernels, whose rows cost from 1 to 30 ms.
"""

from __future__ import annotations

import random

import pytest

from builder import config as configs
from builder import machines, pipeline
from builder.plan.stage import load
from builder.rehearse import forecast, hidden, playing
from builder.workspace import Workspace, write_text
from tests import competitions, records

pytestmark = pytest.mark.bench

TRIALS, ENOUGH, TIMES = 20, 17, 10
ROWS = (10, 20, 40, 80, 160)
OWNER = "me"


def linear(home, side, models):
    """Linear classifiers: what rows cost is reading images of `side` pixels."""
    return records.finished(Workspace(home / "space"), competitions.write(home / "animals", side=side), models=models)


def trained(home, size):
    """A small residual network at `size` pixels."""
    root = competitions.write(home / "animals", side=64)
    text = competitions.config(root).replace("size = 32", f"size = {size}")
    write_text(home / "space" / "kernels" / "animals" / "kernel.toml", text)
    kernel = pipeline.Kernel(Workspace(home / "space"), "animals")
    pipeline.train(kernel)
    pipeline.export(kernel)
    return kernel


KERNELS = {
    "linear-32": lambda home: linear(home, 32, ("resnet", "effnet")),
    "linear-512": lambda home: linear(home, 512, ("a", "b", "c")),
    "residual-160": lambda home: trained(home, 160),
}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """(stage, root, honest folds) of each kernel."""
    return [staged(make(tmp_path_factory.mktemp(name))) for name, make in KERNELS.items()]


def staged(kernel):
    pipeline.plan(kernel)
    pipeline.bundle(kernel, OWNER)
    pipeline.render(kernel, OWNER)
    assert isinstance(kernel.config, configs.Config)
    plan, machine = load(kernel.folder), machines.load("cpu")
    datasets = {
        playing.mount(machine, f"{one.carrier}s", OWNER, one.name): pipeline.folder_of(kernel, one.slug)
        for one in pipeline.datasets(kernel)
    }
    folder, notebook = kernel.workspace.runs(kernel.name) / "rehearsal", kernel.folder / "notebook.ipynb"
    stage = playing.Stage(kernel.name, kernel.config, notebook, datasets, machine, folder, plan, kernel.workspace.cache)
    return stage, kernel.root, pipeline.fold_of(kernel, plan)


def seen(stage, name, files):
    played = playing.play(stage, name, "a trial", files, 1200.0)
    assert played.run.ok, played.run.why
    return played.run.seconds, forecast.seen(played.record, played.run.seconds)


def test_ten_times_the_rows_take_as_long_as_was_foretold(stages):
    choose, inside = random.Random(7), 0
    for trial in range(TRIALS):
        stage, root, fold_of = stages[trial % len(stages)]
        rows = choose.choice(ROWS)
        sets = {
            count: hidden.from_training(stage.config, root, fold_of, count, stage.folder / f"hidden-{count}")
            for count in (rows, TIMES * rows)
        }
        _, commit = seen(stage, "commit", root)
        _, rerun = seen(stage, "rerun", sets[rows])
        real, _ = seen(stage, "far", sets[TIMES * rows])
        found = forecast.here(commit, rerun, TIMES * rows)
        inside += found.low <= real <= found.high
        print(f"{TIMES * rows} rows: {found.low:.1f} to {found.high:.1f} s foretold, {real:.1f} s; {inside} of {trial + 1}")
    assert inside >= ENOUGH
