"""Metrics: their direction, their value on known answers, and that a better prediction never scores worse."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import metrics
from builder.errors import UserError
from builder.metrics import CLASSES, LABELS, MULTILABEL, NUMBERS, PROBABILITIES, RANKING

FAMILIES = ("map@1", "map@3", "mean(rmse)", "mean(r2)", "mean(auc)", "mean(f1)", "mean(logloss)", "mean(accuracy)")
EVERY = [(name, truth) for name in (*metrics.METRICS, *FAMILIES) for truth in metrics.get(name).truths]
each = pytest.mark.parametrize(("name", "truth"), EVERY, ids=[f"{name}-{truth}" for name, truth in EVERY])
each_metric = pytest.mark.parametrize("name", sorted({name for name, _ in EVERY}))
TWO_CLASSES = {"f1"}
PENALTIES = {"logloss", "mean(logloss)", "rmse", "mae", "rmsle", "mean(rmse)"}


def truth_of(name, truth, seed=0, rows=24):
    random = np.random.default_rng(seed)
    if truth == NUMBERS:
        return np.abs(random.normal(size=(rows, 2)))
    if truth == MULTILABEL:
        return np.vstack([np.eye(3), np.roll(np.eye(3), 1, axis=0), random.integers(0, 2, (rows - 6, 3)) | [1, 0, 0]]).astype(int)
    return np.arange(rows) % (2 if name in TWO_CLASSES else 3)


def certain(y, truth):
    return np.eye(y.max() + 1)[y] if truth == CLASSES else y.astype(float)


def guess(y, truth, seed):
    random = np.random.default_rng(seed)
    if truth == NUMBERS:
        return np.abs(random.normal(size=y.shape))
    return random.dirichlet(np.ones(y.max() + 1), len(y)) if truth == CLASSES else random.random(y.shape)


@each
def test_certain_truth_is_the_best_score(name, truth):
    metric, y = metrics.get(name), truth_of(name, truth)
    best = metric(y, certain(y, truth))
    if not (name.startswith("map@1") and truth == MULTILABEL):
        assert best == pytest.approx(0.0 if name in PENALTIES else 1.0, abs=1e-9)
    for seed in range(5):
        assert metric.gain(best, metric(y, guess(y, truth, seed))) >= 0


@each_metric
def test_gain_is_positive_exactly_when_the_new_score_is_better(name):
    metric = metrics.get(name)
    assert metric.greater_is_better == (name not in PENALTIES)
    better, worse = (2.0, 1.0) if metric.greater_is_better else (1.0, 2.0)
    assert metric.gain(better, worse) == 1.0
    assert metric.gain(worse, better) == -1.0
    assert metric.gain(better, better) == 0.0


@each
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(name, truth, seed):
    metric, y = metrics.get(name), truth_of(name, truth, seed)
    p, order = guess(y, truth, seed), np.random.default_rng(seed).permutation(len(y))
    assert metric(y[order], p[order]) == pytest.approx(metric(y, p))


@each
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_precision_of_a_prediction_is_taken(name, truth, dtype):
    metric, y = metrics.get(name), truth_of(name, truth)
    p = guess(y, truth, 1)
    found = metric(y, p.astype(dtype))
    assert type(found) is float
    assert found == pytest.approx(metric(y, p), abs=1e-2)


@each
def test_what_is_missing_leaves_no_score_and_is_named(name, truth):
    metric, y = metrics.get(name), truth_of(name, truth)
    p = guess(y, truth, 1)
    p[3] = np.nan
    assert metric.or_none(y, p) is None
    with pytest.raises(metrics.UndefinedError) as caught:
        metric(y, p)
    assert caught.value.found == "1 of 24 rows, first row 4"
    assert metric.or_none(y[:0], p[:0]) is None


@each
def test_wrong_shapes_are_refused_by_name(name, truth):
    metric, y = metrics.get(name), truth_of(name, truth)
    for wrong in (guess(y, truth, 1)[:-1], guess(y, truth, 1)[:, :1], np.zeros((2, 2, 2))):
        with pytest.raises(metrics.UnfitError) as caught:
            metric(y, wrong)
        assert name in caught.value.what or metric.name in caught.value.what
        assert caught.value.expected


@pytest.mark.parametrize(
    ("name", "y", "found"),
    [
        ("accuracy", [0.5, 1.0], "fractional"),
        ("accuracy", [-1, 1], "from -1 to 1"),
        ("f1_samples", [0, 1], "shape (2,)"),
        ("mean(auc)", [[0, 2], [1, 0]], "from 0 to 2"),
        ("logloss", ["a", "b"], "type <U1"),
    ],
)
def test_a_truth_of_another_kind_is_refused(name, y, found):
    with pytest.raises(metrics.UnfitError) as caught:
        metrics.get(name)(np.array(y), np.full((2, 2), 0.5))
    assert found in caught.value.found


def test_a_class_without_a_column_is_refused():
    with pytest.raises(metrics.UnfitError, match="at least 4"):
        metrics.get("logloss")(np.array([0, 3]), np.full((2, 3), 1 / 3))


@pytest.mark.parametrize(
    ("name", "y", "p", "found"),
    [
        ("auc", [1, 1], [[0.5, 0.5], [0.4, 0.6]], "2 of 2 rows are class 1"),
        ("auc", [0, 1], [[0.5, 0.2, 0.3], [0.4, 0.5, 0.1]], "0 of 2 rows are class 2"),
        ("mean(auc)", [[0, 1], [1, 1]], [[0.1, 0.2], [0.3, 0.4]], "2 of 2 rows"),
        ("kappa", [2, 2], [2, 2], "only class 2"),
        ("r2", [1.0, 1.0], [1.0, 2.0], "1 in every row"),
        ("rmsle", [1.0, 1.0], [1.0, -2.0], "-2"),
    ],
)
def test_a_metric_without_a_value_says_why(name, y, p, found):
    metric = metrics.get(name)
    assert metric.or_none(np.array(y), np.array(p)) is None
    with pytest.raises(metrics.UndefinedError) as caught:
        metric(np.array(y), np.array(p))
    assert found in caught.value.found


def test_known_answers():
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]])
    y = np.array([0, 1, 1, 1])
    assert metrics.get("accuracy")(y, p) == 0.75
    assert metrics.get("balanced_accuracy")(y, p) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.get("logloss")(y, p) == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.9]).mean())
    assert metrics.get("auc")(y, p) == pytest.approx(1.0)
    assert metrics.get("f1_macro")(y, p) == pytest.approx((2 / 3 + 0.8) / 2)
    assert metrics.get("f1")(y, p) == pytest.approx(0.8)


def test_known_answers_by_hand():
    y, c = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[1, 1, 0], [0, 0, 0]])
    assert metrics.get("f1_samples")(y, c) == pytest.approx(0.25)
    assert metrics.get("dice")(y, c) == pytest.approx(0.75), "a row that is empty in both is right"
    assert metrics.get("mean(rmse)")(np.array([[0.0, 0.0], [0.0, 0.0]]), np.array([[3.0, 0.0], [4.0, 1.0]])) == pytest.approx(
        (math.sqrt(12.5) + math.sqrt(0.5)) / 2
    )
    assert metrics.get("rmse")(np.zeros((2, 2)), np.array([[3.0, 0.0], [4.0, 1.0]])) == pytest.approx(math.sqrt(6.5))


@pytest.mark.parametrize(
    ("y", "ranked", "name", "expected"),
    [
        ([2, 2, 2], [[2, 0, 1], [0, 2, 1], [0, 1, 3]], "map@3", (1 + 1 / 2 + 0) / 3),
        ([2], [[0, 2, 1]], "map@1", 0.0),
        ([2], [[2, 2, 2]], "map@3", 1.0),
        ([2], [[-1, 2, -1]], "map@3", 0.5),
        ([[1, 0, 1, 0]], [[0, 1, 2]], "map@3", (1 + 2 / 3) / 2),
        ([[1, 0, 1, 0]], [[0, 0, 2]], "map@3", (1 + 2 / 3) / 2),
        ([[1, 1, 1, 1]], [[0, 1]], "map@2", 1.0),
        ([[0, 0, 0, 0]], [[0, 1]], "map@2", 0.0),
    ],
)
def test_rankings_by_hand(y, ranked, name, expected):
    assert metrics.get(name)(np.array(y), np.array(ranked)) == pytest.approx(expected)


def test_kappa_knows_the_distance_over_a_grade_that_is_missing():
    """scikit-learn's own distances are between the grades that occur, unless it is told them all."""
    from sklearn.metrics import cohen_kappa_score

    y, c = np.array([0, 0, 4, 4, 3]), np.array([0, 3, 4, 3, 3])
    assert metrics.get("kappa")(y, c) == pytest.approx(cohen_kappa_score(y, c, labels=range(5), weights="quadratic"))


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_one_class_a_row_as_scikit_learn_has_it(classes, seed):
    from sklearn import metrics as sk

    random = np.random.default_rng(seed)
    y, p = random.integers(0, classes, 200), random.dirichlet(np.ones(classes), 200).round(2) + 0.01
    p, c = p / p.sum(axis=1, keepdims=True), p.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(y, c),
        "balanced_accuracy": sk.balanced_accuracy_score(y, c),
        "f1_macro": sk.f1_score(y, c, average="macro"),
        "f1_micro": sk.f1_score(y, c, average="micro"),
        "mcc": sk.matthews_corrcoef(y, c),
        "kappa": sk.cohen_kappa_score(y, c, weights="quadratic"),
        "logloss": sk.log_loss(y, p),
        "auc": np.mean([sk.roc_auc_score(y == code, p[:, code]) for code in range(classes)]),
    } | ({"f1": sk.f1_score(y, c), "auc": sk.roc_auc_score(y, p[:, 1])} if classes == 2 else {})
    assert {name: metrics.get(name)(y, p) for name in expected} == pytest.approx(expected)
    labels = [name for name in expected if metrics.get(name).prediction == LABELS]
    assert {name: metrics.get(name)(y, c) for name in labels} == pytest.approx({name: expected[name] for name in labels})


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_as_scikit_learn_has_it(seed):
    from sklearn import metrics as sk

    random = np.random.default_rng(seed)
    y, p = random.integers(0, 2, (200, 4)), random.random((200, 4)).round(2).clip(0.01, 0.99)
    c = (p >= 0.5).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(y, c),
        "f1_macro": sk.f1_score(y, c, average="macro"),
        "mean(f1)": sk.f1_score(y, c, average="macro"),
        "f1_micro": sk.f1_score(y, c, average="micro"),
        "f1_samples": sk.f1_score(y, c, average="samples", zero_division=0),
        "auc": sk.roc_auc_score(y, p, average="macro"),
        "mean(auc)": sk.roc_auc_score(y, p, average="macro"),
        "mean(mcc)": np.mean([sk.matthews_corrcoef(y[:, i], c[:, i]) for i in range(4)]),
        "mean(accuracy)": (y == c).mean(),
    }
    assert {name: metrics.get(name)(y, p) for name in expected} == pytest.approx(expected)
    pairs = [np.column_stack([1 - p[:, i], p[:, i]]) for i in range(4)]
    losses = [sk.log_loss(y[:, i], pairs[i], labels=[0, 1]) for i in range(4)]
    assert metrics.get("logloss")(y, p) == pytest.approx(np.mean(losses))
    assert metrics.get("mean(logloss)")(y, p) == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_numbers_as_scikit_learn_has_it(shape):
    from sklearn import metrics as sk

    random = np.random.default_rng(0)
    y, p = random.gamma(2, size=shape), random.gamma(2, size=shape)
    assert metrics.get("mae")(y, p) == pytest.approx(sk.mean_absolute_error(y, p))
    assert metrics.get("r2")(y, p) == pytest.approx(sk.r2_score(y, p))
    assert metrics.get("rmse")(y, p) == pytest.approx(sk.root_mean_squared_error(y.ravel(), p.ravel()))
    assert metrics.get("mean(rmse)")(y, p) == pytest.approx(sk.root_mean_squared_error(y, p))
    assert metrics.get("mean(rmsle)")(y, p) == pytest.approx(sk.root_mean_squared_log_error(y, p))
    assert metrics.get("mean(mae)")(y, p) == pytest.approx(sk.mean_absolute_error(y, p))


