"""A submission is checked as Kaggle checks it, in each of its forms, and scored on both parts."""

import numpy as np
import pandas as pd
import pytest

from builder import scoring
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.runtime import submission as writing
from builder.scoring import forms, grid
from tests.standin.conftest import write_table

IDS = ["a", "b", "c", "d"]


@pytest.fixture
def files(tmp_path):
    """Write solution, sample and submission; return what score() needs."""

    def write(labels, header, rows, sample=None):
        solution = [
            (key, label, "Public" if n < 2 else "Private") for n, (key, label) in enumerate(zip(IDS, labels, strict=True))
        ]
        write_table(tmp_path / "solution.csv", ("id", "label", "Usage"), solution)
        write_table(tmp_path / "sample.csv", sample or header, [(key, *[0] * (len(sample or header) - 1)) for key in IDS])
        write_table(tmp_path / "submission.csv", header, rows)
        return tmp_path / "submission.csv", tmp_path / "solution.csv", tmp_path / "sample.csv"

    return write


def test_class_names(files):
    paths = files(["cat", "dog", "cat", "dog"], ("id", "label"), [("d", "dog"), ("a", "cat"), ("c", "dog"), ("b", "dog")])
    assert scoring.score(*paths, "accuracy") == scoring.Scores("1.00000", "0.50000")


def test_codes_written_as_floats_are_the_same_classes(files):
    paths = files([0, 2, 1, 2], ("id", "label"), [("a", "0.0"), ("b", "2.0"), ("c", "1"), ("d", "0")])
    assert scoring.score(*paths, "accuracy") == scoring.Scores("1.00000", "0.50000")


def test_a_class_that_the_solution_does_not_have_is_wrong_not_an_error(files):
    paths = files(["cat", "dog", "cat", "dog"], ("id", "label"), [("a", "cat"), ("b", "eel"), ("c", "cat"), ("d", "eel")])
    assert scoring.score(*paths, "accuracy") == scoring.Scores("0.50000", "0.50000")


def test_one_probability_column_per_class_in_any_order(files):
    rows = [("a", 0.1, 0.9), ("b", 0.8, 0.2), ("c", 0.6, 0.4), ("d", 0.7, 0.3)]
    paths = files(["cat", "dog", "cat", "dog"], ("id", "dog", "cat"), rows, sample=("id", "cat", "dog"))
    assert scoring.score(*paths, "accuracy") == scoring.Scores("1.00000", "0.50000")


def test_the_probability_of_class_one(files):
    paths = files([1, 0, 1, 0], ("id", "label"), [("a", 0.9), ("b", 0.2), ("c", 0.1), ("d", 0.3)])
    assert scoring.score(*paths, "auc") == scoring.Scores("1.00000", "0.00000")
    assert scoring.score(*paths, "accuracy") == scoring.Scores("1.00000", "0.50000")
    assert scoring.score(*paths, "logloss").public == "0.16425"  # -(ln 0.9 + ln 0.8) / 2


@pytest.mark.parametrize(
    ("header", "rows", "label"),
    [
        (("id", "wrong"), [(key, 0) for key in IDS], scoring.FORMAT_ERROR),
        (("id", "label", "Unnamed: 0"), [(key, 0, 0) for key in IDS], scoring.FORMAT_ERROR),
        (("id", "label"), [(key, 0) for key in IDS[:3]], scoring.FORMAT_ERROR),
        (("id", "label"), [("a", 0), ("a", 0), ("b", 0), ("c", 0)], scoring.FORMAT_ERROR),
        (("id", "label"), [("a", 0), ("b", 0), ("c", 0), ("x", 0)], scoring.FORMAT_ERROR),
        (("id", "label"), [("a", 0), ("b", ""), ("c", 0), ("d", 0)], scoring.SCORING_ERROR),
        (("id", "label"), [("a", 0.5), ("b", "nan"), ("c", 0.5), ("d", 0.5)], scoring.SCORING_ERROR),
        (("id", "label"), [("a", 0.5), ("b", "inf"), ("c", 0.5), ("d", 0.5)], scoring.SCORING_ERROR),
        (("id", "label"), [("a", 0.5), ("b", 1.5), ("c", 0.5), ("d", 0.5)], scoring.SCORING_ERROR),
        (("id", "label"), [("a", "yes"), ("b", "no"), ("c", "no"), ("d", "no")], scoring.SCORING_ERROR),
    ],
)
def test_what_does_not_fit_gets_its_label(files, header, rows, label):
    paths = files([1, 0, 1, 0], header, rows, sample=("id", "label"))
    with pytest.raises(scoring.Rejected) as caught:
        scoring.score(*paths, "accuracy")
    assert caught.value.label == label
    assert caught.value.reason


