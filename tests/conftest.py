"""What the tests of several rooms share: an empty workspace, and a tiny competition in it.

Nothing heavy is imported here: tests/runtime runs where only Kaggle's own packages are installed.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

# Files that take longest go first: nobody waits for a last one while the other cores have nothing left to do.
LONGEST = (
    "test_heads_road.py", "train/test_several.py", "export/test_families.py", "test_cells_road.py",
    "test_joint_road.py", "e2e/test_demo.py", "e2e/test_examples.py", "rehearse/test_faults.py",
    "e2e/test_own_competition.py", "e2e/test_adopted.py", "docs/test_tutorial.py", "export/test_recurrent.py",
    "runtime/test_real.py", "rehearse/test_engine.py", "test_mutations.py", "export/test_stage.py", "test_pipeline.py",
    "standin/test_server.py", "runtime/test_run.py", "runtime/test_faults.py", "remote/test_flow.py",
)  # fmt: skip

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: with threads of their own in each, most of the time is spent waiting for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if importlib.util.find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples on every machine, no time in any verdict, and no folder left behind.
    settings.register_profile("kkb", derandomize=True, deadline=None, database=None)
    settings.load_profile("kkb")


def pytest_collection_modifyitems(items):
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty workspace, which is also the current folder, with no credentials around."""
    from builder.workspace import Workspace

    root = tmp_path / "space"
    (root / "kernels").mkdir(parents=True)
    monkeypatch.chdir(root)
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "KKB_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return Workspace(root)


@pytest.fixture
def animals(tmp_path):
    """The files of a tiny competition: 60 training images of two classes, 3 visible test images."""
    from tests import competitions

    return competitions.write(tmp_path / "animals")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(workspace, config, version, rows of each fit): the tiny competition, really trained, once. Change only copies."""
    from builder import config as configs
    from builder.train import fit, stage
    from builder.workspace import Workspace, write_text
    from tests import competitions

    home = tmp_path_factory.mktemp("trained")
    workspace = Workspace(home / "space")
    root = competitions.write(home / "animals")
    write_text(workspace.kernels / "animals" / "kernel.toml", competitions.config(root))
    config = configs.load(workspace.kernels / "animals")
    seen, real = [], fit.fit

    def watched(module, images, codes, rows, *rest):
        seen.append(rows.copy())
        return real(module, images, codes, rows, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "fit", watched)
        version, fresh = stage.train(config, workspace, "animals")
    assert fresh
    return workspace, config, version, seen


@pytest.fixture
def copied(trained, tmp_path):
    """The same in a workspace of its own."""
    import shutil

    from builder.train import record
    from builder.workspace import Workspace

    workspace, config, version, _ = trained
    shutil.copytree(workspace.root, tmp_path / "space")
    mine = Workspace(tmp_path / "space")
    return mine, config, record.load(mine.weights("animals") / version.version)
