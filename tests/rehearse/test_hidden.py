"""The hidden set made at home: training rows in the form of the test files, with the labels kept where only the scorer looks."""

import json
import shutil

import pandas as pd
import pytest

from builder import competition, config, scoring
from builder.errors import UserError
from builder.rehearse import draft, hidden
from builder.runtime.contract import Answer
from tests import competitions, competitions_cells
from tests.competitions_cells import TEXT


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
    asked = list(table(found.solution)["image_id"])
    assert asked[:2] == ["a003", "a007"]
    assert {name.partition("-")[0] for name in asked} <= set(table(root / "train.csv")["image_id"])
    assert set(json.loads(found.folds.read_text()).values()) == {0, 1}


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


def test_more_rows_than_there_are_are_drawn_again_under_new_ids(made):
    settings, root, fold_of, folder = made
    found = hidden.from_training(settings, root, fold_of, 150, folder)
    asked = list(table(found.competition / "test.csv")["image_id"])
    assert found.rows == len(asked) == len(set(asked)) == 150
    assert set(fold_of) < set(asked)
    folds, truth = json.loads(found.folds.read_text()), dict(table(root / "train.csv").to_numpy().tolist())
    solution = dict(table(found.solution)[["image_id", "label"]].to_numpy().tolist())
    content = {(root / "train_images" / f"{name}.png").read_bytes(): name for name in fold_of}
    for name in asked:
        original = content[(found.competition / "test_images" / f"{name}.png").read_bytes()]
        assert (folds[name], solution[name]) == (fold_of[original], truth[original])


@pytest.mark.parametrize(
    ("known", "new"),
    [
        (["7", "12"], ["13", "14", "15"]),
        (["007", "012"], ["013", "014", "015"]),
        (["a", "b-2"], ["a-2", "b-2-2", "a-3"]),
        (["x.png"], ["x-2.png", "x-3.png", "x-4.png"]),
    ],
)
def test_new_ids_are_in_the_style_of_the_old_ones(known, new):
    assert list(draft.fresh(known, 3)) == new


def test_the_rerun_finds_what_lies_beside_the_tables_but_no_solution(made):
    settings, root, fold_of, folder = made
    (root / "classes.json").write_text("[]")
    (root / "solution.csv").write_text("not for notebooks")
    found = hidden.from_training(settings, root, fold_of, 5, folder)
    names = {path.name for path in found.competition.iterdir() if path.is_file()}
    assert names == {"train.csv", "test.csv", "sample_submission.csv", "classes.json"}


def test_a_given_set_is_shown_without_its_solution(made, tmp_path):
    settings, root, fold_of, folder = made
    kept = hidden.from_training(settings, root, fold_of, 12, tmp_path / "kept")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "kept").rglob("*"))
    again = hidden.given(settings, tmp_path / "kept", folder)
    assert again.rows == 12
    assert table(again.solution).equals(table(kept.solution))
    assert json.loads(again.folds.read_text()) == json.loads(kept.folds.read_text())
    flat = tmp_path / "flat"
    shutil.copytree(kept.competition, flat)
    shutil.copyfile(kept.solution, flat / "solution.csv")
    shown = hidden.given(settings, flat, folder)
    assert not (shown.competition / "solution.csv").exists()
    assert shown.solution.is_file()
    assert shown.folds is None
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "kept").rglob("*")) == before


@pytest.mark.parametrize("missing", ["test.csv", "sample_submission.csv"])
def test_a_folder_that_is_no_hidden_set_is_refused(made, tmp_path, missing):
    settings, root, fold_of, folder = made
    kept = hidden.from_training(settings, root, fold_of, 3, tmp_path / "kept")
    (kept.competition / missing).unlink()
    with pytest.raises(UserError, match="not a hidden set") as caught:
        hidden.given(settings, kept.competition, folder)
    assert caught.value.found == f"no {missing}"
    assert "solution.csv" in caught.value.remedy


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


@pytest.fixture
def reviews(tmp_path):
    root = competitions_cells.write(tmp_path / "reviews", TEXT, rows=60, classes=("no", "yes"))
    (tmp_path / "kernel.toml").write_text(competitions_cells.config(root, TEXT))
    train = competition.read_table(root / "train.csv")
    fold_of = {name: int(film) % 2 for name, film in zip(train["review_id"], train["movie_id"], strict=True)}
    return config.load(tmp_path), root, fold_of, tmp_path / "hidden"


def test_rows_without_images_have_cells_only(reviews):
    settings, root, fold_of, folder = reviews
    found = hidden.from_training(settings, root, fold_of, 20, folder)
    assert {path.name for path in found.competition.iterdir()} == {"train.csv", "test.csv", "sample_submission.csv"}
    known = competition.read_table(root / "train.csv").set_index("review_id")
    for row in table(found.competition / "test.csv").to_dict("records"):
        assert {**row, "label": known["label"][row["review_id"]]} == {
            "review_id": row["review_id"],
            **known.loc[row["review_id"]],
        }


