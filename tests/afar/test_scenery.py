"""The cell in front: the hidden set that it builds where it runs is the very one that home made, and scores by."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from builder import config as configs
from builder.afar import parcel, scenery
from builder.competition import read_table, train_rows
from builder.pipeline import Kernel
from builder.rehearse import draft, hidden
from builder.runtime import answers, clock, mounts, supervisor
from builder.runtime.contract import Answer
from builder.workspace import Workspace, write_text
from tests import competitions, competitions_cells

SHARED = {"train_folder": "images", "test_folder": "images"}


def folds(root, every=2):
    return {name: at % every for at, name in enumerate(read_table(root / "train.csv")["image_id"])}


def at_home(kernel, plan, rows, folder, fold_of):
    """(what travels, the hidden set as home makes it)."""
    drawn = draft.draw(kernel.config, kernel.root, fold_of, rows)
    return parcel.scene(kernel, plan, drawn), hidden.write(drawn, kernel.config, kernel.root, folder, answer=plan.answer)


def same_set(fake, place, made, kernel):
    """Whether a built folder holds what home's does: tables to the byte, images by content."""
    built = fake / "input" / place
    for name in (kernel.config.data.test, kernel.config.data.sample_submission):
        assert (built / name).read_bytes() == (made.competition / name).read_bytes(), name
    pattern, ids = kernel.config.data.test_image, (built / "test.csv").read_text().splitlines()[1:]
    for name in ids:
        path = pattern.format(image_id=name)
        assert (built / path).read_bytes() == (made.competition / path).read_bytes(), path
    told = json.loads((fake / "rehearsal" / "folds.json").read_text())
    assert told == json.loads(made.folds.read_text())
    assert list(told) == ids


@pytest.mark.parametrize("rows", [1, 20, 60, 150])
def test_the_hidden_set_is_the_one_of_home(kernel, plan, mounted, tmp_path, rows):
    """With 150 of 60 rows, most come again under other ids."""
    real, fold_of = mounted(), folds(kernel.root)
    scene, made = at_home(kernel, plan, rows, tmp_path / "home", fold_of)
    scenery.build(scene, real, tmp_path / "fake", rows=True)
    same_set(tmp_path / "fake", "competitions/tiny-animals", made, kernel)


@pytest.mark.parametrize(
    "how",
    [
        {"form": "columns"},
        {"form": "probability", "classes": ("0", "1")},
        {"ids_have_suffix": True},
        {**SHARED},
        {"train_folder": "data/train", "test_folder": "data/test"},
    ],
    ids=["columns", "probability", "ids with a suffix", "one folder for all images", "folders in folders"],
)
def test_competitions_of_other_shapes(tmp_path, monkeypatch, how):
    root = competitions.write(tmp_path / "real" / "input" / "tiny-animals", **how)
    train, test = how.get("train_folder", "train_images"), how.get("test_folder", "test_images")
    name = "{{image_id}}" if how.get("ids_have_suffix") else "{{image_id}}.png"
    text = competitions.CONFIG.replace("test_images/{{image_id}}.png", f"{test}/{name}")
    text = text.replace("train_images/{{image_id}}.png", f"{train}/{name}").format(root=root, folds=2, epochs=1)
    workspace = Workspace(tmp_path / "space")
    write_text(workspace.kernels / "animals" / "kernel.toml", text)
    monkeypatch.chdir(workspace.root)
    kernel = Kernel(workspace, "animals")
    kernel.config = configs.load(workspace.kernels / "animals")
    classes, form = how.get("classes", ("cat", "dog")), how.get("form", "labels")
    answer = Answer("submission.csv", "image_id", form, classes if form == "columns" else ("label",), classes)
    scene, made = at_home(kernel, SimpleNamespace(answer=answer), 90, tmp_path / "home", folds(root))
    scenery.build(scene, tmp_path / "real", tmp_path / "fake", rows=True)
    same_set(tmp_path / "fake", "tiny-animals", made, kernel)
    image = next(path for path in sorted((root / train).iterdir()) if path.name.startswith("a"))
    assert (tmp_path / "fake" / "input" / "tiny-animals" / image.relative_to(root)).is_file(), "notebooks read those, too"


