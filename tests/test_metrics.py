"""Metrics: their direction, their value on known answers, and that a better prediction never scores worse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import metrics
from builder.errors import UserError

Y = np.array([0, 1, 2, 1, 0, 2, 1, 1])
each_metric = pytest.mark.parametrize("metric", metrics.METRICS.values(), ids=list(metrics.METRICS))


def probabilities(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(3), len(Y))


@each_metric
def test_certain_truth_is_the_best_score(metric):
    best = metric(Y, np.eye(3)[Y])
    assert best == pytest.approx(0.0 if metric.name == "logloss" else 1.0, abs=1e-9)
    for seed in range(5):
        assert metric.gain(best, metric(Y, probabilities(seed))) >= 0


@each_metric
def test_gain_is_positive_exactly_when_the_new_score_is_better(metric):
    better, worse = (2.0, 1.0) if metric.greater_is_better else (1.0, 2.0)
    assert metric.gain(better, worse) == 1.0
    assert metric.gain(worse, better) == -1.0
    assert metric.gain(better, better) == 0.0


@each_metric
@given(seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(metric, seed):
    p, order = probabilities(seed), np.random.default_rng(seed).permutation(len(Y))
    assert metric(Y[order], p[order]) == pytest.approx(metric(Y, p))


@each_metric
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_precision_of_a_prediction_is_taken(metric, dtype):
    p = probabilities(1)
    found = metric(Y, p.astype(dtype))
    assert type(found) is float
    assert found == pytest.approx(metric(Y, p), abs=1e-2)


def test_known_answers():
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3], [0.1, 0.9]])
    y = np.array([0, 1, 1, 1])
    assert metrics.get("accuracy")(y, p) == 0.75
    assert metrics.get("balanced_accuracy")(y, p) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.get("logloss")(y, p) == pytest.approx(-np.log([0.8, 0.6, 0.3, 0.9]).mean())
    assert metrics.get("auc")(y, p) == pytest.approx(1.0)
    assert metrics.get("f1_macro")(y, p) == pytest.approx((2 / 3 + 0.8) / 2)


def test_logloss_is_finite_even_when_the_truth_was_ruled_out():
    wrong = np.eye(3)[(Y + 1) % 3]
    assert math.isfinite(metrics.get("logloss")(Y, wrong))


def test_logloss_knows_classes_that_no_row_has():
    assert metrics.get("logloss")(np.array([0, 1]), np.full((2, 3), 1 / 3)) == pytest.approx(math.log(3))


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(UserError) as caught:
        metrics.get("acuracy")
    assert caught.value.remedy == "did you mean 'accuracy'?"
