"""A submission is valid or is not written; the one of before stays."""

import numpy as np
import pandas as pd
import pytest
from kkb_runtime import submission
from kkb_runtime.contract import Answer

COLUMNS = Answer("submission.csv", "id", "columns", ("p_a", "p_b"), ("a", "b"))
LABELS = Answer("submission.csv", "id", "labels", ("label",), ("a", "b"))
PRIOR = (0.9, 0.1)


def sample(ids, **cells):
    return pd.DataFrame({"id": ids, **cells}, dtype=object)


def rows(shape, probabilities):
    return submission.compose(shape, np.array(probabilities, dtype=float)).to_numpy().tolist()


def test_unanswered_samples_keep_the_fallback():
    shape = submission.template(COLUMNS, ["x", "y"], None, PRIOR)
    assert rows(shape, [[np.nan, np.nan], [0.25, 0.75]]) == [["x", "0.9", "0.1"], ["y", "0.25", "0.75"]]


def test_columns_named_like_classes_go_by_name():
    answer = Answer("submission.csv", "id", "columns", ("b", "a"), ("a", "b"))
    shape = submission.template(answer, ["x"], None, PRIOR)
    assert rows(shape, [[0.25, 0.75]]) == [["x", "0.75", "0.25"]]


def test_sample_values_are_the_fallback_and_its_order_wins():
    shape = submission.template(LABELS, ["x", "y"], sample(["y", "x"], label=["b", "a"]), PRIOR)
    assert rows(shape, [[np.nan, np.nan], [0.9, 0.1]]) == [["y", "a"], ["x", "a"]]


@pytest.mark.parametrize(
    ("form", "columns", "cells"),
    [
        ("columns", ("p_a", "p_b"), [["x", "0.1", "0.9"], ["y", "0.7", "0.3"]]),
        ("probability", ("p",), [["x", "0.9"], ["y", "0.3"]]),
        ("long", ("p",), [["x_a", "0.1"], ["x_b", "0.9"], ["y_a", "0.7"], ["y_b", "0.3"]]),
    ],
)
def test_probabilities_of_noisy_labels_are_submitted_in_every_form_that_holds_shares(form, columns, cells):
    noisy = {"steps": [{"kind": "noise", "values": [0.2, 1.0]}]}
    shares = Answer(
        "submission.csv", "id", form, columns, ("a", "b"), key="{id}_{class}" if form == "long" else "", decision=noisy
    )
    found = rows(submission.template(shares, ["x", "y"], None, PRIOR), [[0.0, 1.0], [0.75, 0.25]])
    assert [[name, *map(float, values)] for name, *values in found] == [
        [name, *(pytest.approx(float(value)) for value in values)] for name, *values in cells
    ]


@pytest.mark.parametrize(
    "given",
    [sample(["x", "z"], p_a=["1", "1"], p_b=["0", "0"]), sample(["x", "y"], p_a=["", "1"], p_b=["0", "0"]), sample(["x", "y"])],
)
def test_a_sample_that_does_not_fit_is_not_the_fallback(given):
    shape = submission.template(COLUMNS, ["x", "y"], given, PRIOR)
    assert rows(shape, np.full((2, 2), np.nan)) == [["x", "0.9", "0.1"], ["y", "0.9", "0.1"]]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (sample(["x", "y"], p_a=["1", "1"]), "found columns"),
        (sample(["x"], p_a=["1"], p_b=["0"]), "found 1 rows, expected 2"),
        (sample(["y", "x"], p_a=["1", "1"], p_b=["0", "0"]), "row 1 has id 'y', expected 'x'"),
        (sample(["x", "x"], p_a=["1", "1"], p_b=["0", "0"]), "more than once"),
        (sample(["x", "y"], p_a=["1", "nan"], p_b=["0", "0"]), "column 'p_a' has 1 values like 'nan'"),
        (sample(["x", "y"], p_a=["1", "1"], p_b=["0", "inf"]), "column 'p_b' has 1 values like 'inf'"),
    ],
)
def test_faults(frame, message):
    shape = submission.template(COLUMNS, ["x", "y"], None, PRIOR)
    with pytest.raises(submission.SubmissionError, match=message):
        submission.validate(frame, shape)


def test_writing_replaces_whole_files_and_keeps_cells_verbatim(tmp_path):
    path = tmp_path / "working" / "submission.csv"
    for label in ("old", "0070"):
        submission.write(path, sample(["007", "a,b"], label=[label, label]))
    assert path.read_bytes() == b'id,label\n007,0070\n"a,b",0070\n'
    assert [item.name for item in path.parent.iterdir()] == ["submission.csv"]


