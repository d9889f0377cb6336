"""A competition's files in the layouts that occur: what is proposed, what is read, and what is refused with file and remedy."""

import shutil

import numpy as np
import pytest
from PIL import Image

from builder import competition, config
from builder.errors import UserError

from . import competitions

LAYOUTS = {
    "plain": ({}, ("train_images/{image_id}.png", "test_images/{image_id}.png"), "labels"),
    "jpg": ({"suffix": ".jpg"}, ("train_images/{image_id}.jpg", "test_images/{image_id}.jpg"), "labels"),
    "jpeg in capitals": ({"suffix": ".JPG"}, ("train_images/{image_id}.JPG", "test_images/{image_id}.JPG"), "labels"),
    "ids with extension": (
        {"ids_have_suffix": True, "suffix": ".jpg"},
        ("train_images/{image_id}", "test_images/{image_id}"),
        "labels",
    ),
    "nested folders": (
        {"train_folder": "images/train", "test_folder": "images/test"},
        ("images/train/{image_id}.png", "images/test/{image_id}.png"),
        "labels",
    ),
    "short names": (
        {"train_folder": "train", "test_folder": "test", "identity": "id", "target": "target"},
        ("train/{id}.png", "test/{id}.png"),
        "labels",
    ),
    "one folder for both": (
        {"train_folder": "images", "test_folder": "images"},
        ("images/{image_id}.png", "images/{image_id}.png"),
        "labels",
    ),
    "integer labels": (
        {"classes": tuple(str(i) for i in range(12))},
        ("train_images/{image_id}.png", "test_images/{image_id}.png"),
        "labels",
    ),
    "a column for each class": (
        {"form": "columns", "classes": ("ant", "bee", "cow")},
        ("train_images/{image_id}.png", "test_images/{image_id}.png"),
        "columns",
    ),
    "one probability": (
        {"form": "probability", "classes": ("0", "1")},
        ("train_images/{image_id}.png", "test_images/{image_id}.png"),
        "probability",
    ),
}  # fmt: skip