def test_a_missing_file_is_not_found(files, tmp_path):
    _, solution, sample = files([1, 0, 1, 0], ("id", "label"), [(key, 0) for key in IDS])
    with pytest.raises(scoring.Rejected) as caught:
        scoring.score(tmp_path / "other.csv", solution, sample, "accuracy")
    assert caught.value.label == scoring.NOT_FOUND


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'id,label\n"a,0\n'])
def test_bytes_that_are_no_table_are_a_format_error(files, content):
    submission, solution, sample = files([1, 0, 1, 0], ("id", "label"), [(key, 0) for key in IDS])
    submission.write_bytes(content)
    with pytest.raises(scoring.Rejected) as caught:
        scoring.score(submission, solution, sample, "accuracy")
    assert caught.value.label == scoring.FORMAT_ERROR


# -- further forms -----------------------------------------------------------------------------------------------------


@pytest.fixture
def scored(tmp_path):
    """Score rows against a solution, as csv or parquet."""

    def run(truth, given, metric, suffix=".csv"):
        ids = truth[next(iter(truth))]
        usage = ["Public"] * (len(ids) // 2) + ["Private"] * (len(ids) - len(ids) // 2)
        table = pd.DataFrame(given)
        pd.DataFrame({**truth, "Usage": usage}).to_csv(tmp_path / "solution.csv", index=False)
        table.to_csv(tmp_path / "sample.csv", index=False)
        path = tmp_path / f"submission{suffix}"
        table.iloc[::-1].to_parquet(path) if suffix == ".parquet" else table.iloc[::-1].to_csv(path, index=False)
        return scoring.score(path, tmp_path / "solution.csv", tmp_path / "sample.csv", metric)

    return run


KEYS = {"id": IDS}
LONG = [f"{name}_{label}" for name in IDS for label in ("cat", "big_dog")]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("truth", "given", "metric", "public", "private"),
    [
        ({"y": [1.0, 2.0, 3.0, 4.0]}, {"y": [1.0, 4.0, 3.0, 4.0]}, "mae", "1.00000", "0.00000"),
        ({"y": [1.0, 2.0, 3.0, 4.0]}, {"price": [1.0, 4.0, 3.0, 4.0]}, "rmse", "1.41421", "0.00000"),
        ({"h": [1, 1, 0, 0], "w": [2, 2, 0, 0]}, {"w": [2, 4, 0, 0], "h": [1, 1, 3, 3]}, "mean(mae)", "0.50000", "1.50000"),
        (
            {"p": [1, 0, 1, 0], "q": [0, 1, 1, 0]},
            {"p": [0.9, 0.1, 0.2, 0.8], "q": [0.2, 0.7, 0.6, 0.1]},
            "auc",
            "1.00000",
            "0.50000",
        ),
        (
            {"p": [1, 0, 1, 0], "q": [0, 1, 0, 1]},
            {"p": [0.9, 0.1, 0.2, 0.8], "q": [0.1, 0.9, 0.8, 0.2]},
            "balanced_accuracy",
            "1.00000",
            "0.00000",
        ),
        ({"y": ["u v", "v", "u", "u v"]}, {"y": ["v u", "v", "v", "u"]}, "f1_samples", "1.00000", "0.33333"),
        ({"y": ["u v", "v", "u", "u v"]}, {"y": ["v u", "v", "v", "u"]}, "f1_micro", "1.00000", "0.40000"),
        ({"y": ["u v", "v", "u", "v"]}, {"u": [1, 0, 0.9, 0.2], "v": [0.7, 0.8, 0.1, 0.4]}, "f1_samples", "1.00000", "0.50000"),
        ({"y": ["a", "b", "c", "d"]}, {"y": ["a x b", "x b a", "a b c d", "a b x"]}, "map@3", "0.75000", "0.16667"),
        (
            {"y": ["New York", "Rome", "Rome", "New York"]},
            {"y": ["New York", "Rome", "Rome", "Rome"]},
            "f1_micro",
            "1.00000",
            "0.50000",
        ),
        ({"y": [0, 4, 10, 0]}, {"y": [0, 10, 10, 0]}, "kappa", "0.52632", "1.00000"),
    ],
)
def test_every_form_is_scored(scored, truth, given, metric, public, private, suffix):
    assert scored(KEYS | truth, KEYS | given, metric, suffix) == scoring.Scores(public, private)


def test_the_long_form_is_a_table_to_a_metric_of_single_classes(scored):
    truth = {"id_class": LONG, "y": [1, 0, 0, 1, 1, 1, 0, 0]}
    given = {"id_class": LONG, "p": [0.9, 0.6, 0.8, 0.7, 0.1, 0.4, 0.2, 0.3]}
    assert scored(truth, given, "mean(auc)") == scoring.Scores("1.00000", "0.50000")
    assert scored(truth, given, "auc") == scoring.Scores("0.75000", "0.50000")
    assert scored(truth, given, "f1_samples").public == "0.66667"
    numbers = {"id_class": LONG, "y": [1, 0, 2, 0, 0, 0, 0, 0]}, {"id_class": LONG, "y": [1, 3, 2, 3, 0, 1, 0, 1]}
    assert scored(*numbers, "mean(mae)") == scoring.Scores("1.50000", "0.50000")


