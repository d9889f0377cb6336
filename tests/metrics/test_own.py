"""A metric of the user's own: loaded when it is asked for, blamed by line when it fails."""

import numpy as np
import pytest

from builder import metrics
from builder.errors import ConfigError, UserError

GOOD = """
import numpy as np
from helper import weight

def my_score(y, p):
    p[:] = p.argmax(axis=1)[:, None]
    return weight() * float((y == p[:, 0]).mean())

my_score.greater_is_better = False
"""
Y, P = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metric.py").write_text(GOOD)
    (tmp_path / "helper.py").write_text("def weight():\n    return 3\n")
    return tmp_path


def test_it_is_a_metric_like_any_other(folder):
    metric = metrics.get("metric.py:my_score", folder)
    assert metric(Y, P) == pytest.approx(2.0)
    assert metric(Y, P) == pytest.approx(2.0), "what it does to its arguments stays there"
    assert metric.gain(1.0, 2.0) == 1.0
    assert metric.or_none(Y, np.full((3, 2), np.nan)) is None


def test_it_may_say_what_it_takes(folder):
    (folder / "metric.py").write_text(GOOD + "my_score.truth = 'classes'\nmy_score.prediction = 'labels'\n")
    metric = metrics.get("metric.py:my_score", folder)
    assert (metric.truths, metric.prediction) == (("classes",), "labels")
    with pytest.raises(metrics.UnfitError):
        metric(Y, P[:, :1])


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        (GOOD, "metrik.py:my_score", "did you mean 'metric.py'"),
        (GOOD, "metric.py:my_scor", "did you mean 'my_score'"),
        (GOOD, "../metric.py:my_score", "not there"),
        (GOOD.replace("greater_is_better", "higher"), "metric.py:my_score", "which direction"),
        (GOOD + "my_score.prediction = 'lables'\n", "metric.py:my_score", "did you mean 'labels'"),
        (GOOD + "my_score.truth = 3\n", "metric.py:my_score", "truth is not known"),
        ("def my_score(y, p:\n", "metric.py:my_score", "metric.py:1"),
        ("import nothing_of_that_name\n", "metric.py:my_score", "metric.py:1"),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder, source, name, words):
    (folder / "metric.py").write_text(source)
    with pytest.raises(UserError, match=words):
        metrics.get(name, folder)


@pytest.mark.parametrize(("body", "words"), [("1 / 0", "metric.py:3"), ("'much'", "is no number"), ("float('nan')", "nan")])
def test_one_that_fails_is_blamed(folder, body, words):
    (folder / "metric.py").write_text(f"\ndef f(y, p):\n    return {body}\nf.greater_is_better = True\n")
    with pytest.raises(UserError, match=words):
        metrics.get("metric.py:f", folder)(Y, P)


def test_nobody_runs_it_without_knowing_where_it_is():
    with pytest.raises(UserError, match="nobody here knows its folder"):
        metrics.get("metric.py:my_score")


def test_a_missing_file_is_a_fault_of_the_configuration(folder):
    with pytest.raises(ConfigError):
        metrics.get("gone.py:f", folder)
