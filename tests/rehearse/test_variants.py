"""Odd hidden sets: each is what it says, changes no more than it says, and counts what it changed."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from builder import competition, config, scoring
from builder.rehearse import draft, hidden, spoils, variants
from builder.rehearse.spoils import SPOILS
from builder.rehearse.variants import VARIANTS
from tests import competitions, competitions_cells
from tests.competitions_cells import TABLE, TEXT

FAST = {"odd", "no-rows", "no-column", "float-ids", "missing-image"}
NAMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]


@pytest.fixture
def world(tmp_path, animals, monkeypatch):
    """Settings, files and folds of a competition whose tables also have a category, a number and a text."""
    monkeypatch.setattr(spoils, "HUGE", 100)  # huge takes its time
    (tmp_path / "kernel.toml").write_text(competitions.config(animals))
    for name in ("train.csv", "test.csv"):
        table = competition.read_table(animals / name)
        count = len(table)
        table["camera"] = [("north", "south")[n % 2] for n in range(count)]
        table["age"] = [str(n) for n in range(count)]
        table["note"] = [f"a long remark about number {n}, which nobody will ever read" for n in range(count)]
        table.to_csv(animals / name, index=False)
    return config.load(tmp_path), animals, {f"a{i:03d}": i % 2 for i in range(60)}, tmp_path / "hidden"


def of_cells(tmp_path, task):
    """The same of a competition without images."""
    root = competitions_cells.write(tmp_path / "cells", task)
    (tmp_path / "kernel.toml").write_text(competitions_cells.config(root, task))
    return config.load(tmp_path), root, {str(7_000_000 + 13 * n): n % 2 for n in range(120)}, tmp_path / "hidden"


def drawn(world, name):
    settings, root, fold_of, _ = world
    return draft.draw(settings, root, fold_of, VARIANTS[name].rows)


def written(world, name):
    settings, root, _, folder = world
    changed = VARIANTS[name].change(drawn(world, name))
    return changed, hidden.write(changed, settings, root, folder, scored=False)


def tables(made):
    return [competition.read_table(made.competition / name) for name in ("test.csv", "sample_submission.csv")]


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_a_competition_whose_tables_agree(world, name):
    changed, made = written(world, name)
    test, sample = tables(made)
    solution, folds = competition.read_table(made.solution), json.loads(made.folds.read_text())
    assert made.rows == len(test) == VARIANTS[name].rows == len(changed.rows)
    assert set(test["image_id"]) == set(sample["image_id"]) == set(solution["image_id"]) == set(folds)
    assert len(set(test["image_id"])) == len(test)
    assert set(solution["Usage"]) <= {"Ignored"}, "a few odd rows have no score worth telling"
    missing = {row.cells["image_id"] for row in changed.rows if row.spoil == "missing"}
    for identity in test["image_id"]:
        assert (made.competition / "test_images" / f"{identity}.png").is_file() == (identity not in missing)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_changed_is_as_in_the_training_table(world, name):
    """Rows that may not fall back are exactly those that a notebook must be able to answer."""
    before, (changed, made) = drawn(world, name), written(world, name)
    assert set(made.changed) == {row.cells["image_id"] for row in changed.rows if row.changed}
    assert all(made.changed.values())
    known = {row.image: row for row in before.rows}
    for row in changed.rows:
        original = known[row.image]
        assert (row.truth, row.fold) == (original.truth, original.fold)
        if not row.changed:
            assert {**row.cells, "image_id": ""} == {**original.cells, "image_id": ""}
            shown = made.competition / "test_images" / f"{row.cells['image_id']}.png"
            assert shown.read_bytes() == row.image.read_bytes()


def test_each_oddity_is_a_set_and_three_sets_are_usual():
    assert {name for name, variant in VARIANTS.items() if variant.usual} == {"odd", "one-row", "no-rows"}
    assert {f"{kind}-image" for kind in SPOILS} < set(VARIANTS)
    assert [VARIANTS[name].rows for name in ("one-row", "no-rows")] == [1, 0]


def test_the_usual_set_holds_one_of_each_oddity(world):
    changed, _ = written(world, "odd")
    assert sorted(row.spoil for row in changed.rows if row.spoil) == sorted(SPOILS)
    words = " ".join(row.changed for row in changed.rows)
    assert all(part in words for part in ("an unseen category", "a very long text", "an empty cell"))
    assert any(not row.changed for row in changed.rows)


def test_cells_change_where_they_should(world):
    seen = set(competition.read_table(world[1] / "train.csv")["camera"])
    assert len({row.cells["camera"] for row in written(world, "one-category")[0].rows}) == 1
    unseen = [row for row in written(world, "new-category")[0].rows if row.changed]
    assert unseen
    assert not {row.cells["camera"] for row in unseen} & seen
    assert all(row.cells["age"].isdecimal() for row in unseen), "a number is no category"
    assert {row.cells["note"] for row in written(world, "empty-text")[0].rows if row.changed} == {""}
    longest = max(len(row.cells["note"]) for row in written(world, "long-text")[0].rows)
    assert longest == len(variants.LONG_TEXT)
    longest = max(len(row.cells["note"].encode()) for row in written(world, "long-word")[0].rows)
    assert longest == len(variants.LONG_WORD.encode()) > 999_000
    assert not any(mark.isalnum() for row in written(world, "emoji-text")[0].rows if row.changed for mark in row.cells["note"])
    assert {row.cells["age"] for row in written(world, "empty-cells")[0].rows if row.changed} == {"", "NaN"}
    words = [row.cells["age"] for row in written(world, "mixed-types")[0].rows if row.changed]
    assert tuple(words) == variants.NO_NUMBERS


def test_ids_of_other_kinds(world):
    zeros = [row.cells["image_id"] for row in written(world, "zero-ids")[0].rows]
    assert zeros[0] == "0000001"
    assert [row.cells["image_id"] for row in written(world, "integer-ids")[0].rows] == [str(n) for n in range(1, 9)]
    changed, made = written(world, "float-ids")
    assert [row.cells["image_id"] for row in changed.rows][:3] == ["1.0", "002", "3e5"]
    assert pd.read_csv(made.competition / "test.csv")["image_id"].dtype == float


def test_shuffled_rows_stand_in_another_order_than_the_sample(world):
    changed, made = written(world, "shuffled")
    test, sample = tables(made)
    assert [row.cells for row in changed.rows] != [row.cells for row in drawn(world, "shuffled").rows]
    assert list(test["image_id"]) != list(sample["image_id"])


def test_a_missing_column_is_never_the_id(world):
    changed, made = written(world, "no-column")
    test, _ = tables(made)
    assert list(test.columns) == ["image_id", "camera", "age"]
    assert all("'note'" in row.changed for row in changed.rows)
    assert made.gone == "note"


def test_where_there_is_nothing_to_change_there_is_no_set(tmp_path, animals):
    (tmp_path / "kernel.toml").write_text(competitions.config(animals))
    bare = draft.draw(config.load(tmp_path), animals, {"a001": 0, "a002": 1}, 8)
    cells = {"one-category", "new-category", "empty-cells", "mixed-types", "empty-text", "emoji-text", "long-text", "long-word"}
    for rows in (bare.rows, ()):
        nothing = {name for name, variant in VARIANTS.items() if variant.change(replace(bare, rows=rows)) is None}
        assert nothing == {*cells, "no-column"}


@pytest.mark.parametrize(
    ("kind", "mode", "form"),
    [
        ("gray", "L", "PNG"),
        ("16-bit", "I;16", "PNG"),
        ("cmyk", "CMYK", "JPEG"),
        ("rotated", "RGB", "JPEG"),
        ("huge", "L", "JPEG"),
    ],
)
def test_odd_images_are_what_they_are_called(animals, kind, mode, form, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(io.BytesIO(SPOILS[kind].make(animals / "train_images" / "a000.png"))) as image:
        assert (image.mode, image.format) == (mode, form)
        assert (image.getexif().get(0x0112) == 6) == (kind == "rotated")
        assert (image.width * image.height > 89_000_000) == (kind == "huge")


@pytest.mark.parametrize("kind", ["corrupt", "truncated", "empty"])
def test_broken_images_cannot_be_read(animals, kind):
    data = SPOILS[kind].make(animals / "train_images" / "a000.png")
    with pytest.raises((OSError, SyntaxError, ValueError)):
        Image.open(io.BytesIO(data)).load()


@pytest.mark.parametrize("task", [TABLE, pytest.param(TEXT, marks=pytest.mark.slow)])
def test_sets_without_images_are_tables_that_agree(tmp_path, task):
    """Every oddity of cells, and none of images: there is nothing to be odd about."""
    world = of_cells(tmp_path, task)
    identity, made_of = world[0].data.id, {}
    for name, variant in VARIANTS.items():
        changed = variant.change(drawn(world, name))
        if changed is None:
            continue
        made_of[name], made = changed, hidden.write(changed, world[0], world[1], world[3], scored=False)
        test, sample = tables(made)
        folds = json.loads(made.folds.read_text())
        guess = made.competition / "sample_submission.csv"
        assert scoring.score(guess, made.solution, guess, world[0].competition.metric) == scoring.Scores("", "")
        assert set(test[identity]) == set(sample[identity]) == set(competition.read_table(made.solution)[identity]) == set(folds)
        assert len(test) == len(set(test[identity])) == variant.rows
        assert not any(path.suffix == ".png" and path.name[0] != "." for path in made.competition.rglob("*"))
        assert not any(row.spoil or row.image for row in changed.rows)
    missing = {"one-category", "new-category", "mixed-types"} if task == TEXT else set()
    assert set(made_of) == set(VARIANTS) - {f"{kind}-image" for kind in SPOILS} - missing


def test_the_usual_set_of_a_table_holds_one_of_each_oddity(tmp_path):
    changed, _ = written(of_cells(tmp_path, TABLE), "odd")
    words = {row.changed for row in changed.rows}
    few = ("an unseen category", "an empty cell", "a word where a number belongs", "an empty text", "a text of emoji")
    assert words == {"", *few, "a very long text", "a very long word"}


def test_kernel_toml_says_what_is_text_and_the_cells_say_the_rest(tmp_path):
    world = of_cells(tmp_path / "text", TEXT)
    assert max(map(len, competition.read_table(world[1] / "train.csv")["document"])) < draft.WORDY + 20
    assert drawn(world, "odd").kinds["document"] == draft.TEXT
    kinds = drawn(of_cells(tmp_path / "table", TABLE), "no-rows").kinds
    assert [name for name, kind in kinds.items() if kind == draft.CATEGORY] == ["sex", "port", "cabin"]
    assert [name for name, kind in kinds.items() if kind == draft.TEXT] == ["remark"]
    assert kinds["boarded"] == draft.NUMBER, "an unseen date is no unseen category"


def test_nothing_odd_happens_to_a_group_and_the_column_that_goes_is_one_that_models_read(tmp_path):
    settings, root, fold_of, _ = world = of_cells(tmp_path, TEXT)
    for name in VARIANTS:
        changed = VARIANTS[name].change(drawn(world, name))
        films = {row.cells["movie_id"] for row in changed.rows} if changed else set()
        assert films <= set(competition.read_table(root / "train.csv")["movie_id"])
    assert VARIANTS["no-column"].change(drawn(world, "no-column")).gone == "document"
    table = of_cells(tmp_path / "table", TABLE)
    only = table[0].model_copy(update={"data": table[0].data.model_copy(update={"columns": ("age", "sex")})})
    assert VARIANTS["no-column"].change(draft.draw(only, *table[1:3], 8)).gone == "age"
    assert draft.draw(settings, root, fold_of, 8).wanted == ("document",)
