"""The runtime as it travels: a wheel, built here and put on sys.path as it is. Nothing here imports builder.runtime."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from builder.bundle import runtime_wheel

_FOLDER = Path(tempfile.mkdtemp(prefix="kkb-wheel-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
WHEEL = runtime_wheel.build(_FOLDER)
sys.path.insert(0, str(WHEEL))


@pytest.fixture(scope="session")
def wheel():
    return WHEEL


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """The root of a fake /kaggle; the runtime finds it through KKB_KAGGLE."""
    root = tmp_path / "kaggle"
    (root / "input").mkdir(parents=True)
    monkeypatch.setenv("KKB_KAGGLE", str(root))
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    return root


@pytest.fixture
def rerun(monkeypatch):
    """This is the hidden rerun: it goes on whatever happens."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
