"""Boosted trees: they learn, from their own rows alone, the same bytes each time; arguments are checked; files are read back."""

import numpy as np
import pytest

from builder.errors import ConfigError, UserError
from builder.runtime import backends
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


def target(classes=2):
    return np.digitize(SCORE, np.quantile(SCORE, np.arange(1, classes) / classes)).astype(np.int64)


def fitted(kind, codes=None, rows=LEARN, classes=2, seed=0, material=MATERIAL, **arguments):
    return boosting.fit(kind, RECIPE, material, target(classes) if codes is None else codes, rows, classes, seed, arguments)


SLOWER = [boosting.KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in boosting.KINDS[1:])]


@pytest.mark.parametrize("classes", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", boosting.KINDS)
def test_what_was_learned_holds_for_rows_that_were_not_seen(kind, classes):
    found = boosting.probabilities(fitted(kind, classes=classes), ARRAY[HELD])
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
    expected = boosting.probabilities(booster, ARRAY)
    np.testing.assert_array_equal(boosting.probabilities(boosting.load(path), ARRAY), expected)
    np.testing.assert_array_equal(backends.open(path, "cpu", 2, kind).run({"table": ARRAY}), expected)
    for at in (0, 7):
        np.testing.assert_array_equal(boosting.probabilities(booster, ARRAY[at : at + 1]), expected[at : at + 1])


@pytest.mark.parametrize("kind", SLOWER)
def test_noise_is_not_learned_by_heart(kind):
    codes = np.random.default_rng(0).integers(0, 2, ROWS)
    found = boosting.probabilities(fitted(kind, codes), ARRAY[HELD])
    loss = -np.log(found[np.arange(len(HELD)), codes[HELD]]).mean()
    assert loss < np.log(2) * 1.1


@pytest.mark.parametrize("kind", boosting.KINDS)
def test_few_rows_and_rows_of_one_class_are_learned_from(kind):
    for rows in (LEARN[:7], LEARN[target()[LEARN] == 1]):
        assert np.isfinite(boosting.probabilities(fitted(kind, rows=rows), ARRAY)).all()
    absent = boosting.probabilities(fitted(kind, target(3), rows=LEARN[target(3)[LEARN] != 1], classes=3), ARRAY)
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
