"""Boosted trees: they learn, from their own rows alone, the same bytes each time; arguments are checked; files are read back."""

import numpy as np
import pytest

from builder.errors import ConfigError, UserError
from builder.runtime import backends
from builder.runtime.contract import Head
from builder.runtime.heads import single, slices
from builder.runtime.tables import Table
from builder.train import boosting

RNG = np.random.default_rng(11)
ROWS = 400
ARRAY = RNG.standard_normal((ROWS, 5)).astype(np.float32)
ARRAY[::6, 2] = np.nan
ARRAY[:, 4] = RNG.integers(0, 6, ROWS)
SCORE = ARRAY[:, 0] + ARRAY[:, 1] * (ARRAY[:, 4] > 2) + 0.3 * RNG.standard_normal(ROWS)
RECIPE = {"features": [*({"name": str(place)} for place in range(4)), {"name": "4", "values": list("abcdef")}]}
MATERIAL = Table(ARRAY)
LEARN, HELD = np.arange(0, ROWS, 2), np.arange(1, ROWS, 2)
FEW = {"num_boost_round": 20}


def of(classes):
    return single([str(code) for code in range(classes)])


def target(classes=2):
    return np.digitize(SCORE, np.quantile(SCORE, np.arange(1, classes) / classes)).astype(np.int64)


def answered(booster, table, heads=None):
    return boosting.answers(booster, table, heads or of(booster.answer(table[:1]).shape[1]))


def fitted(kind, codes=None, rows=LEARN, classes=2, seed=0, material=MATERIAL, **arguments):
    return boosting.fit(kind, RECIPE, material, target(classes) if codes is None else codes, rows, of(classes), seed, arguments)


SLOWER = [boosting.KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in boosting.KINDS[1:])]


@pytest.mark.parametrize("classes", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", boosting.KINDS)
def test_what_was_learned_holds_for_rows_that_were_not_seen(kind, classes):
    found = answered(fitted(kind, classes=classes), ARRAY[HELD])
    assert found.dtype == np.float32
    assert found.shape == (len(HELD), classes)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found.argmax(axis=1) == target(classes)[HELD]).mean() > {2: 0.8, 4: 0.5}[classes]


@pytest.mark.parametrize("kind", SLOWER)
def test_only_the_given_rows_are_looked_at(kind):
    other, codes = ARRAY.copy(), target()
    other[HELD], codes[HELD] = -7, 1 - codes[HELD]
    assert fitted(kind, codes, material=Table(other)).data == fitted(kind).data


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_model(kind):
    one = fitted(kind, seed=3, **FEW)
    assert fitted(kind, seed=3, **FEW).data == one.data
    assert fitted(kind, seed=4, **FEW).data != one.data


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", boosting.KINDS)
def test_home_reads_its_file_back_and_the_notebook_answers_bit_for_bit_the_same(tmp_path, kind, classes):
    booster = fitted(kind, classes=classes, **FEW)
    path = tmp_path / f"trees-f0{boosting.SUFFIXES[kind]}"
    boosting.save(booster, path)
    expected = answered(booster, ARRAY)
    np.testing.assert_array_equal(answered(boosting.load(path), ARRAY), expected)
    np.testing.assert_array_equal(backends.open(path, "cpu", 2, kind).run({"table": ARRAY}), expected)
    for at in (0, 7):
        np.testing.assert_array_equal(answered(booster, ARRAY[at : at + 1]), expected[at : at + 1])


