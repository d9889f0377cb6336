"""Targets of all kinds: heads and truth of a training table, the texts that make them again, strata, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import competition, config
from builder.competition import targets
from builder.config import TABLES, CrossValidation, Data
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX
from builder.train import folds

from . import competitions

FILE = "train.csv"
LINKS = {CLASSES: SOFTMAX, MULTILABEL: SIGMOID, NUMBERS: IDENTITY}


def table(**cells):
    rows = len(next(iter(cells.values())))
    return pd.DataFrame({"id": [f"r{row}" for row in range(rows)], **cells}, dtype=object)


def read(truth, **cells):
    names = tuple(cells)
    return targets.read(Data(id="id", target=names, truth=truth), table(**cells), FILE)


KINDS = {
    "classes": (CLASSES, {"y": ["b", "a", "10"]}, [("", ("10", "a", "b"))], [2, 1, 0]),
    "whole numbers": (CLASSES, {"y": ["10", "9", "-1"]}, [("", ("-1", "9", "10"))], [2, 1, 0]),
    "heads": (
        CLASSES,
        {"kind": ["cat", "dog", "cat"], "size": ["10", "9", "10"]},
        [("kind", ("cat", "dog")), ("size", ("9", "10"))],
        [[0, 1], [1, 0], [0, 1]],
    ),
    "columns of labels": (
        MULTILABEL,
        {"p": ["0", "1", "0"], "q": ["1.0", "0.0", "True"]},
        [("", ("p", "q"))],
        [[0, 1], [1, 0], [0, 1]],
    ),
    "names of labels": (MULTILABEL, {"y": ["b a", "", " c  a "]}, [("", ("a", "b", "c"))], [[1, 1, 0], [0, 0, 0], [1, 0, 1]]),
    "names that are numbers": (MULTILABEL, {"y": ["0 1", "1", "1 1"]}, [("", ("0", "1"))], [[1, 1], [0, 1], [0, 1]]),
    "names like a list": (MULTILABEL, {"y": ['["0","1"]', "[a", "x"]}, [("", ('["0","1"]', "[a", "x"))], np.eye(3).tolist()),
    "classes and numbers": (
        {"size": NUMBERS},
        {"kind": ["cat", "dog", "cat"], "size": ["1.5", "2", "-1"], "old": ["0", "1", "1"]},
        [("kind", ("cat", "dog")), ("size", ("size",)), ("old", ("0", "1"))],
        [[0, 1.5, 0], [1, 2, 1], [0, -1, 1]],
    ),
    "a number": (NUMBERS, {"y": ["1.5", "-2", "1e1"]}, [("", ("y",))], [[1.5], [-2.0], [10.0]]),
    "numbers": (NUMBERS, {"y": ["1", "2"], "z": ["0.5", "0"]}, [("", ("y", "z"))], [[1.0, 0.5], [2.0, 0.0]]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_truth_is_read_and_made_again_from_its_texts(kind):
    truth, cells, heads, y = KINDS[kind]
    found = read(truth, **cells)
    assert [(head.name, head.classes) for head in found.heads] == heads
    kinds = {head.name: truth.get(head.name, CLASSES) if isinstance(truth, dict) else truth for head in found.heads}
    assert {head.name: head.link for head in found.heads} == {name: LINKS[kind] for name, kind in kinds.items()}
    assert found.y.tolist() == y
    assert found.y.dtype == (np.float64 if NUMBERS in kinds.values() else np.int64)
    again = targets.parse(found.told, found.heads)
    assert (again == found.y).all()
    assert again.dtype == found.y.dtype
    assert targets.parse((), found.heads).shape == (0, *found.y.shape[1:])


def test_numbers_are_standardised_by_their_head():
    (head,) = read(NUMBERS, y=["1", "3", "5"], z=["0", "0", "3"]).heads
    assert head.offset == pytest.approx((3.0, 1.0))
    assert head.spread == pytest.approx((np.std([1, 3, 5]), np.std([0, 0, 3])))


def test_a_single_column_of_classes_is_told_as_it_is_written():
    """A version's folds.csv holds these texts: of one class per row nothing may change."""
    assert read(CLASSES, y=["[1, 2]", " b ", "é"]).told == ("[1, 2]", " b ", "é")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=2), min_size=4, max_size=12))
def test_any_text_is_a_class(rows):
    cells = {name: [row[at] for row in rows] + [f"other{at}"] for at, name in enumerate(("kind", "size"))}
    if all(len(set(column)) > 1 for column in cells.values()):
        found = read(CLASSES, **cells)
        assert (targets.parse(found.told, found.heads) == found.y).all()
        for at, head in enumerate(found.heads):
            assert [head.classes[code] for code in found.y[:, at]] == cells[head.name]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.text(alphabet='a[]"01, ', max_size=8), max_size=3), min_size=3, max_size=9))