@pytest.mark.parametrize(
    ("truth", "given", "metric"),
    [
        ({"y": [1.0, 2.0, 3.0, 4.0]}, {"y": ["1", "2", "x", "4"]}, "mae"),
        ({"y": [1.0, 2.0, 3.0, 4.0]}, {"y": ["1", "2", "", "4"]}, "mae"),
        ({"y": [1.0, 2.0, 3.0, 4.0]}, {"y": [1, 2, -3, 4]}, "rmsle"),
        ({"p": [1, 0, 1, 0], "q": [0, 1, 1, 0]}, {"p": [1, 0, 1, 0], "q": ["0", "1", "nan", "0"]}, "f1_macro"),
        ({"y": ["u v", "v", "u", "u v"]}, {"y": ["v u", "", "v", "u"]}, "f1_samples"),
        ({"y": ["a", "b", "c", "d"]}, {"y": ["a", "", "c", "d"]}, "map@3"),
        ({"y": [0, 4, 10, 0]}, {"y": [0, 4.5, 10, 0]}, "kappa"),
        ({"y": [0, 0, 1, 0]}, {"y": [0.1, 0.2, 0.3, 0.4]}, "auc"),
    ],
)
def test_values_that_cannot_be_scored_are_a_scoring_error(scored, truth, given, metric):
    with pytest.raises(scoring.Rejected) as caught:
        scored(KEYS | truth, KEYS | given, metric)
    assert caught.value.label == scoring.SCORING_ERROR
    assert caught.value.reason


@pytest.mark.parametrize(
    ("truth", "given", "metric"),
    [
        ({"y": ["u", "v", "u", "v"]}, {"y": [1, 2, 3, 4]}, "mae"),
        ({"p": [1, 0, 1, 0], "q": [0, 1, 1, 0]}, {"p": [1, 0, 1, 0], "r": [0, 1, 1, 0]}, "auc"),
        ({"p": [1, 0, 1, 0], "q": [0, 1, 1, 0]}, {"p": [1, 0, 1, 0], "q": [0, 1, 1, 0]}, "mcc"),
    ],
)
def test_a_solution_that_is_none_is_the_user_s_fault(scored, truth, given, metric):
    with pytest.raises(UserError):
        scored(KEYS | truth, KEYS | given, metric)


@pytest.mark.parametrize(
    ("keys", "classes"),
    [
        (["1_a", "1_b", "2_a", "2_b"], ["a", "b"]),
        (["x_1_a", "x_1_b", "x_2_a", "x_2_b"], ["a", "b"]),
        (["ID_1_any", "ID_1_sub_dural", "ID_2_any", "ID_2_sub_dural"], ["any", "sub_dural"]),
        (["2:b", "1:a", "1:b", "2:a"], ["b", "a"]),
        (["1_a", "1_b", "2_a"], None),
        (["a", "b"], None),
        (["img_1", "img_2", "img_3"], None),
    ],
)
def test_keys_of_the_long_form_are_told_apart(keys, classes):
    found = grid.grid(keys)
    assert (found and found[1]) == classes
    if found:
        assert sorted(found[0].ravel().tolist()) == list(range(len(keys)))


# -- worked out from the sample ----------------------------------------------------------------------------------------

ABC = ("a", "b", "c")
NEW_LONG = {"id_class": [f"{name}_{label}" for label in ABC for name in IDS], "value": [0.5] * 12}


def answer(folder, cells, classes=ABC, truth=CLASSES, file="submission.csv", *, ranking=False, ids=tuple(IDS)):
    path = folder / ("sample.parquet" if file.endswith("t") else "sample.csv")
    table = pd.DataFrame(cells)
    table.to_parquet(path) if file.endswith("t") else table.to_csv(path, index=False)
    return forms.answer(forms.Known(path, "label", classes, truth, ranking, ids), "id", file)