def test_an_unknown_form_is_refused():
    with pytest.raises(submission.SubmissionError, match="unknown form 'rle'; known are labels"):
        submission.template(Answer("s.csv", "id", "rle", ("x",), ("a", "b")), ["x"], None, PRIOR)


# -- further forms -----------------------------------------------------------------------------------------------------

CLASSES = ("a", "b", "c")
NAN = float("nan")


def steps(*parts):
    return {"steps": [{"kind": kind, "values": list(values)} | more for kind, values, more in parts]}


def made(answer, ids, given, prior, probabilities):
    """The rows of a file, valid or not written."""
    shape = submission.template(answer, ids, given, prior)
    frame = submission.compose(shape, np.array(probabilities, dtype=float))
    submission.validate(frame, shape)
    return frame.to_numpy().tolist()


def answer(form, columns, classes=CLASSES, file="submission.csv", **more):
    return Answer(file, "id", form, columns, classes, **more)


@pytest.mark.parametrize(
    ("decision", "cells"),
    [
        (None, ["a c", "b", "b"]),  # at least one half; the nearest where there is none; the fallback
        (steps(("thresholds", [0.3, 0.3, 0.3], {"least": 1})), ["a c", "b c", "b"]),
        (steps(("top", [2], {})), ["c a", "b c", "b a"]),
        (steps(("thresholds", [0.95, 0.95, 0.95], {})), ["", "", ""]),  # the plan says that a cell may be empty
    ],
)
def test_label_strings(decision, cells):
    form = answer("strings", ("tags",), decision=decision)
    p = [[0.7, 0.1, 0.9], [0.1, 0.4, 0.3], [NAN, NAN, NAN]]
    assert [row[1] for row in made(form, ["x", "y", "z"], None, (0.2, 0.6, 0.1), p)] == cells


def test_thresholds_and_cuts_decide_labels():
    form = answer("labels", ("label",), ("no", "yes"), decision=steps(("threshold", [0.2], {})))
    assert [row[1] for row in made(form, ["x", "y"], None, (0.9, 0.1), [[0.75, 0.25], [0.85, 0.15]])] == ["yes", "no"]
    form = answer("labels", ("grade",), CLASSES, decision=steps(("cuts", [0.1, 1.9], {})))
    assert [row[1] for row in made(form, ["x", "y"], None, (1, 0, 0), [[0.8, 0.2, 0.0], [0, 0, 1]])] == ["b", "c"]


def test_several_targets_are_numbers_by_name():
    form = answer("numbers", ("width", "height"), ("height", "width"), decision=steps(("clip", [0, 5, 0, 9], {})))
    rows = made(form, ["x", "y"], None, (1.5, 2.5), [[-3.0, 2.25], [NAN, NAN]])
    assert rows == [["x", "2.25", "0"], ["y", "2.5", "1.5"]]


def test_whole_numbers_keep_all_their_digits():
    form = answer("numbers", ("votes",), ("n",), decision=steps(("round", [1], {})))
    assert made(form, ["x"], None, (0,), [[12345678901.4]]) == [["x", "12345678901"]]


def test_columns_named_after_classes_with_a_beginning():
    form = answer("columns", ("p_c", "p_a", "p_b"))
    assert made(form, ["x"], None, (0, 0, 1), [[0.25, 0.125, 0.625]]) == [["x", "0.625", "0.25", "0.125"]]


def test_a_class_for_each_column_may_be_decided():
    form = answer("columns", CLASSES, decision=steps(("argmax", [], {})))
    assert made(form, ["x"], None, (0, 0, 1), [[0.2, 0.7, 0.1]]) == [["x", "0", "1", "0"]]


LONG = answer("long", ("value",), key_column="id_class", key="{id}_{class}")


def test_the_long_form_has_a_row_for_each_id_and_class():
    rows = made(LONG, ["x", "y"], None, (0.5, 0.25, 0.25), [[0.1, 0.2, 0.7], [NAN, NAN, NAN]])
    assert rows == [
        ["x_a", "0.1"],
        ["x_b", "0.2"],
        ["x_c", "0.7"],
        ["y_a", "0.5"],
        ["y_b", "0.25"],
        ["y_c", "0.25"],
    ]


def test_the_long_form_follows_the_sample():
    keys = ["y_a", "x_a", "y_c", "x_c", "x_b", "y_b"]
    given = pd.DataFrame({"id_class": keys, "value": ["0.5"] * 6}, dtype=object)
    rows = made(LONG, ["x", "y"], given, (0, 0, 1), [[0.1, 0.2, 0.7], [0.3, 0.4, 0.6]])
    assert rows == [["y_a", "0.3"], ["x_a", "0.1"], ["y_c", "0.6"], ["x_c", "0.7"], ["x_b", "0.2"], ["y_b", "0.4"]]


