"""Submissions of several targets: the form that is worked out for them, and their score against numbers computed by hand."""

import numpy as np
import pandas as pd
import pytest

from builder import scoring
from builder.competition import targets
from builder.config import Data
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.runtime import submission as writing
from builder.scoring import forms

IDS = ["a", "b", "c", "d"]
TRUTH = {"kind": ["cat", "dog", "cat", "dog"], "size": ["s", "m", "l", "s"]}
GIVEN = {"size": ["s", "m", "l", "l"], "kind": ["cat", "cat", "cat", "dog"]}


@pytest.fixture
def scored(tmp_path):
    """Score answers against a truth, two rows of which are public; the submission has the rows in another order."""

    def run(truth, given, metric, folder=None, heads=()):
        usage = ["Public", "Public", "Private", "Private"]
        pd.DataFrame({"id": IDS, **truth, "Usage": usage}).to_csv(tmp_path / "solution.csv", index=False)
        table = pd.DataFrame({"id": IDS, **given})
        table.to_csv(tmp_path / "sample.csv", index=False)
        table.iloc[::-1].to_csv(tmp_path / "submission.csv", index=False)
        files = (tmp_path / name for name in ("submission.csv", "solution.csv", "sample.csv"))
        return scoring.score(*files, metric, folder, heads=heads)

    return run


@pytest.mark.parametrize(
    ("metric", "public", "private"),
    [
        ("accuracy", "0.75000", "0.75000"),  # kind 1/2 and 1, size 1 and 1/2
        ("kind=accuracy, size=accuracy", "0.75000", "0.75000"),
        # kind: cat 2 / 3, dog 0; size: s 1, m 1. Then kind: cat 1, dog 1; size: l 2 / 3, s 0.
        ("f1_macro", f"{(1 / 3 + 1) / 2:.5f}", f"{(1 + 1 / 3) / 2:.5f}"),
        ("kind=accuracy, size=f1_macro", f"{(1 / 2 + 1) / 2:.5f}", f"{(1 + 1 / 3) / 2:.5f}"),
        ("size=f1_macro,kind=accuracy", f"{(1 / 2 + 1) / 2:.5f}", f"{(1 + 1 / 3) / 2:.5f}"),
        # recalls: cat 1, dog 0; s 1, m 1. Then cat 1, dog 1; l 1, s 0.
        ("balanced_accuracy", "0.75000", "0.75000"),
    ],
)
def test_each_column_of_labels_is_scored_on_its_own_and_the_score_is_the_mean(scored, metric, public, private):
    assert scored(TRUTH, GIVEN, metric) == scoring.Scores(public, private)


def test_grades_keep_their_distances_in_every_column(scored):
    """kappa of grade: 1 - mean(0, 4) / (1 + 1 + ... ) worked out by hand; of kind: two of two right."""
    truth = {"kind": ["u", "v", "u", "v"], "grade": [1, 5, 1, 5]}
    given = {"kind": ["u", "v", "u", "v"], "grade": [1, 3, 1, 5]}
    # grade, public: mean of (0, 2**2) is 2; shuffled: var(1, 5) = 4, var(1, 3) = 1, (3 - 2)**2 = 1: 1 - 2 / 6.
    expected = (1 + (1 - 2 / 6)) / 2
    assert scored(truth, given, "kind=accuracy, grade=kappa") == scoring.Scores(f"{expected:.5f}", "1.00000")


def test_columns_of_0_and_1_are_labels_that_are_there_or_not_unless_each_has_its_metric(scored):
    truth, given = {"p": [0, 1, 0, 1], "q": [1, 1, 0, 0]}, {"p": [0, 1, 1, 1], "q": [1, 0, 0, 0]}
    assert scored(truth, given, "accuracy") == scoring.Scores("0.50000", "0.50000"), "rows of which all labels are right"
    assert scored(truth, given, "p=accuracy, q=accuracy") == scoring.Scores("0.75000", "0.75000")
    assert scored(truth, given, "accuracy", heads=("p", "q")) == scoring.Scores("0.75000", "0.75000")
    assert scored(truth, given, "p=mcc, q=mcc").public == "0.50000"


def test_a_metric_of_one_s_own_scores_each_column(scored, tmp_path):
    source = "def wrong(y, p):\n    return float((p.argmax(axis=1) != y).sum())\nwrong.greater_is_better = False\n"
    (tmp_path / "metric.py").write_text(source)
    assert scored(TRUTH, GIVEN, "metric.py:wrong", tmp_path) == scoring.Scores("0.50000", "0.50000")
    assert scored(TRUTH, GIVEN, "kind=metric.py:wrong, size=metric.py:wrong", tmp_path).public == "0.50000"


def test_words_of_a_class_are_one_label(scored):
    """`home garden` is no pair of labels, though its words come again."""
    truth = {"kind": ["home garden", "garden", "home", "home garden"], "size": ["s", "s", "m", "m"]}
    given = {"kind": ["garden home", "garden", "home", "home garden"], "size": ["s", "s", "m", "m"]}
    assert scored(truth, given, "accuracy") == scoring.Scores("0.75000", "1.00000")