@pytest.mark.parametrize("file", ["submission.csv", "submission.parquet"])
@pytest.mark.parametrize(
    ("cells", "more", "form", "key"),
    [
        (KEYS | {"label": ["a"] * 4}, {}, "labels", ""),
        (KEYS | {"label": ["0"] * 4}, {}, "labels", ""),
        (KEYS | {"label": ["a b c"] * 4}, {}, "strings", ""),
        (KEYS | {"label": ["a"] * 4}, {"ranking": True}, "strings", ""),
        (KEYS | {"label": [0.5] * 4}, {"classes": ("0", "1")}, "probability", ""),
        (KEYS | {"c": [0] * 4, "a": [0] * 4, "b": [0] * 4}, {}, "columns", ""),
        (KEYS | {"p_c": [0] * 4, "p_a": [0] * 4, "p_b": [0] * 4}, {}, "columns", ""),
        (KEYS | {"c": [0] * 4, "a": [0] * 4, "b": [0] * 4}, {"truth": MULTILABEL}, "columns", ""),
        (KEYS | {"tags": ["a b", "", "c", "c"]}, {"truth": MULTILABEL}, "strings", ""),
        (KEYS | {"tags": ["none"] * 4}, {"truth": MULTILABEL}, "strings", ""),
        (KEYS | {"price": [0.5] * 4}, {"truth": NUMBERS, "classes": ("y",)}, "numbers", ""),
        (KEYS | {"c": [0] * 4, "a": [0] * 4, "b": [0] * 4}, {"truth": NUMBERS}, "numbers", ""),
        (NEW_LONG, {}, "long", "{id}_{class}"),
        (NEW_LONG, {"truth": NUMBERS}, "long", "{id}_{class}"),
        ({"k": [f"{c} {i}" for i in IDS for c in ABC], "v": [0.5] * 12}, {"truth": MULTILABEL}, "long", "{class} {id}"),
    ],
)
def test_the_form_is_worked_out_and_what_is_written_in_it_can_be_scored(tmp_path, cells, more, form, key, file):
    found = answer(tmp_path, cells, file=file, **more)
    assert (found.form, found.key) == (form, key)
    assert found.columns == tuple(cells)[1:]
    assert found.key_column == (next(iter(cells)) if key else "")
    sample, _ = forms.read(tmp_path / f"sample{found.file[10:]}")
    shape = writing.template(found, IDS, sample, [1 / len(found.classes)] * len(found.classes))
    frame = writing.compose(shape, np.random.default_rng(0).dirichlet(np.ones(len(found.classes)), 4))
    writing.validate(frame, shape)
    writing.write(tmp_path / found.file, frame)
    again = scoring.read_table(tmp_path / found.file)
    assert again[again.columns[0]].astype(str).tolist() == sample[sample.columns[0]].tolist()
    assert list(again.columns) == list(cells)


@pytest.mark.parametrize(
    ("cells", "more", "words"),
    [
        (KEYS, {}, "an id and answers"),
        (KEYS | {"x": [0] * 4, "y": [0] * 4}, {}, "form that is not known"),
        (KEYS | {"a": [0] * 4, "b": [0] * 4}, {"truth": MULTILABEL}, "only on one side: c"),
        (KEYS | {"label": [0.2] * 4}, {}, "one number for each row"),
        (KEYS | {"tags": [0.2] * 4}, {"truth": MULTILABEL}, "one number for each row"),
        (KEYS | {"tags": ["a z", "b", "c", "a"]}, {"truth": MULTILABEL}, "no training row has"),
        (KEYS | {"a": ["x"] * 4, "b": [0] * 4, "c": [0] * 4}, {}, "a text where a probability belongs"),
        (KEYS | {"price": ["x"] * 4}, {"truth": NUMBERS, "classes": ("y",)}, "a text where a number belongs"),
        (KEYS | {"price": [1] * 4}, {"truth": NUMBERS}, "other columns than there are targets"),
        ({"id": ["q", "r"], "label": ["a", "b"]}, {}, "names no row of the test table"),
        ({"key": IDS, "label": ["a"] * 4}, {}, "another id column"),
        ({**NEW_LONG, "id_class": [f"{n}_{c}" for c in "abd" for n in IDS]}, {}, "names no row of the test table"),
        (KEYS | {"label": ["a"] * 4}, {"file": "submission.zip"}, "expected: .csv or .parquet"),
    ],
)
def test_a_sample_that_decides_nothing_or_contradicts_is_refused(tmp_path, cells, more, words):
    with pytest.raises(UserError, match=words):
        answer(tmp_path, cells, **more)


def test_ids_are_texts_whatever_they_look_like(tmp_path):
    ids = ("007", "1e5", "9007199254740993", "NA", "3.0")
    found = answer(tmp_path, {"id": list(ids), "label": ["a"] * 5}, ids=ids)
    sample, _ = forms.read(tmp_path / "sample.csv")
    assert writing.template(found, ids, sample, (1, 0, 0)).ids == ids


def test_a_parquet_sample_says_its_types(tmp_path):
    cells = {"id": np.array([1, 2], dtype="int32"), "y": np.array([0, 1], dtype="int8"), "z": np.zeros(2, "float32")}
    found = answer(tmp_path, cells, ("y", "z"), NUMBERS, "submission.parquet", ids=("1", "2"))
    assert found.kinds == ("int32", "int8", "float32")