def test_one_number_a_row_may_be_a_column():
    y = np.array([1.0, 2.0, 4.0])
    assert metrics.get("rmse")(y, np.array([[1.0], [2.0], [2.0]])) == metrics.get("rmse")(y[:, None], np.array([1.0, 2.0, 2.0]))


def test_logloss_is_finite_even_when_the_truth_was_ruled_out():
    y = np.array([0, 1, 2])
    assert math.isfinite(metrics.get("logloss")(y, np.eye(3)[(y + 1) % 3]))
    assert math.isfinite(metrics.get("logloss")(np.eye(3, dtype=int), 1 - np.eye(3)))


def test_logloss_knows_classes_that_no_row_has():
    assert metrics.get("logloss")(np.array([0, 1]), np.full((2, 3), 1 / 3)) == pytest.approx(math.log(3))


def test_codes_far_apart_cost_no_memory():
    y = np.array([0, 10**12, 10**12])
    assert metrics.get("f1_macro")(y, y) == 1.0
    assert metrics.get("mcc")(y, y) == pytest.approx(1.0)


@each_metric
def test_every_metric_says_what_it_needs(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.truths
    assert set(metric.truths) <= {CLASSES, MULTILABEL, NUMBERS}
    assert metric.prediction in {PROBABILITIES, LABELS, NUMBERS, RANKING}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("acuracy", "did you mean 'accuracy'?"), ("mean(rmes)", "did you mean 'mean(rmse)'?"), ("map@0", "did you mean 'map@5'?")],
)
def test_an_unknown_metric_names_the_nearest(name, remedy):
    with pytest.raises(UserError) as caught:
        metrics.get(name)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("name", ["mean(f1_samples)", "mean(dice)"])
def test_a_metric_of_whole_rows_has_no_mean_over_columns(name):
    with pytest.raises(UserError, match="a metric of one column"):
        metrics.get(name)


def test_naming_a_metric_loads_nothing_heavy():
    heavy = "{'numpy', 'sklearn', 'pandas'} & set(sys.modules)"
    code = f"import sys; from builder import metrics; metrics.get('mean(auc)'); print(len({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "0"
