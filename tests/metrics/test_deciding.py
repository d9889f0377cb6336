"""A decision is fitted on out-of-fold predictions, and taken only if the folds that were not looked at say so."""

import numpy as np
import pytest

from builder import metrics
from builder.metrics import deciding, searching
from builder.runtime.decide import Decision, apply

ROWS = 1500
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def rare():
    """Two classes, of which the second is rare: at one half few rows would be of it."""
    random = np.random.default_rng(0)
    z = random.normal(size=ROWS)
    y, p = (z + random.normal(size=ROWS) > 1.8).astype(int), 1 / (1 + np.exp(3.2 - 2 * z))
    return y, np.column_stack([1 - p, p]), random.integers(0, 5, ROWS)


@pytest.fixture(scope="module")
def grades():
    """Five grades, and probabilities that are too wide."""
    random = np.random.default_rng(1)
    z = random.normal(size=ROWS)
    y = np.digitize(z, [-1.0, 0.0, 1.5, 2.0])
    q = z + 0.7 * random.normal(size=ROWS)
    p = np.exp(-((q[:, None] - np.array([-1.5, -0.5, 0.7, 1.8, 2.5])) ** 2))
    return y, p / p.sum(axis=1, keepdims=True), random.integers(0, 5, ROWS)


@pytest.fixture(scope="module")
def labels():
    random = np.random.default_rng(2)
    z = random.normal(size=(ROWS, 4)) - [2.0, 1.0, 2.0, 0.0]
    p = 1 / (1 + np.exp(-z))
    return (random.random(p.shape) < p).astype(int), p, random.integers(0, 5, ROWS)


def worth(name, case, **more):
    metric, (y, p, folds) = metrics.get(name), case
    fitted = deciding.fit(metric, y, p, folds, **more)
    assert fitted == deciding.fit(metric, y, p, folds, **more), "the same every time"
    assert Decision.from_json(fitted.decision.to_json()) == fitted.decision
    return fitted, metric.gain(fitted.after, fitted.before)


@pytest.mark.parametrize("name", ["f1", "mcc", "balanced_accuracy", "f1_macro", "kappa"])
def test_a_threshold_for_a_rare_class(rare, name):
    fitted, gain = worth(name, rare)
    assert fitted.decision.kind == "threshold"
    assert 0 < fitted.decision.steps[0].values[0] < 0.5
    assert gain > 0.01


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param("kappa", "cuts", marks=slow), ("f1_macro", "argmax"), pytest.param("mcc", "argmax", marks=slow)],
)
def test_cuts_and_weights_for_grades(grades, name, kind):
    fitted, gain = worth(name, grades)
    assert fitted.decision.kind == kind
    assert gain > 0


def test_cuts_of_one_number(grades):
    y, p, folds = grades
    numbers = 0.5 * (p @ np.arange(5.0)) + 1.0  # too narrow: the plain cuts at halves are wrong
    fitted, gain = worth("kappa", (y, numbers[:, None], folds))
    assert fitted.decision.kind == "cuts"
    assert gain > 0.05


@pytest.mark.parametrize("name", ["f1_macro", *(pytest.param(n, marks=slow) for n in ("f1_micro", "f1_samples", "mean(mcc)"))])
def test_a_threshold_for_each_label(labels, name):
    fitted, gain = worth(name, labels)
    assert fitted.decision.kind == "thresholds"
    assert len(fitted.decision.steps[0].values) == 4
    assert gain > 0.02


def test_every_row_has_a_label_where_a_cell_must_not_be_empty(labels):
    _, p, _ = labels
    fitted, _ = worth("f1_micro", labels, least=1)
    assert apply(fitted.decision, p).any(axis=1).all()


@pytest.mark.parametrize("name", ["accuracy", "logloss", "auc"])
def test_what_needs_no_decision_gets_the_plain_one(grades, name):
    y, p, _ = grades
    fitted, gain = worth(name, grades)
    assert gain == 0
    assert fitted.decision == deciding.plain(metrics.get(name), y, p.shape[1])


