"""Folds: every row once, classes even, the same each time, and written so that they are read back."""

import csv
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.config import CrossValidation
from builder.errors import UserError
from builder.train import folds, record


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999), rows=st.integers(12, 200), count=st.integers(2, 5), scheme=st.sampled_from(["stratified", "random"])
)
def test_every_row_is_held_out_exactly_once(seed, rows, count, scheme):
    codes = np.arange(rows) % 2
    found = folds.assign(codes, CrossValidation(scheme=scheme, folds=count, seed=seed))
    assert found.shape == (rows,)
    assert set(found.tolist()) == set(range(count))
    sizes = np.bincount(found)
    assert sizes.max() - sizes.min() <= (2 if scheme == "stratified" else 1)


@settings(max_examples=20)
@given(seed=st.integers(0, 999), count=st.integers(2, 5))
def test_stratified_folds_share_each_class_evenly(seed, count):
    codes = np.repeat([0, 1, 2], [50, 20, 7])
    found = folds.assign(codes, CrossValidation(folds=count, seed=seed))
    for code in range(3):
        counts = np.bincount(found[codes == code], minlength=count)
        assert counts.max() - counts.min() <= 1


def test_the_seed_decides_and_nothing_else():
    codes = np.arange(50) % 2
    first = folds.assign(codes, CrossValidation(seed=1))
    np.testing.assert_array_equal(first, folds.assign(codes.copy(), CrossValidation(seed=1)))
    assert (first != folds.assign(codes, CrossValidation(seed=2))).any()


def test_a_class_that_is_too_small_is_named_with_the_way_out():
    with pytest.raises(UserError, match="stratified") as caught:
        folds.assign(np.array([0] * 20 + [1] * 2), CrossValidation(folds=3))
    assert "2 rows and 3 folds" in caught.value.found
    assert "cv.folds" in caught.value.remedy
    folds.assign(np.array([0] * 20 + [1] * 2), CrossValidation(folds=3, scheme="random"))


def test_fewer_rows_than_folds_are_refused():
    with pytest.raises(UserError, match="fewer rows"):
        folds.assign(np.array([0, 1]), CrossValidation(folds=3, scheme="random"))


def test_the_file_is_read_back_whatever_is_in_the_ids(tmp_path):
    ids = ("007", "a,b", 'say "so"', "né e", " space")
    found = np.array([0, 1, 0, 1, 2])
    labels = ["x", "y,z", '"', "é", ""]
    (tmp_path / record.FOLDS).write_text(folds.to_csv(ids, found, labels), encoding="utf-8")
    again = record.read_folds(tmp_path / record.FOLDS)
    assert (again[0], again[2]) == (ids, tuple(labels))
    np.testing.assert_array_equal(again[1], found)
    with (tmp_path / record.FOLDS).open(newline="", encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == ["id", "fold", "target"]


@settings(max_examples=30)
@given(seed=st.integers(0, 999), count=st.integers(2, 5), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_strata_that_are_no_classes_may_be_as_rare_as_they_like(seed, count, sizes):
    """Rare combinations of labels, or few different numbers: rows are shared evenly, nothing is refused, nobody is warned."""
    codes = np.repeat(np.arange(len(sizes)), sizes)
    if len(codes) < count:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = folds.assign(codes, CrossValidation(folds=count, seed=seed), classes=False)
    per_fold = np.bincount(found, minlength=count)
    assert per_fold.max() - per_fold.min() <= len(sizes)
    assert per_fold.min() > 0


def test_a_class_with_too_few_rows_is_refused_and_a_label_with_too_few_is_not():
    codes = np.array([0] * 20 + [1])
    with pytest.raises(UserError, match="at least one row of each class per fold"):
        folds.assign(codes, CrossValidation(folds=3))
    assert len(folds.assign(codes, CrossValidation(folds=3), classes=False)) == 21