@pytest.mark.parametrize(
    ("given", "metric", "label"),
    [
        ({"kind": ["cat", "", "cat", "dog"], "size": TRUTH["size"]}, "accuracy", scoring.SCORING_ERROR),
        ({"kind": TRUTH["kind"], "sise": TRUTH["size"]}, "kind=accuracy, size=accuracy", None),
    ],
)
def test_what_cannot_be_scored_is_said(scored, given, metric, label):
    if label:
        with pytest.raises(scoring.Rejected) as caught:
            scored(TRUTH, given, metric)
        assert caught.value.label == label
        assert "kind" in caught.value.reason
    else:
        with pytest.raises(UserError, match="other columns"):
            scored(TRUTH, given, metric)


@pytest.mark.parametrize(
    "metric", ["kind=accuracy, size=map@3", "kind=accuracy, size=f1_samples", "kind=accuracy", "kind=r2, size=r2"]
)
def test_metrics_that_do_not_take_a_column_of_labels_are_refused(scored, metric):
    with pytest.raises(UserError):
        scored(TRUTH, GIVEN, metric)


# -- the form --------------------------------------------------------------------------------------------------------------


def known(folder, sample, truth, **cells):
    sample.to_csv(folder / "sample.csv", index=False)
    table = pd.DataFrame({"id": [f"r{row}" for row in range(len(next(iter(cells.values()))))], **cells}, dtype=object)
    found = targets.read(Data(id="id", target=tuple(cells), truth=truth), table, folder / "train.csv")
    names = tuple(name for head in found.heads for name in head.classes)
    return forms.Known(folder / "sample.csv", tuple(cells), names, truth, ids=tuple(IDS), heads=found.heads)


TRAINED = {"kind": ["cat", "dog", "cat"], "size": ["s", "m", "l"]}


def test_several_heads_get_a_column_of_labels_each(tmp_path, scored):
    sample = pd.DataFrame({"id": IDS, "size": "s", "kind": "cat"})
    found = forms.answer(known(tmp_path, sample, CLASSES, **TRAINED), "id")
    assert (found.form, found.columns, found.classes) == ("heads", ("size", "kind"), ("cat", "dog", "l", "m", "s"))
    assert [(head.name, head.classes) for head in found.heads] == [("kind", ("cat", "dog")), ("size", ("l", "m", "s"))]
    p = np.array([[0.9, 0.1, 0.1, 0.1, 0.8], [0.6, 0.4, 0.2, 0.5, 0.3], [0.7, 0.3, 0.9, 0, 0.1], [0.2, 0.8, 0.6, 0.1, 0.3]])
    shape = writing.template(found, IDS, sample.astype(str), [0.2] * 5)
    frame = writing.compose(shape, p)
    writing.validate(frame, shape)
    answers = {name: frame[name].tolist() for name in found.columns}
    assert answers == GIVEN
    assert scored(TRUTH, answers, "accuracy").public == "0.75000"


@pytest.mark.parametrize(
    ("truth", "cells", "sample", "form", "link"),
    [
        (MULTILABEL, {"p": ["0", "1"], "q": ["1", "0"]}, {"q": 0.5, "p": 0.5}, "columns", "sigmoid"),
        (MULTILABEL, {"tags": ["u v", "v"]}, {"tags": "u"}, "strings", "sigmoid"),
        (NUMBERS, {"y": ["1", "2"]}, {"y": 0.5}, "numbers", "identity"),
        (NUMBERS, {"y": ["1", "2"], "z": ["0.5", "1"]}, {"z": 0.5, "y": 1}, "numbers", "identity"),
    ],
)
def test_labels_and_numbers_are_one_head(tmp_path, truth, cells, sample, form, link):
    found = forms.answer(known(tmp_path, pd.DataFrame({"id": IDS, **sample}), truth, **cells), "id")
    assert (found.form, [head.link for head in found.heads]) == (form, [link])
    assert found.parts == found.heads


def test_one_class_of_each_row_has_no_heads(tmp_path):
    found = forms.answer(known(tmp_path, pd.DataFrame({"id": IDS, "kind": "cat"}), CLASSES, kind=TRAINED["kind"]), "id")
    assert (found.form, found.heads) == ("labels", ())
    assert found.parts[0].classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"kind": "cat"}, ("other columns than there are targets", "kind, size")),
        ({"kind": "cat", "size": "s", "age": 1}, ("other columns than there are targets", "kind, size, age")),
        ({"kind": 0.5, "size": "s"}, ("one number for each row", "'0.5' in the column 'kind'", "cat, dog")),
    ],
)
def test_a_sample_that_does_not_fit_the_heads_is_refused(tmp_path, sample, words):
    with pytest.raises(UserError) as caught:
        forms.answer(known(tmp_path, pd.DataFrame({"id": IDS, **sample}), CLASSES, **TRAINED), "id")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.file == str(tmp_path / "sample.csv")


# -- classes and numbers, and a row for each target ------------------------------------------------------------------------