def test_a_decision_that_only_fits_the_rows_it_was_made_from_is_not_taken():
    random = np.random.default_rng(3)
    y, p = random.integers(0, 3, 60), random.dirichlet(np.ones(3), 60)
    for name in ("mcc", "f1_macro", "balanced_accuracy", "kappa"):
        fitted = deciding.fit(metrics.get(name), y, p, np.arange(60) % 5)
        assert fitted.after >= fitted.before
        if fitted.after == fitted.before:
            assert fitted.decision.steps[0].values == ()


def test_numbers_go_into_the_range_of_the_targets_and_whole_ones_are_rounded():
    random = np.random.default_rng(4)
    y = random.poisson(2.0, ROWS).astype(float)
    p = (y + 0.3 * random.normal(size=ROWS) - 0.2)[:, None]
    assert p.min() < 0
    fitted = deciding.fit(metrics.get("rmsle"), y, p, np.arange(ROWS) % 5)
    assert fitted.before is None
    assert fitted.after is not None
    assert apply(fitted.decision, p).min() == 0
    rounded = deciding.fit(metrics.get("mae"), y, p, np.arange(ROWS) % 5)
    assert [step.kind for step in rounded.decision.steps] == ["clip", "round"]
    assert rounded.after < rounded.before


def test_rmsle_is_kept_from_negative_numbers_that_only_the_test_has():
    y = np.array([0.5, 1.5, 2.5, 3.5] * 5)
    fitted = deciding.fit(metrics.get("rmsle"), y, y[:, None] * 0.9 + 0.2, np.arange(20) % 5)
    assert apply(fitted.decision, np.array([[-3.0]])).tolist() == [[0.5]]


def test_a_ranking_is_the_top_of_it(labels):
    fitted, _ = worth("map@2", labels)
    assert apply(fitted.decision, labels[1]).shape == (ROWS, 2)


@pytest.mark.parametrize("name", ["accuracy", "f1", "f1_macro", "mcc", "balanced_accuracy", "kappa", "logloss", "auc"])
@pytest.mark.parametrize(
    ("y", "p"),
    [
        (np.zeros(10, int), np.full((10, 2), 0.5)),
        (np.ones(10, int), np.full((10, 2), 0.5)),
        (np.arange(10) % 2, np.full((10, 2), 0.5)),
        (np.array([0] * 9 + [1]), np.eye(2)[[0] * 9 + [1]]),
        (np.array([1]), np.array([[0.2, 0.8]])),
        (np.arange(10) % 2, np.full((10, 2), np.nan)),
    ],
    ids=["zeros", "ones", "constant", "one-row-of-a-class", "one-row", "nothing-predicted"],
)
def test_degenerate_rows_give_something_sensible(name, y, p):
    fitted = deciding.fit(metrics.get(name), y, p, np.arange(len(y)) % 3)
    again = apply(fitted.decision, np.array([[0.9, 0.1], [0.1, 0.9]]))
    assert len(again) == 2
    assert np.isfinite(again).all()
    assert all(score is None or np.isfinite(score) for score in (fitted.before, fitted.after))


@pytest.mark.parametrize("name", ["f1_macro", "f1_micro", "f1_samples", "mean(f1)", "mean(mcc)", "dice"])
@pytest.mark.parametrize("value", [0, 1])
def test_degenerate_labels_too(name, value):
    fitted = deciding.fit(metrics.get(name), np.full((8, 3), value), np.full((8, 3), 0.4), np.zeros(8, int))
    assert apply(fitted.decision, np.full((2, 3), 0.4)).shape == (2, 3)


def test_one_fold_is_cut_into_parts(rare):
    y, p, _ = rare
    fitted = deciding.fit(metrics.get("f1"), y, p, np.zeros(len(y), int))
    assert fitted.after > fitted.before


def test_rows_that_nobody_predicted_do_not_count(rare):
    y, p, folds = rare
    gone = p.copy()
    gone[::3] = np.nan
    known = np.isfinite(gone).all(axis=1)
    expected = deciding.fit(metrics.get("f1"), y[known], p[known], folds[known])
    assert deciding.fit(metrics.get("f1"), y, gone, folds) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 50, 5000])
def test_candidates_lie_between_the_values_and_around_them(count):
    values = np.random.default_rng(0).random(count).round(3)
    found = searching.between(values, 32)
    assert found[0] <= values.min()
    assert found[-1] > values.max()
    assert len(found) <= 40
    assert (np.diff(found) > 0).all()