def test_braces_in_an_id_are_only_braces():
    assert made(LONG, ["{class}"], None, (1, 0, 0), [[0, 0, 1]])[2] == ["{class}_c", "1"]


def test_the_sample_spells_ids_that_were_read_as_floats():
    rows = made(LABELS, ["7", "12"], sample(["12.0", "7.0"], label=["a", "a"]), PRIOR, [[0, 1], [1, 0]])
    assert rows == [["12.0", "a"], ["7.0", "b"]]


@pytest.mark.parametrize("ids", [["7", "7.0"], ["07", "7.0"], ["9007199254740993", "9007199254740992"]])
def test_ids_that_only_look_alike_stay_apart(ids):
    assert [row[0] for row in made(LABELS, ids, sample(ids[::-1], label=["a", "a"]), PRIOR, [[0, 1], [1, 0]])] == ids[::-1]


def test_a_parquet_file_has_the_types_of_the_sample(tmp_path):
    pytest.importorskip("pyarrow")
    form = answer(
        "numbers",
        ("n", "p"),
        ("n", "p"),
        "submission.parquet",
        kinds=("int64", "int64", "float32"),
        decision=steps(("round", [1], {})),
    )
    shape = submission.template(form, ["9007199254740993", "2"], None, (0, 0))
    frame = submission.compose(shape, np.array([[1.2, 3.0], [NAN, NAN]]))
    submission.validate(frame, shape)
    path = tmp_path / "submission.parquet"
    submission.write(path, frame)
    found = pd.read_parquet(path)
    assert [kind.name for kind in found.dtypes] == ["int64", "int64", "float32"]
    assert found.to_numpy(dtype=object).tolist() == [[9007199254740993, 1, 3.0], [2, 0, 0.0]]
    assert [item.name for item in tmp_path.iterdir()] == ["submission.parquet"]


@pytest.mark.parametrize(
    ("kinds", "ids", "types"),
    [
        (("int64", "int64"), ["007", "1"], ["text", "float64"]),  # an int would be another id
        (("float64", "float64"), ["7", "1"], ["text", "float64"]),
        (("float64", "float32"), ["7.0", "1.0"], ["float64", "float32"]),
        (("text", "int64"), ["7", "1"], ["text", "float64"]),  # zeros in the sample make no whole numbers of probabilities
        ((), ["7", "1"], ["text", "float64"]),
        (("int8", "int64"), ["700", "1"], ["text", "float64"]),
    ],
)
def test_no_value_is_changed_for_a_type(kinds, ids, types):
    form = answer("probability", ("p",), ("0", "1"), "submission.parquet", kinds=kinds)
    shape = submission.template(form, ids, None, PRIOR)
    frame = submission.compose(shape, np.array([[0.0, 1.0], [1.0, 0.0]]))
    submission.validate(frame, shape)
    found = ["text" if kind.kind not in "biuf" else kind.name for kind in frame.dtypes]
    assert found == types


def test_labels_in_parquet_are_of_the_sample_s_type():
    for kind, classes, cells in (("int64", ("3", "5"), [5, 3]), ("bool", ("False", "True"), [True, False])):
        form = answer("labels", ("y",), classes, "submission.parquet", kinds=("text", kind))
        shape = submission.template(form, ["x", "z"], None, PRIOR)
        frame = submission.compose(shape, np.eye(2)[[1, 0]])
        submission.validate(frame, shape)
        assert frame["y"].tolist() == cells
        assert frame["y"].dtype.name == kind


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (answer("labels", ("y",), decision=steps(("clip", [0, 1] * 3, {}))), "needs one class for each row"),
        (answer("labels", ("y",), ("a",), decision=steps(("cuts", [0.5], {}))), "class number 1"),
        (answer("strings", ("y",), decision=steps(("argmax", [], {}))), "needs thresholds or the top classes"),
        (answer("columns", ("p", "q")), "2 columns for 3 outputs"),
        (answer("columns", CLASSES, decision={"steps": [{"kind": "vote"}]}), "unknown step"),
        (answer("columns", CLASSES, decision=steps(("thresholds", [0.5], {}))), "for 1 outputs, found 3"),
    ],
)
def test_a_decision_that_does_not_fit_the_form_is_refused_before_the_first_prediction(form, words):
    with pytest.raises(submission.SubmissionError, match=words):
        submission.template(form, ["x"], None, (0.2, 0.3, 0.5) if len(form.classes) == 3 else (1.0,))
