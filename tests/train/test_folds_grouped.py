"""Folds that keep groups together, and folds that are predicted from the past."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.config import CrossValidation
from builder.errors import UserError
from builder.train import folds

GROUPED = ["group", "stratified-group"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(2, 5), scheme=st.sampled_from(GROUPED), data=st.data())
def test_a_group_is_in_one_fold_and_every_fold_has_rows(seed, count, scheme, data):
    groups = [f"g{number % 17}" for number in data.draw(st.lists(st.integers(0, 999), min_size=80, max_size=120))]
    if len(set(groups)) < 12:
        groups += [f"g{number}" for number in range(17)]
    codes = np.arange(len(groups)) % 2
    found = folds.assign(codes, CrossValidation(scheme=scheme, folds=count, seed=seed), groups)
    assert all(len(set(found[np.array(groups) == group])) == 1 for group in set(groups))
    assert set(found.tolist()) == set(range(count))


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=10, max_size=60), count=st.integers(2, 5), seed=st.integers(0, 99))
def test_groups_of_any_sizes_make_folds_that_differ_by_one_group_at_most(sizes, count, seed):
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    found = folds.assign(np.arange(len(groups)) % 2, CrossValidation(scheme="group", folds=count, seed=seed), groups)
    rows = np.bincount(found, minlength=count)
    assert rows.max() - rows.min() <= max(sizes)


def test_stratified_groups_share_each_class_about_evenly():
    groups = [str(row // 4) for row in range(400)]
    codes = np.array([int(row // 4 % 5 == 0) for row in range(400)])
    found = folds.assign(codes, CrossValidation(scheme="stratified-group", folds=5, seed=3), groups)
    shares = [codes[found == fold].mean() for fold in range(5)]
    assert max(shares) - min(shares) < 0.03


@pytest.mark.parametrize("scheme", GROUPED)
def test_the_seed_decides_about_groups_and_their_names_do_not(scheme):
    groups = [f"g{row // 3}" for row in range(90)]
    codes = np.arange(90) % 2
    first = folds.assign(codes, CrossValidation(scheme=scheme, seed=1), groups)
    np.testing.assert_array_equal(first, folds.assign(codes, CrossValidation(scheme=scheme, seed=1), list(groups)))
    assert (first != folds.assign(codes, CrossValidation(scheme=scheme, seed=2), groups)).any()


@pytest.mark.parametrize("scheme", GROUPED)
def test_fewer_groups_than_folds_are_refused(scheme):
    with pytest.raises(UserError, match="fewer groups than folds") as caught:
        folds.assign(np.arange(30) % 2, CrossValidation(scheme=scheme, folds=4), [str(row % 3) for row in range(30)])
    assert "3 groups, 4 folds" in caught.value.found
    assert "data.group" in caught.value.remedy


@pytest.mark.parametrize(("scheme", "key"), [("group", "group"), ("stratified-group", "group"), ("time", "time")])
@pytest.mark.parametrize("given_", [None, (), ("a",)])
def test_what_folds_are_made_by_must_be_there_for_every_row(scheme, key, given_):
    with pytest.raises(UserError, match=f"folds need the {key}") as caught:
        folds.assign(np.arange(30) % 2, CrossValidation(scheme=scheme, folds=3), given_, given_)
    assert f"data.{key}" in caught.value.remedy


@pytest.mark.parametrize("scheme", GROUPED)
def test_a_group_that_is_most_of_the_rows_leaves_no_fold_empty(scheme):
    groups = ["big"] * 60 + ["a", "b", "c", "d"]
    found = folds.assign(np.array([0, 1] * 32), CrossValidation(scheme=scheme, folds=4), groups)
    assert set(found.tolist()) == set(range(4))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 5), moments=st.lists(st.integers(0, 30), min_size=40, max_size=90))
def test_what_is_learned_from_is_earlier_than_what_is_predicted(count, moments):
    times = np.array(moments)
    codes = np.arange(len(times)) % 2
    cv = CrossValidation(scheme="time", folds=count)
    if len(set(moments)) <= count:
        with pytest.raises(UserError, match="too few different times"):
            folds.assign(codes, cv, times=[str(time) for time in moments])
        return
    found = folds.assign(codes, cv, times=[str(time) for time in moments])
    assert set(found.tolist()) == {folds.NEVER, *range(count)}
    for fold in range(count):
        learned = folds.seen(found, fold, "time")
        assert learned.any()
        assert times[learned].max() < times[found == fold].min()
        assert not (learned & (found == fold)).any()


def test_blocks_of_time_are_about_equal():
    found = folds.assign(
        np.zeros(600, dtype=np.int64), CrossValidation(scheme="time", folds=5), times=[str(i) for i in range(600)]
    )
    assert np.bincount(found + 1).tolist() == [100] * 6


@pytest.mark.parametrize("scheme", ["stratified", "random", *GROUPED])
def test_other_schemes_learn_from_all_other_rows(scheme):
    found = np.array([0, 1, 2, 1, -1])
    assert folds.seen(found, 1, scheme).tolist() == [True, False, True, False, True]
    assert folds.seen(found, 1, "time").tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    "times",
    [
        ("2024-01-31", "2024-02-01", "2024-02-01 12:00", "2024-10-02", "2025-01-01"),
        ("2024-01-31T10:00:00Z", "2024-01-31T12:00:00+01:00", "2024-01-31T12:00:00Z", "2024-02-01", "2025-01-01"),
        ("-3", "2", "10", "1e2", "1000.5"),
        ("1912", "1999", "2000", "2024", "2025"),
    ],
)
def test_times_are_ordered_as_times_and_not_as_text(times):
    cv = CrossValidation(scheme="time", folds=4)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        found = folds.assign(np.zeros(5, dtype=np.int64), cv, times=[times[place] for place in order])
        assert found.tolist() == [place - 1 for place in order]


@pytest.mark.parametrize("odd", ["", "soon", "nan", "NaT", "inf", "31/12/2024", "2024-13-01"])
def test_what_is_no_time_is_refused(odd):
    for rest in (["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"], ["1", "2", "3", "4"]):
        with pytest.raises(UserError, match=r"data\.time") as caught:
            folds.assign(np.zeros(5, dtype=np.int64), CrossValidation(scheme="time", folds=2), times=[*rest, odd])
        assert caught.value.remedy