PRICED = {"kind": TRUTH["kind"], "price": [1.0, 3.0, 10.0, 20.0]}
OFFERED = {"price": [4.0, 7.0, 10.0, 18.0], "kind": GIVEN["kind"]}  # off by 3 and 4, then by 0 and 2


@pytest.mark.parametrize(
    ("metric", "public", "private"),
    [
        ("kind=accuracy, price=rmse", (1 / 2 - np.sqrt(25 / 2)) / 2, (1 - np.sqrt(4 / 2)) / 2),
        ("kind=accuracy, price=r2", (1 / 2 + 1 - 25 / 2) / 2, (1 + 1 - 4 / 50) / 2),
    ],
)
def test_classes_and_numbers_are_scored_each_on_its_own(scored, metric, public, private):
    assert scored(PRICED, OFFERED, metric) == scoring.Scores(f"{public:.5f}", f"{private:.5f}")


def long_table(cells, names, joint="{id}_{name}"):
    rows = [(joint.format(id=one, name=name), cells[name][at]) for at, one in enumerate(IDS) for name in names]
    return pd.DataFrame(rows, columns=["row", "value"])


def test_one_target_with_a_metric_of_its_name_is_no_long_form(scored):
    kinds = {"kind": TRUTH["kind"]}
    assert scored(kinds, {"kind": GIVEN["kind"]}, "kind=accuracy") == scored(kinds, {"kind": GIVEN["kind"]}, "accuracy")


@pytest.mark.parametrize("joint", ["{id}_{name}", "{name}:{id}", "{id}{name}"])
@pytest.mark.parametrize("metric", ["kind=accuracy, price=rmse", "price=r2, kind=f1_macro"])
def test_a_row_for_each_id_and_target_is_scored_as_a_column_for_each_target(scored, tmp_path, joint, metric):
    expected = scored(PRICED, OFFERED, metric)
    solution = long_table(PRICED, ["kind", "price"], joint)
    solution["Usage"] = ["Public"] * 4 + ["Private"] * 4
    given = long_table(OFFERED, ["price", "kind"], joint)
    files = [tmp_path / f"{name}-long.csv" for name in ("submission", "solution", "sample")]
    for path, table in zip(files, (given, solution, given), strict=True):
        table.to_csv(path, index=False)
    assert scoring.score(*files, metric) == expected
    with pytest.raises(UserError, match="one row for each id and target"):
        scoring.score(*files, metric.replace("kind", "sort"))


def test_the_form_of_a_row_for_each_target_is_worked_out_and_written(tmp_path):
    sample = long_table({"kind": ["cat"] * 4, "price": ["0.5"] * 4}, ["price", "kind"])
    cells = {"kind": ["cat", "dog", "cat"], "price": ["1", "2.5", "4"]}
    found = forms.answer(known(tmp_path, sample, {"price": NUMBERS}, **cells), "id")
    assert (found.form, found.columns, found.key_column, found.key) == ("long-heads", ("value",), "row", "{id}_{class}")
    shape = writing.template(found, IDS, sample, [0.5, 0.5, 2.5])
    values = np.array([[0.9, 0.1, 7.25], [0.2, 0.8, 1e6], [np.nan] * 3, [0.6, 0.4, -1]])
    frame = writing.compose(shape, values)
    writing.validate(frame, shape)
    told = dict(zip(frame["row"], frame["value"], strict=True))
    assert list(frame["row"]) == list(sample["row"])
    assert told == {
        "a_kind": "cat", "a_price": "7.25", "b_kind": "dog", "b_price": "1000000", "c_kind": "cat", "c_price": "0.5",
        "d_kind": "cat", "d_price": "-1",
    }  # fmt: skip
    frame.loc[frame["row"] == "a_price", "value"] = "dear"
    with pytest.raises(writing.SubmissionError, match="column 'value' has 1 values like 'dear'"):
        writing.validate(frame, shape)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ({"kind": "cat", "price": "dear"}, ("a text where a number belongs", "'dear' in the column 'price'")),
        ({"kind": 0.5, "price": 0.5}, ("one number for each row", "'0.5' in the column 'kind'")),
        ({"kind": "cat"}, ("other columns than there are targets", "a row for each id and target")),
    ],
)
def test_a_sample_that_does_not_fit_classes_and_numbers_is_refused(tmp_path, sample, words):
    cells = {"kind": ["cat", "dog", "cat"], "price": ["1", "2.5", "4"]}
    tables = [pd.DataFrame({"id": IDS, **sample})]
    if len(sample) == 2:
        tables.append(long_table({name: [cell] * 4 for name, cell in sample.items()}, list(sample)))
    for table in tables:
        with pytest.raises(UserError) as caught:
            forms.answer(known(tmp_path, table, {"price": NUMBERS}, **cells), "id")
        for word in words[:1]:
            assert word in str(caught.value)
    with pytest.raises(UserError) as caught:
        forms.answer(known(tmp_path, tables[0], {"price": NUMBERS}, **cells), "id")
    for word in words:
        assert word in str(caught.value)