def a_config(folder, root, **changes):
    text = competitions.config(root)
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.toml").write_text(text)
    return config.load(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_proposed_as_it_is(tmp_path, layout):
    options, patterns, form = LAYOUTS[layout]
    root = competitions.write(tmp_path / "x", **options)
    found = competition.propose(root)
    assert (found.image, found.test_image) == patterns
    assert (found.id, found.target) == (options.get("identity", "image_id"), options.get("target", "label"))
    assert found.form == form
    assert (found.rows, found.classes) == (60, len(options.get("classes", ("cat", "dog"))))
    assert (found.width, found.height) == (32, 32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_proposed_is_what_can_be_read(tmp_path, layout):
    """The proposal put into kernel.toml finds every training image and all classes."""
    options, _, _ = LAYOUTS[layout]
    root = competitions.write(tmp_path / "x", **options)
    found = competition.propose(root)
    wanted = a_config(
        tmp_path / "kernel",
        root,
        image=("train_images/{image_id}.png", found.image),
        test=("test_images/{image_id}.png", found.test_image),
        identity=('"image_id"', f'"{found.id}"'),
        target=('"label"', f'"{found.target}"'),
    )
    rows = competition.train_rows(wanted, root)
    assert all(path.is_file() for path in rows.paths)
    assert len(set(rows.paths)) == len(rows.ids) == len(rows.y) == 60
    assert rows.classes == options.get("classes", ("cat", "dog"))
    assert rows.y.dtype == np.int64
    assert [rows.classes[code] for code in rows.y[: len(rows.classes)]] == list(rows.classes)
    assert sum(rows.prior) == pytest.approx(1)


def test_whole_numbers_are_ordered_as_numbers_and_names_as_names():
    import pandas as pd

    assert competition.class_order(pd.Series(["10", "9", "-1", "9"])) == ("-1", "9", "10")
    assert competition.class_order(pd.Series(["b", "10", "a"])) == ("10", "a", "b")


def test_ids_stay_as_they_are_written(tmp_path):
    competitions.table(tmp_path / "t.csv", ["id", "x"], [["007", ""], ["1e5", "NA"], ["", "é"]])
    table = competition.read_table(tmp_path / "t.csv")
    assert table["id"].tolist() == ["007", "1e5", ""]
    assert table["x"].tolist() == ["", "NA", "é"]


def rewrite(path, change):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def drop_image(root):
    (root / "train_images" / "a007.png").unlink()


def drop_folder(root):
    shutil.rmtree(root / "train_images")


def repeat_id(root):
    rewrite(root / "train.csv", lambda lines: [*lines, lines[3]])


def drop_target(root):
    rewrite(root / "train.csv", lambda lines: [line.split(",")[0] for line in lines])


def one_class(root):
    rewrite(root / "train.csv", lambda lines: [line.replace("dog", "cat") for line in lines])


def no_rows(root):
    rewrite(root / "train.csv", lambda lines: lines[:1])


def no_table(root):
    (root / "train.csv").unlink()


def not_a_table(root):
    (root / "train.csv").write_bytes(b'"\xff\xfe\x00,\n"')


def empty_table(root):
    (root / "train.csv").write_text("")


TRAINING_FAULTS = {
    drop_image: ("1 of 60 rows have no image", "a007", "data.image"),
    drop_folder: ("60 of 60 rows have no image", "a000", "data.image"),
    repeat_id: ("1 ids stand twice", "a002", "duplicates"),
    drop_target: ("data.target", "label", "image_id"),
    one_class: ("fewer than two classes", "cat", "data.target"),
    no_rows: ("no rows", "train.csv", "download"),
    no_table: ("missing file", "train.csv", "kkb fetch"),
    not_a_table: ("not a readable csv table", "train.csv", "kkb fetch"),
    empty_table: ("not a readable csv table", "train.csv", "kkb fetch"),
}


@pytest.mark.parametrize("fault", TRAINING_FAULTS, ids=lambda fault: fault.__name__)
def test_training_rows_that_are_not_right_are_refused(tmp_path, animals, fault):
    wanted = a_config(tmp_path / "kernel", animals)
    fault(animals)
    with pytest.raises(UserError) as caught:
        competition.train_rows(wanted, animals)
    for part in TRAINING_FAULTS[fault]:
        assert part in str(caught.value)
    assert caught.value.file == str(animals / "train.csv")
    assert caught.value.remedy


def test_a_pattern_with_a_column_that_is_not_there_names_it(tmp_path, animals):
    wanted = a_config(tmp_path / "kernel", animals, image=("train_images/{image_id}.png", "train_images/{imgid}.png"))
    with pytest.raises(UserError, match="pattern") as caught:
        competition.train_rows(wanted, animals)
    assert "imgid" in caught.value.found
    assert "image_id" in caught.value.expected


def corrupt_image(root):
    (root / "train_images" / "a000.png").write_bytes(b"not an image")


def empty_folder(root):
    shutil.rmtree(root)
    root.mkdir()


def no_folder(root):
    shutil.rmtree(root)


def no_sample(root):
    (root / "sample_submission.csv").unlink()


def no_test(root):
    (root / "test.csv").unlink()


def strange_id(root):
    rewrite(root / "sample_submission.csv", lambda lines: ["other,label", *lines[1:]])


def two_targets(root):
    rewrite(root / "train.csv", lambda lines: [f"{line},{'breed' if i == 0 else 'x'}" for i, line in enumerate(lines)])
    rewrite(root / "sample_submission.csv", lambda lines: [lines[0].replace("label", "answer"), *lines[1:]])


def unknown_form(root):
    rewrite(root / "sample_submission.csv", lambda lines: ["image_id,label,confidence", *(f"{line},0.5" for line in lines[1:])])


PROPOSAL_FAULTS = {
    drop_folder: ("no folder holds an image", "data.image"),
    corrupt_image: ("not a readable image", "a000.png"),
    empty_folder: ("no competition files here", "train.csv, test.csv, sample_submission.csv", "kkb fetch"),
    no_folder: ("no competition files here", "kkb fetch"),
    no_sample: ("missing file", "sample_submission.csv"),
    no_test: ("missing file", "test.csv"),
    no_table: ("missing file", "train.csv"),
    strange_id: ("'other'", "train.csv", "data.id"),
    two_targets: ("which column is the target", "label, breed", "data.target"),
    drop_target: ("which column is the target", "none", "data.target"),
    unknown_form: ("form that is not known", "label, confidence", "label"),
}


@pytest.mark.parametrize("fault", PROPOSAL_FAULTS, ids=lambda fault: fault.__name__)
def test_files_that_decide_nothing_are_said_to(animals, fault):
    fault(animals)
    with pytest.raises(UserError) as caught:
        competition.propose(animals)
    for part in PROPOSAL_FAULTS[fault]:
        assert part in str(caught.value)
    assert caught.value.file.startswith(str(animals))
    assert caught.value.remedy


def test_a_binary_target_in_words_may_be_answered_by_words(tmp_path):
    """One column whose values are the classes holds labels, whatever their number."""
    root = competitions.write(tmp_path / "x", classes=("no", "yes"))
    assert competition.propose(root).form == "labels"


def test_the_size_is_the_median_and_ignores_the_odd_one(animals):
    Image.new("RGB", (640, 480)).save(animals / "train_images" / "a000.png")
    found = competition.propose(animals)
    assert (found.width, found.height) == (32, 32)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a/../../b", "a\0b"])
def test_an_id_cannot_lead_out_of_the_competition(name):
    with pytest.raises(UserError, match="leaves the competition"):
        competition.image_name("{id}", {"id": name})


@pytest.mark.parametrize("pattern", ["{id.foo}", "{id[x]}", "{id!z}", "{"])
def test_a_pattern_that_is_no_pattern_is_the_users_fault(pattern):
    with pytest.raises(UserError, match="pattern"):
        competition.image_name(pattern, {"id": "a"})


def test_labels_that_only_look_like_numbers_are_names():
    import pandas as pd

    assert competition.class_order(pd.Series(["²", "--1", "10", "9"])) == ("--1", "10", "9", "²")