def test_any_names_are_labels(rows):
    cells = [" ".join(row) for row in rows] + ["x", "y"]
    found = read(MULTILABEL, tags=cells)
    assert (targets.parse(found.told, found.heads) == found.y).all()
    for row, cell in zip(found.y, cells, strict=True):
        assert {name for name, there in zip(found.heads[0].classes, row, strict=True) if there} == set(cell.split())


FAULTS = {
    "one class": (CLASSES, {"y": ["a", "a"]}, ("fewer than two classes", "'a'")),
    "one class of a head": (CLASSES, {"x": ["a", "b"], "y": ["a", "a"]}, ("fewer than two classes", "column 'y'")),
    "one label": (MULTILABEL, {"y": ["a", ""]}, ("column 'y' has fewer than two labels", "a")),
    "no label": (MULTILABEL, {"y": ["", ""]}, ("column 'y' has fewer than two labels", "nothing")),
    "a label that is neither": (MULTILABEL, {"x": ["0", "1"], "y": ["0", "2"]}, ("column 'y'", "'2'", "0 or 1")),
    "a share of a label": (MULTILABEL, {"x": ["0", "0.5"], "y": ["0", "1"]}, ("column 'x'", "'0.5'", "numbers")),
    "a label that nobody told": (MULTILABEL, {"x": ["0", "1"], "y": ["", "1"]}, ("column 'y'", "''", "0 or 1")),
    "a label that is never there": (MULTILABEL, {"x": ["0", "1"], "y": ["0", "0"]}, ("column 'y'", "0 in every row")),
    "a label that is always there": (MULTILABEL, {"x": ["1", "1"], "y": ["0", "1"]}, ("column 'x'", "1 in every row")),
    "a text among numbers": ({"y": NUMBERS}, {"x": ["a", "b"], "y": ["2", "much"]}, ("column 'y'", "'much', id r1")),
    "one class beside numbers": ({"y": NUMBERS}, {"x": ["a", "a"], "y": ["2", "3"]}, ("column 'x'", "fewer than two classes")),
    "a text": (NUMBERS, {"x": ["0", "1"], "y": ["2", "much"]}, ("column 'y'", "'much', id r1", "a finite number")),
    "not a number": (NUMBERS, {"y": ["2", "nan"]}, ("column 'y'", "'nan', id r1")),
    "infinite": (NUMBERS, {"y": ["-inf", "2"]}, ("column 'y'", "'-inf', id r0")),
    "too large to be answered": (NUMBERS, {"y": ["2", "1e39"]}, ("column 'y'", "'1e39', id r1")),
    "always the same": (NUMBERS, {"y": ["2", "2.0"]}, ("column 'y'", "2 in every row", "hooks.submission")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_cells_that_are_no_such_truth_are_refused_by_name(fault):
    truth, cells, words = FAULTS[fault]
    with pytest.raises(UserError) as caught:
        read(truth, **cells)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.file == FILE
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("truth", "cells", "told"),
    [
        (CLASSES, {"y": ["a", "b"]}, "c"),
        (CLASSES, {"x": ["a", "b"], "y": ["a", "b"]}, "a"),
        (CLASSES, {"x": ["a", "b"], "y": ["a", "b"]}, '["a", "c"]'),
        (CLASSES, {"x": ["a", "b"], "y": ["a", "b"]}, '["a", "b", "a"]'),
        (MULTILABEL, {"y": ["a", "b"]}, "a c"),
        (MULTILABEL, {"x": ["0", "1"], "y": ["0", "1"]}, '["0", "2"]'),
        (MULTILABEL, {"x": ["0", "1"], "y": ["0", "1"]}, '["0", "1", "1"]'),
        (NUMBERS, {"y": ["1", "2"]}, "many"),
        (NUMBERS, {"x": ["0", "1"], "y": ["0", "1"]}, "7"),
    ],
)
def test_a_text_that_the_heads_do_not_know_is_refused(truth, cells, told):
    found = read(truth, **cells)
    with pytest.raises(UserError, match="does not know"):
        targets.parse((*found.told, told), found.heads)


# -- folds ---------------------------------------------------------------------------------------------------------------

SPREADS = {
    "rare labels": (MULTILABEL, lambda draw: draw.random((400, 12)) < draw.choice([0.001, 0.01, 0.4], 12)),
    "no labels at all in most rows": (MULTILABEL, lambda draw: draw.random((300, 3)) < 0.02),
    "every row the rarest label": (MULTILABEL, lambda _: np.eye(60, 4) + (np.arange(60) < 2)[:, None] > 0),
    "few rows": (MULTILABEL, lambda draw: draw.random((9, 4)) < 0.5),
    "a scale": (NUMBERS, lambda draw: draw.normal(size=(1000, 2))),
    "mostly nothing": (NUMBERS, lambda draw: np.where(draw.random((200, 1)) < 0.95, 0.0, draw.normal(size=(200, 1)))),
    "few numbers": (NUMBERS, lambda draw: draw.normal(size=(12, 1))),
}


@pytest.mark.parametrize("many", [2, 5, 50])
@pytest.mark.parametrize("spread", SPREADS)
def test_folds_of_labels_and_numbers_can_always_be_stratified(spread, many):
    truth, make = SPREADS[spread]
    y = make(np.random.default_rng(4))
    head = targets.Head("", LINKS[truth], tuple(f"c{column}" for column in range(y.shape[1])))
    found = targets.strata((head,), y if truth == NUMBERS else y.astype(np.int64))
    counts = np.bincount(found)
    assert found.shape == (len(y),)
    assert counts.min() >= min(targets.LEAST, len(y))
    if len(y) >= many:
        folds.assign(found, CrossValidation(folds=many))


def test_a_thousand_numbers_are_spread_by_their_tenths():
    y = np.random.default_rng(1).permutation(1000).astype(np.float64)[:, None]
    head = targets.Head("", IDENTITY, ("y",))
    found = targets.strata((head,), y)
    assert np.bincount(found).tolist() == [100] * 10
    assert (np.diff(found[np.argsort(y[:, 0])]) >= 0).all()
    assigned = folds.assign(found, CrossValidation(folds=5))
    means = [y[assigned == fold].mean() for fold in range(5)]
    assert max(means) - min(means) < 20, "folds of a drawn order differ by about 30"


def test_classes_are_their_own_strata_however_rare():
    heads = read(CLASSES, kind=["a", "b", "a"], size=["1", "2", "3"]).heads
    assert targets.strata(heads, np.array([[0, 2], [1, 0], [0, 1]])).tolist() == [0, 1, 0]
    assert targets.strata(heads[:1], np.array([0, 1, 0])).tolist() == [0, 1, 0]


# -- of a kernel.toml --------------------------------------------------------------------------------------------------------


def rows_of(folder, head, rows, more):
    competitions.table(folder / "data" / "train.csv", ["id", "x", *head], ([f"r{n}", str(n), *row] for n, row in enumerate(rows)))
    competitions.table(folder / "data" / "test.csv", ["id", "x"], [["t0", "1"]])
    (folder / "kernel.toml").write_text(
        f'[competition]\nslug = "tiny"\n{more[0]}\n[data]\ntask = "{TABLES}"\nid = "id"\n{more[1]}\n'
        '[[model]]\nname = "one"\nbackbone = "table/mlp"\n'
    )
    return competition.train_rows(config.load(folder), folder / "data")


def test_rows_know_their_heads_and_no_row_tells_a_target(tmp_path):
    more = ('metric = "kind=accuracy, size=f1_macro"', 'target = ["kind", "size"]')
    rows = rows_of(tmp_path, ["kind", "size"], [("cat", "2"), ("dog", "1"), ("cat", "1"), ("cat", "1")], more)
    assert rows.classes == ("cat", "dog", "1", "2")
    assert rows.prior == (0.75, 0.25, 0.75, 0.25)
    assert rows.y.tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]
    assert rows.strata.tolist() == [0, 1, 0, 0]
    assert rows.cells[0] == {"id": "r0", "x": "0"}