@pytest.mark.parametrize("kind", SLOWER)
def test_noise_is_not_learned_by_heart(kind):
    codes = np.random.default_rng(0).integers(0, 2, ROWS)
    found = answered(fitted(kind, codes), ARRAY[HELD])
    loss = -np.log(found[np.arange(len(HELD)), codes[HELD]]).mean()
    assert loss < np.log(2) * 1.1


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_few_rows_and_rows_of_one_class_are_learned_from(kind):
    for rows in (LEARN[:7], LEARN[target()[LEARN] == 1]):
        assert np.isfinite(answered(fitted(kind, rows=rows), ARRAY)).all()
    absent = answered(fitted(kind, target(3), rows=LEARN[target(3)[LEARN] != 1], classes=3), ARRAY)
    assert np.isfinite(absent).all()
    assert absent[:, 1].mean() < 0.1


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_arguments_are_the_packages_own_and_take_the_place_of_defaults(kind):
    known = fitted(kind, n_estimators=3, learning_rate=0.5, max_depth=2)
    assert known.data != fitted(kind, num_boost_round=3).data
    assert known.data == fitted(kind, num_boost_round=3, eta=0.5, max_depth=2).data


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("lightgbm", {"num_leafs": 3}, "did you mean 'num_leaves'"),
        ("xgboost", {"max_dept": 3}, "did you mean 'max_depth'"),
        ("xgboost", {"num_leaves": 3}, "no argument 'num_leaves'"),
        ("lightgbm", {"objective": "poisson"}, "no argument 'objective'"),
        ("lightgbm", {"num_boost_round": 0}, "whole number"),
        ("xgboost", {"n_estimators": 2.5}, "whole number"),
        ("lightgbm", {"eta": 0.1, "learning_rate": 0.1}, "say the same"),
        ("lightgbm", {"num_leaves": -5}, "cannot be trained"),
        ("lightgbm", {"bagging_fraction": "much"}, "cannot be trained"),
        ("xgboost", {"subsample": 7.0}, "cannot be trained"),
        ("xgboost", {"max_depth": "deep"}, "cannot be trained"),
    ],
)
def test_arguments_that_are_not_known_or_impossible_are_told(kind, arguments, told):
    with pytest.raises(ConfigError, match=told):
        fitted(kind, **arguments)


def test_files_that_are_no_models_are_told(tmp_path):
    with pytest.raises(UserError, match="no boosted model"):
        boosting.load(tmp_path / "there-is-none.lgb.txt")
    (tmp_path / "m.xgb.json").write_bytes(b'{"learner": 7}')
    with pytest.raises(UserError, match="xgboost cannot read the file"):
        boosting.load(tmp_path / "m.xgb.json")
    with pytest.raises(ValueError, match=r"end in \.lgb\.txt"):
        boosting.save(fitted("lightgbm", **FEW), tmp_path / "m.xgb.json")


LABELS = (Head("", "sigmoid", ("a", "b", "c")),)
NUMBER = (Head("", "identity", ("x",), (50.0,), (7.0,)),)
NUMBERS = (Head("", "identity", ("x", "y"), (50.0, -1e4), (7.0, 1e3)),)
HEADS = (Head("kind", "softmax", ("u", "v", "w")), Head("size", "softmax", ("big", "small")))
NUMBERED = np.stack([50 + 7 * SCORE, -1e4 - 1e3 * ARRAY[:, 1]], axis=1)
ANSWERED = [(kind, asked) for kind in ("xgboost", "lightgbm") for asked in (LABELS, NUMBER, NUMBERS)]


def truth(asked):
    if asked is LABELS:
        return np.stack([SCORE > 0, ARRAY[:, 0] > 0.5, ARRAY[:, 1] < -0.3], axis=1).astype(np.int64)
    return NUMBERED[:, : len(asked[0].classes)]


def grown(kind, asked, rows=LEARN, y=None, **arguments):
    return boosting.fit(kind, RECIPE, MATERIAL, truth(asked) if y is None else y, rows, asked, 0, arguments)


@pytest.mark.parametrize(("kind", "asked"), ANSWERED)
def test_labels_and_numbers_are_learned_and_read_back_bit_for_bit(tmp_path, kind, asked):
    booster, y = grown(kind, asked, num_boost_round=150), truth(asked)
    found = boosting.answers(booster, ARRAY, asked)
    assert found.shape == y.shape
    if asked is LABELS:
        assert ((found[HELD] > 0.5) == y[HELD]).mean() > 0.8
    else:
        assert (np.abs(found[HELD] - y[HELD]).mean(axis=0) < 0.6 * np.abs(y[HELD] - y.mean(axis=0)).mean(axis=0)).all()
    path = tmp_path / f"trees-f0{boosting.SUFFIXES[kind]}"
    boosting.save(booster, path)
    np.testing.assert_array_equal(boosting.answers(boosting.load(path), ARRAY, asked), found)
    np.testing.assert_array_equal(backends.open(path, "cpu", 2, kind).run({"table": ARRAY}, asked), found)
    np.testing.assert_array_equal(boosting.answers(booster, ARRAY[7:8], asked), found[7:8])