LONG = Answer("submission.csv", "review_id", "long", ("value",), ("0", "1"), "id_class", "{id}_{class}")
CELLS = {
    "text": (competitions_cells.TEXT, Answer("submission.csv", "review_id", "probability", ("label",), ("0", "1"))),
    "table": (competitions_cells.TABLE, Answer("submission.csv", "passenger", "labels", ("survived",), ("0", "1"))),
    "long": (competitions_cells.TEXT, LONG),
    "parquet": (competitions_cells.TEXT, Answer("submission.parquet", "review_id", "probability", ("label",), ("0", "1"))),
}


@pytest.mark.parametrize("kind", CELLS)
def test_competitions_without_images(tmp_path, monkeypatch, kind):
    task, answer = CELLS[kind]
    root = competitions_cells.write(tmp_path / "real" / "input" / "competitions" / "tiny-cells", task)
    sample, text = root / "sample_submission.csv", competitions_cells.config(root, task)
    if kind == "long":
        sample.write_text("id_class,value\n7000780_0,0.5\n")
    if kind == "parquet":
        pd.read_csv(sample).to_parquet(root / "sample.parquet", index=False)
        sample, text = root / "sample.parquet", text.replace("[data]", '[data]\nsample_submission = "sample.parquet"')
    workspace = Workspace(tmp_path / "space")
    write_text(workspace.kernels / "cells" / "kernel.toml", text)
    monkeypatch.chdir(workspace.root)
    kernel = Kernel(workspace, "cells")
    kernel.config = configs.load(workspace.kernels / "cells")
    fold_of = dict.fromkeys(read_table(root / "train.csv")[answer.id], 1)
    scene, made = at_home(kernel, SimpleNamespace(answer=answer), 200, tmp_path / "home", fold_of)
    scenery.build(scene, tmp_path / "real", tmp_path / "fake", rows=True)
    built = tmp_path / "fake" / "input" / "competitions" / "tiny-cells"
    for name in ("test.csv", sample.name):
        assert (built / name).read_bytes() == (made.competition / name).read_bytes(), name
    assert json.loads((tmp_path / "fake" / "rehearsal" / "folds.json").read_text()) == json.loads(made.folds.read_text())


@pytest.mark.parametrize("kind", ["columns", "heads"])
def test_several_targets_are_cut_out_of_the_same_table_and_none_travels(tmp_path, monkeypatch, kind):
    root = competitions_cells.write_several(tmp_path / "real" / "input" / "competitions" / "tiny-several", kind)
    write_text(tmp_path / "space" / "kernels" / "cells" / "kernel.toml", competitions_cells.several_config(root, kind))
    monkeypatch.chdir(tmp_path / "space")
    kernel = Kernel(Workspace(tmp_path / "space"), "cells")
    rows = train_rows(kernel.config, root)
    answer = Answer("submission.csv", "row_id", kind, kernel.config.data.targets, rows.classes, heads=rows.heads)
    fold_of = dict.fromkeys(rows.ids, 1)
    scene, made = at_home(kernel, SimpleNamespace(answer=answer), 200, tmp_path / "home", fold_of)
    scenery.build(scene, tmp_path / "real", tmp_path / "fake", rows=True)
    built = tmp_path / "fake" / "input" / "competitions" / "tiny-several"
    for name in ("test.csv", "sample_submission.csv"):
        assert (built / name).read_bytes() == (made.competition / name).read_bytes(), name
    solution = read_table(made.solution)
    assert {name: set(solution[name]) for name in answer.columns} == {
        name: set(read_table(root / "train.csv")[name]) for name in answer.columns
    }
    table = read_table(root / "train.csv")
    for name in answer.columns:
        table[name] = table[name].to_numpy()[::-1]
    table.to_csv(root / "train.csv", index=False)
    other, _ = at_home(kernel, SimpleNamespace(answer=answer), 200, tmp_path / "other", fold_of)
    assert unpacked_places(other) == unpacked_places(scene), "the rows that are drawn tell nothing of what they hold"


def unpacked_places(scene):
    return {**scene, "rows": scenery.unpacked(scene["rows"])}


