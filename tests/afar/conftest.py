"""A rendered kernel of the tiny competition, and that competition as a session mounts it."""

import shutil

import pytest

from builder import pipeline
from builder.plan.stage import load
from builder.standin import control
from builder.workspace import Workspace
from tests import competitions, records

OWNER, DATA = "local", ".kkb/data/tiny-animals"


def host(home, data, folder):
    """Start a stand-in that has the tiny competition. The hidden set of its host, made in `folder`, plays no part here."""
    hidden = competitions.write(folder, visible=6)
    (hidden / "train.csv").unlink()
    ids = [row.split(",")[0] for row in (hidden / "test.csv").read_text().splitlines()[1:]]
    competitions.table(hidden / "solution.csv", ["image_id", "label", "Usage"], [(name, "cat", "Public") for name in ids])
    control.configure(home, processing_s=0.2)
    control.add_competition(home, "tiny-animals", data=data, hidden=hidden, metric="accuracy", limit_s=600, kind="any")
    control.up(home)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A workspace whose kernel is planned, bundled and rendered, its data inside; the models are real, made without training."""
    root = tmp_path_factory.mktemp("prepared") / "space"
    competitions.write(root / DATA)
    made = records.finished(Workspace(root), root / DATA)
    path = made.folder / "kernel.toml"
    path.write_text(path.read_text().replace(str(root / DATA), DATA))
    made = pipeline.Kernel(made.workspace, made.name)
    pipeline.plan(made)
    pipeline.bundle(made, OWNER)
    pipeline.render(made, OWNER)
    return root


@pytest.fixture
def kernel(workspace, prepared):
    """The kernel in a workspace of the test's own."""
    shutil.copytree(prepared, workspace.root, dirs_exist_ok=True)
    return pipeline.Kernel(workspace, "animals")


@pytest.fixture
def plan(kernel):
    return load(kernel.folder)


@pytest.fixture
def mounted(tmp_path, kernel):
    """Mounts the competition (and a dataset beside it) below a folder like /kaggle; returns that folder."""

    def mount(layout="typed"):
        real = tmp_path / f"kaggle-{layout}"
        competition, dataset = {"typed": ("competitions/", "datasets/me/"), "classic": ("", "")}[layout]
        shutil.copytree(kernel.root, real / "input" / f"{competition}tiny-animals")
        (real / "input" / f"{dataset}weights").mkdir(parents=True)
        (real / "input" / f"{dataset}weights" / "m.onnx").write_bytes(b"model")
        (real / "working").mkdir()
        return real

    return mount
