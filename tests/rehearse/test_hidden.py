"""The hidden set made at home: training rows in the form of the test files, with the labels kept where only the scorer looks."""

import json

import pytest

from builder import competition, config
from builder.errors import UserError
from builder.rehearse import hidden
from tests import competitions


@pytest.fixture
def made(tmp_path, animals):
    (tmp_path / "kernel.toml").write_text(competitions.config(animals))
    settings = config.load(tmp_path)
    fold_of = {f"a{i:03d}": i % 2 for i in range(60)}
    return settings, animals, fold_of, tmp_path / "hidden"


def table(path):
    return competition.read_table(path)


def test_it_looks_like_the_visible_files_and_tells_no_label(made):
    settings, root, fold_of, folder = made
    found = hidden.from_training(settings, root, fold_of, 20, folder)
    assert found.rows == 20
    for name in ("test.csv", "sample_submission.csv"):
        assert list(table(found.competition / name).columns) == list(table(root / name).columns)
        assert len(table(found.competition / name)) == 20
    assert set(table(found.competition / "sample_submission.csv")["label"]) == {"cat"}, "the same answer for all rows"
    assert not (found.competition / "solution.csv").exists()
    assert found.solution.parent == found.folds.parent == folder


def test_each_row_has_its_own_image_its_label_and_its_fold(made):
    settings, root, fold_of, folder = made
    found = hidden.from_training(settings, root, fold_of, 20, folder)
    truth = dict(zip(table(root / "train.csv")["image_id"], table(root / "train.csv")["label"], strict=True))
    solution = table(found.solution)
    assert list(solution["image_id"]) == list(table(found.competition / "test.csv")["image_id"])
    assert dict(zip(solution["image_id"], solution["label"], strict=True)).items() <= truth.items()
    assert set(solution["Usage"]) == {"Public"}
    for identity in solution["image_id"]:
        image = found.competition / "test_images" / f"{identity}.png"
        assert image.read_bytes() == (root / "train_images" / f"{identity}.png").read_bytes()
    assert json.loads(found.folds.read_text()) == {identity: fold_of[identity] for identity in solution["image_id"]}


def test_only_rows_that_can_be_answered_honestly_are_asked(made):
    settings, root, _, folder = made
    found = hidden.from_training(settings, root, {"a003": 1, "a007": 0, "stranger": 0}, 20, folder)
    assert list(table(found.solution)["image_id"]) == ["a003", "a007"]


def test_without_such_a_row_there_is_no_rehearsal(made):
    settings, root, _, folder = made
    with pytest.raises(UserError, match="honestly"):
        hidden.from_training(settings, root, {}, 20, folder)
    assert not folder.exists()


def test_same_rows_each_time_and_an_old_set_vanishes(made):
    settings, root, fold_of, folder = made
    first = table(hidden.from_training(settings, root, fold_of, 20, folder).solution)
    fewer = table(hidden.from_training(settings, root, fold_of, 10, folder).solution)
    assert len(list((folder / "competition" / "test_images").iterdir())) == 10
    assert set(fewer["image_id"]) <= set(first["image_id"])
    again = table(hidden.from_training(settings, root, fold_of, 20, folder).solution)
    assert again.equals(first)


def test_more_rows_than_there_are_is_all_of_them(made):
    settings, root, fold_of, folder = made
    assert hidden.from_training(settings, root, fold_of, 400, folder).rows == 60


def test_a_test_column_that_training_rows_lack_is_named(made):
    settings, root, fold_of, folder = made
    (root / "test.csv").write_text("image_id,camera\nt000,north\n")
    with pytest.raises(UserError, match="columns that the training table has not") as caught:
        hidden.from_training(settings, root, fold_of, 20, folder)
    assert caught.value.found == "camera"
    assert not folder.exists()


@pytest.mark.parametrize("form", ["columns", "probability"])
def test_the_sample_has_the_form_of_the_visible_one(tmp_path, form):
    root = competitions.write(tmp_path / "x", form=form, classes=("0", "1"))
    (tmp_path / "kernel.toml").write_text(competitions.config(root))
    found = hidden.from_training(config.load(tmp_path), root, {f"a{i:03d}": 0 for i in range(60)}, 5, tmp_path / "hidden")
    shown = table(root / "sample_submission.csv")
    assert list(table(found.competition / "sample_submission.csv").columns) == list(shown.columns)