@pytest.mark.parametrize("layout", ["typed", "classic"])
def test_everything_else_is_as_it_is_mounted(kernel, plan, mounted, tmp_path, layout):
    real = mounted(layout)
    scene, _ = at_home(kernel, plan, 20, tmp_path / "home", folds(kernel.root))
    before = {path: path.stat().st_mtime_ns for path in real.rglob("*")}
    scenery.build(scene, real, tmp_path / "fake", rows=True)
    scenery.build(scene, real, tmp_path / "none", rows=False)
    assert {path: path.stat().st_mtime_ns for path in real.rglob("*")} == before
    weights = {"typed": "datasets/me/weights", "classic": "weights"}[layout]
    place = {"typed": "competitions/tiny-animals", "classic": "tiny-animals"}[layout]
    for fake in (tmp_path / "fake", tmp_path / "none"):
        assert (fake / "input" / weights / "m.onnx").read_bytes() == b"model"
        assert (fake / "input" / place / "train.csv").read_bytes() == (kernel.root / "train.csv").read_bytes()
        assert len(list((fake / "input" / place / "train_images").iterdir())) == 60
    assert len(list((tmp_path / "fake" / "input" / place / "test_images").iterdir())) == 20
    header = (tmp_path / "none" / "input" / place / "test.csv").read_text()
    assert header == (kernel.root / "test.csv").read_text().splitlines(keepends=True)[0]


def test_what_does_not_fit_is_refused_in_words(kernel, plan, mounted, tmp_path):
    real = mounted()
    scene, _ = at_home(kernel, plan, 20, tmp_path / "home", folds(kernel.root))
    table = real / "input" / "competitions" / "tiny-animals" / "train.csv"
    table.write_text(table.read_text().replace("a000", "b000"))
    with pytest.raises(RuntimeError, match="is not the one at home"):
        scenery.build(scene, real, tmp_path / "fake", rows=True)
    with pytest.raises(RuntimeError, match="other-slug is not mounted"):
        scenery.build(scene | {"competition": "other-slug"}, real, tmp_path / "more", rows=True)


def test_no_label_travels(kernel, plan, tmp_path):
    """Other labels at home: what is sent says the same."""
    before = at_home(kernel, plan, 150, tmp_path / "one", folds(kernel.root))[0]
    table = kernel.root / "train.csv"
    table.write_text(table.read_text().replace("cat", "x").replace("dog", "cat").replace("x", "dog"))
    assert at_home(kernel, plan, 150, tmp_path / "two", folds(kernel.root))[0] == before


def test_the_cells_around_a_notebook(kernel, plan, mounted, tmp_path, monkeypatch):
    """In front the world changes, behind it all is told; what was written lies where no submission is looked for."""
    real = mounted()
    scene, _ = at_home(kernel, plan, 20, tmp_path / "home", folds(kernel.root))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "environ", {**os.environ, "KKB_KAGGLE": str(real), "KKB_SESSION_START": "1000.0"})
    monkeypatch.chdir(tmp_path)
    told = scenery.enter_scene(scene | {"environment": {"EXTRA": "1"}, "digest": "d"})
    assert os.environ["KAGGLE_IS_COMPETITION_RERUN"] == os.environ["EXTRA"] == "1"
    assert supervisor.is_rerun()
    assert 1000.0 + told["built_s"] == pytest.approx(float(os.environ["KKB_SESSION_START"]), abs=0.01)
    assert len((mounts.competition("tiny-animals", ["test.csv"]) / "test.csv").read_text().splitlines()) == 21
    Path("submission.csv").write_text("id\n")
    seen = []

    def probe():
        seen.append((supervisor.is_rerun(), (mounts.competition("tiny-animals", ["test.csv"]) / "test.csv").read_text()))
        (mounts.working() / "submission.csv").write_text("id\n")
        raise ValueError("differs")

    scenery.leave_scene(told, "submission.csv", probe)
    assert seen == [(False, "image_id\n")]
    found = json.loads((real / "working" / "rehearsal.json").read_text())
    assert (found["status"], found["digest"], found["bytes"]) == ("complete", "d", 3)
    assert found["commit"]["error"] == "ValueError: differs"
    names = sorted(path.relative_to(real / "working").as_posix() for path in (real / "working").rglob("*") if path.is_file())
    assert names == ["commit/working/answers.csv", "rehearsal.json", "rerun/working/answers.csv"]


def test_it_speaks_the_words_of_the_runtime():
    """It travels without it, so it says them again."""
    assert (scenery.ROOT, scenery.STARTED, scenery.RERUN) == (mounts.ROOT, clock.STARTED, supervisor.RERUN)
    for key in ("{id}_{class}", "{class}{id}", "{id}", "{x}_{id}"):
        assert scenery.row_key(key, "7{class}", "a") == answers.row_key(key, "7{class}", "a")


def test_rows_pack_small():
    value = {"at": [1] * 100_000, "folds": [at % 5 for at in range(100_000)], "ids": {}}
    lines = parcel.packed(value)
    assert sum(map(len, lines)) < 100_000
    assert scenery.unpacked(lines)["at"] == list(range(1, 100_001))