def test_a_row_without_labels_is_one_and_a_row_without_a_number_is_none(tmp_path):
    labels = [("a b",), ("",), ("b",)]
    rows = rows_of(tmp_path / "a", ["tags"], labels, ('metric = "f1_samples"', 'target = "tags"\ntruth = "multilabel"'))
    assert rows.y.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert rows.prior == pytest.approx((1 / 3, 2 / 3))
    numbers = [("1.5", "2"), ("2.5", "")]
    with pytest.raises(UserError, match="1 rows have no label") as caught:
        rows_of(tmp_path / "b", ["x1", "x2"], numbers, ('metric = "rmse"', 'target = ["x1", "x2"]\ntruth = "numbers"'))
    assert caught.value.found == "id r1, column 'x2'"


def test_a_target_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.target names a column") as caught:
        rows_of(tmp_path, ["kind", "size"], [("a", "b"), ("b", "a")], ("", 'target = ["kind", "sise"]'))
    assert "'size'" in caught.value.remedy


def test_of_classes_and_numbers_the_first_classes_are_strata_and_each_has_its_own_prior():
    found = read({"z": NUMBERS}, z=["4", "1", "1", "2"], kind=["a", "b", "b", "b"], size=["s", "m", "s", "m"])
    assert targets.strata(found.heads, found.y).tolist() == [0, 1, 1, 1]
    assert targets.prior(found.heads, found.y) == (2.0, 0.25, 0.75, 0.5, 0.5)
    number = found.heads[0]
    assert (number.offset, number.spread) == ((2.0,), (pytest.approx(np.std([4, 1, 1, 2])),))
