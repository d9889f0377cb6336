"""What the tests of several rooms share: an empty workspace, and a tiny competition in it.

Nothing heavy is imported here: tests/runtime runs where only Kaggle's own packages are installed.
"""

from __future__ import annotations

import pytest


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
