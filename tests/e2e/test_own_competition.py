"""Other data, with no code: a competition from two zips, `kkb new`, `kkb fetch`, `kkb ship`."""

from __future__ import annotations

import shutil

import pytest

from builder import competition
from tests import competitions

from .test_demo import KKB, Shell

pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def zipped(folder):
    return shutil.make_archive(str(folder), "zip", folder)


@pytest.fixture(params=["labels", "columns", "probability"])
def shell(request, tmp_path):
    """A shell whose stand-in has the competition `tiny-animals`, in each form of submission."""
    classes = {"labels": ("cat", "dog", "eel"), "columns": ("cat", "dog", "eel"), "probability": ("0", "1")}[request.param]
    made = Shell(tmp_path)
    competitions.write(tmp_path / "x", rows=120, classes=classes, form=request.param)
    competitions.write(tmp_path / "y", rows=90, visible=60, classes=classes, form=request.param)
    # Hidden: 60 test rows with their answers; in `write`, image i of either part shows class i modulo their number.
    ids = competition.read_table(tmp_path / "y" / "test.csv")["image_id"].tolist()
    shutil.rmtree(tmp_path / "y" / "train_images")
    (tmp_path / "y" / "train.csv").unlink()
    rows = [(one, classes[i % len(classes)], ("Public", "Private")[i // 30]) for i, one in enumerate(ids)]
    competitions.table(tmp_path / "y" / "solution.csv", ["image_id", "label", "Usage"], rows)
    made.kkb("standin", "up")
    made.kkb("standin", "add-competition", "tiny-animals", "--data", zipped(tmp_path / "x"), "--hidden", zipped(tmp_path / "y"),
             "--metric", "accuracy", "--limit", "20min", "--daily", "5")  # fmt: skip
    yield made
    made.run(*KKB, "standin", "down", check=False)


def test_a_competition_of_ones_own_is_shipped_without_code(shell):
    shell.run(*KKB, "new", "animals", "--competition", "tiny-animals", "--task", "image-classification", "--yes")
    fetched = shell.run(*KKB, "fetch", "animals", "--standin")
    assert "train_images/{image_id}.png" in fetched.stderr
    shipped = shell.kkb("ship", "animals", "--standin")
    assert shipped["label"] == "Scored"
    assert shipped["score"] >= 0.9
    assert shell.kkb("submit", "animals", "--standin")["fresh"] is False, "a submission is not burnt twice"
    assert shell.kkb("push", "animals", "--standin")["fresh"] is False
