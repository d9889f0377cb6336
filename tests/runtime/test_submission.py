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