def test_rows_that_are_drawn_again_stay_in_their_group_and_its_fold(reviews):
    settings, root, fold_of, folder = reviews
    found = hidden.from_training(settings, root, fold_of, 200, folder)
    test, folds = table(found.competition / "test.csv"), json.loads(found.folds.read_text())
    assert len(set(test["review_id"])) == 200
    assert all(folds[name] == int(film) % 2 for name, film in zip(test["review_id"], test["movie_id"], strict=True))
    known = competition.read_table(root / "train.csv")
    pairs = set(zip(known["movie_id"], known["document"], strict=True))
    assert set(zip(test["movie_id"], test["document"], strict=True)) == pairs


ANSWERS = {
    "probability": (("label",), "", lambda row: {"label": int(row == "yes")}),
    "columns": (("p_yes", "p_no"), "", lambda row: {"p_yes": int(row == "yes"), "p_no": int(row == "no")}),
    "labels": (("label",), "", lambda row: {"label": row}),
}


@pytest.mark.parametrize("form", ANSWERS)
def test_the_right_answer_in_the_form_of_the_plan_has_the_best_score(reviews, form):
    settings, root, fold_of, folder = reviews
    columns, _, right = ANSWERS[form]
    sample = table(root / "sample_submission.csv")
    for column in columns:
        sample[column] = "no" if form == "labels" else "0.5"
    sample[["review_id", *columns]].to_csv(root / "sample_submission.csv", index=False)
    answer = Answer("submission.csv", "review_id", form, columns, ("no", "yes"))
    found = hidden.from_training(settings, root, fold_of, 20, folder, answer=answer)
    truth = dict(zip(*(table(root / "train.csv")[name] for name in ("review_id", "label")), strict=True))
    best = table(found.competition / "sample_submission.csv")
    for column in columns:
        best[column] = [right(truth[name])[column] for name in best["review_id"]]
    best.to_csv(folder / "best.csv", index=False)
    sampled = found.competition / "sample_submission.csv"
    metric = "accuracy" if form == "labels" else "auc"
    assert scoring.score(folder / "best.csv", found.solution, sampled, metric).public == "1.00000"
    assert float(scoring.score(sampled, found.solution, sampled, metric).public) <= 0.75


def test_every_id_of_a_long_form_has_the_cells_of_the_first_one(reviews):
    settings, root, fold_of, folder = reviews
    (root / "sample_submission.csv").write_text("id_class,value\n7000780_no,0.25\n7000780_yes,0.75\n7000781_no,0.1\n")
    answer = Answer("submission.csv", "review_id", "long", ("value",), ("no", "yes"), "id_class", "{id}_{class}")
    found = hidden.from_training(settings, root, fold_of, 20, folder, answer=answer)
    assert list(table(found.competition / "sample_submission.csv")["value"]) == ["0.25", "0.75"] * 20


def test_the_long_form_has_a_row_for_each_id_and_class(reviews):
    settings, root, fold_of, folder = reviews
    (root / "sample_submission.csv").write_text("id_class,value\n7000780_no,0.5\n")
    answer = Answer("submission.csv", "review_id", "long", ("value",), ("no", "yes"), "id_class", "{id}_{class}")
    found = hidden.from_training(settings, root, fold_of, 20, folder, answer=answer)
    sample, solution = table(found.competition / "sample_submission.csv"), table(found.solution)
    assert list(sample["id_class"]) == list(solution["id_class"])
    ids = table(found.competition / "test.csv")["review_id"]
    assert list(sample["id_class"]) == [f"{name}_{label}" for name in ids for label in ("no", "yes")]
    assert set(sample["value"]) == {"0.5"}
    best = sample.assign(value=solution["label"])
    best.to_csv(folder / "best.csv", index=False)
    sampled = found.competition / "sample_submission.csv"
    assert scoring.score(folder / "best.csv", found.solution, sampled, "mean(auc)").public == "1.00000"


def test_a_parquet_sample_stays_one_with_its_types(reviews):
    settings, root, fold_of, folder = reviews
    sample = pd.DataFrame({"review_id": [7000780], "label": [0.5]})
    sample.to_parquet(root / "sample.parquet", index=False)
    data = settings.data.model_copy(update={"sample_submission": "sample.parquet"})
    found = hidden.from_training(settings.model_copy(update={"data": data}), root, fold_of, 20, folder)
    made = pd.read_parquet(found.competition / "sample.parquet")
    assert made.dtypes.to_dict() == sample.dtypes.to_dict()
    assert list(made["review_id"].astype(str)) == list(table(found.competition / "test.csv")["review_id"])


def test_a_row_without_a_fold_is_no_row_that_a_model_left_out():
    assert hidden.honest_folds(["a", "b", "c", "d"], [0, -1, 1, 2], {-1, 0, 1}) == {"a": 0, "c": 1}
