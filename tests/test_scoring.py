"""A submission is checked as Kaggle checks it, in each of its forms, and scored on both parts."""

import pytest

from builder import scoring
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