@pytest.mark.parametrize(("kind", "asked"), [ANSWERED[1], *(pytest.param(*one, marks=pytest.mark.slow) for one in ANSWERED)])
def test_how_many_trees_are_right_is_found_for_them_too(kind, asked):
    found = boosting.answers(grown(kind, asked), ARRAY, asked)
    few = boosting.answers(grown(kind, asked, num_boost_round=3), ARRAY, asked)
    errors = [np.abs(one[HELD] - truth(asked)[HELD]).mean() for one in (found, few)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize(("kind", "asked"), ANSWERED)
def test_few_rows_and_targets_that_never_change_are_answered(kind, asked):
    for rows in (LEARN[:7], LEARN[:3]):
        assert np.isfinite(boosting.answers(grown(kind, asked, rows), ARRAY, asked)).all()
    same = np.repeat(truth(asked)[:1], ROWS, axis=0)
    found = boosting.answers(grown(kind, asked, y=same), ARRAY, asked)
    assert np.isfinite(found).all()
    spread = np.array(asked[0].spread or 1.0)
    assert (np.abs(found - same) / spread).max() < 0.3


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_each_of_several_heads_is_learned_as_if_it_were_alone(tmp_path, kind):
    y = np.stack([target(3), ARRAY[:, 0] > 0.2], axis=1).astype(np.int64)
    booster = grown(kind, HEADS, y=y, **FEW)
    found = boosting.answers(booster, ARRAY, HEADS)
    for number, (head, place) in enumerate(zip(HEADS, slices(HEADS), strict=True)):
        alone = boosting.answers(grown(kind, single(head.classes), y=y[:, number], **FEW), ARRAY, single(head.classes))
        np.testing.assert_array_equal(found[:, place], alone)
    path = tmp_path / f"trees-f0{boosting.SUFFIXES[kind]}"
    boosting.save(booster, path)
    np.testing.assert_array_equal(boosting.answers(boosting.load(path), ARRAY, HEADS), found)
    np.testing.assert_array_equal(backends.open(path, "cpu", 2, kind).run({"table": ARRAY}, HEADS), found)
    assert grown(kind, HEADS, y=y, **FEW).data == booster.data, "equal arguments give equal bytes"


@pytest.mark.parametrize("asked", [LABELS, NUMBERS])
def test_each_label_and_number_of_lightgbm_is_learned_as_if_it_were_alone(asked):
    y, (head,) = truth(asked), asked
    found = boosting.answers(grown("lightgbm", asked, **FEW), ARRAY, asked)
    for place in range(y.shape[1]):
        if asked is LABELS:
            own, one = y[:, place], single("01")
        else:
            own, one = y[:, [place]], (Head("", head.link, ("z",), head.offset[place:][:1], head.spread[place:][:1]),)
        alone = boosting.answers(grown("lightgbm", one, y=own, **FEW), ARRAY, one)
        np.testing.assert_allclose(found[:, place], alone[:, -1], rtol=1e-6)


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_classes_and_numbers_are_learned_together(kind):
    heads = (NUMBER[0], HEADS[0])
    y = np.column_stack([NUMBERED[:, 0], target(3)])
    found = boosting.answers(grown(kind, heads, y=y, **FEW), ARRAY, heads)
    alone = boosting.answers(grown(kind, NUMBER, **FEW), ARRAY, NUMBER)
    np.testing.assert_array_equal(found[:, :1], alone)
    np.testing.assert_allclose(found[:, 1:].sum(axis=1), 1, atol=1e-6)
