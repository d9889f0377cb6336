"""The metric of several heads: one for each, by name, and their mean."""

import numpy as np
import pytest

from builder import metrics
from builder.errors import UserError
from builder.metrics import heads as several
from builder.runtime.contract import Head

KIND, SIZE = Head("kind", "softmax", ("cat", "dog")), Head("size", "softmax", ("l", "m", "s"))
HEADS = (KIND, SIZE)
Y = np.array([[0, 0], [1, 1], [1, 2], [0, 2]])
P = np.array(
    [[0.9, 0.1, 0.2, 0.5, 0.3], [0.2, 0.8, 0.1, 0.8, 0.1], [0.7, 0.3, 0.3, 0.3, 0.4], [0.6, 0.4, 0.2, 0.7, 0.1]]
)  # fmt: skip
KINDS, SIZES = (0, 1, 0, 0), (1, 1, 2, 1)  # the most probable


def test_the_score_of_several_heads_is_the_mean_of_one_for_each():
    assert metrics.of("accuracy", HEADS)(Y, P) == pytest.approx((3 / 4 + 2 / 4) / 2)
    # f1_macro of size: l 0, m 2 / (1 + 3), s 2 / (2 + 1).
    assert metrics.of("kind=accuracy, size=f1_macro", HEADS)(Y, P) == pytest.approx((3 / 4 + (0 + 1 / 2 + 2 / 3) / 3) / 2)
    assert metrics.of("logloss", HEADS)(Y, P) == pytest.approx(
        (metrics.get("logloss")(Y[:, 0], P[:, :2]) + metrics.get("logloss")(Y[:, 1], P[:, 2:])) / 2
    )


def test_labels_that_were_decided_are_judged_as_they_are():
    decided = np.column_stack([KINDS, SIZES])
    assert metrics.of("accuracy", HEADS)(Y, decided) == metrics.of("accuracy", HEADS)(Y, P)
    assert metrics.of("accuracy", HEADS)(Y, Y) == 1.0
    told = "kind=mcc, size=kappa"
    assert metrics.of(told, HEADS)(Y, decided) == metrics.of(told, HEADS)(Y, P)


@pytest.mark.parametrize("head", [("multilabel", "sigmoid", "mean(auc)"), ("numbers", "identity", "rmse")])
def test_one_head_is_scored_by_the_metric_itself(head):
    _, link, name = head
    assert metrics.of(name, (Head("", link, ("a", "b")),)).name == name
    assert metrics.of("accuracy", (KIND,)) == metrics.get("accuracy")


def test_the_direction_and_what_is_judged_are_those_of_all():
    assert not metrics.of("logloss", HEADS).greater_is_better
    assert metrics.of("kind=accuracy, size=f1_macro", HEADS).prediction == metrics.LABELS
    assert metrics.of("kind=auc, size=f1_macro", HEADS).prediction == metrics.PROBABILITIES


def test_a_name_for_each_compares_scores_where_the_heads_are_not_known():
    found = metrics.get("kind=accuracy, size=f1_macro")
    assert found.gain(0.8, 0.7) == pytest.approx(0.1)
    assert metrics.get("kind=logloss, size=logloss").gain(0.8, 0.7) == pytest.approx(-0.1)
    with pytest.raises(metrics.UnfitError, match="does not fit") as caught:
        found(Y[:, 0], P[:, :2])
    assert "several targets" in caught.value.expected


def test_a_metric_of_one_s_own_scores_each_head(tmp_path):
    source = "def right(y, p):\n    return float((p.argmax(axis=1) == y).mean())\nright.greater_is_better = True\n"
    (tmp_path / "metric.py").write_text(source)
    assert metrics.of("metric.py:right", HEADS, tmp_path)(Y, P) == metrics.of("accuracy", HEADS)(Y, P)
    told = "kind=metric.py:right, size=accuracy"
    assert metrics.of(told, HEADS, tmp_path)(Y, P) == metrics.of("accuracy", HEADS)(Y, P)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("accurcy", ("accurcy", "did you mean 'accuracy'")),
        ("kind=accuracy, sise=mcc", ("no target is called 'sise'", "did you mean 'size'")),
        ("kind=accuracy", ("not every target has one metric: size",)),
        ("kind=accuracy, size=", ("not every target has one metric: size",)),
        ("kind=accuracy, size=mcc, kind=mcc", ("stands twice",)),
        ("kind=accuracy, size=accurcy", ("did you mean 'accuracy'",)),
        ("kind=accuracy; size=mcc", ("no target is called 'kind=accuracy; size'",)),
    ],
)
def test_names_that_do_not_fit_the_heads_are_refused(name, words):
    with pytest.raises(UserError) as caught:
        metrics.of(name, HEADS)
    for word in words:
        assert word in str(caught.value)


def test_a_metric_for_each_of_one_target_is_refused():
    with pytest.raises(UserError, match="there is one"):
        metrics.of("kind=accuracy", (KIND,))


def test_what_a_head_has_no_score_for_names_it():
    one = Y.copy()
    one[:, 1] = 0
    found = metrics.of("kind=auc, size=auc", HEADS)
    with pytest.raises(metrics.UndefinedError, match="size: auc has no value"):
        found(one, P)
    assert found.or_none(one, P) is None
    missing = P.copy()
    missing[1, 4] = np.nan
    assert metrics.of("accuracy", HEADS).or_none(Y, missing) is None


@pytest.mark.parametrize(("y", "p"), [(Y[:, 0], P), (Y, P[:, :4]), (Y, P[:, :1]), (Y[:, :1], P), (Y, P[:3])])
def test_other_numbers_of_heads_or_outputs_are_refused(y, p):
    with pytest.raises(metrics.UnfitError):
        metrics.of("accuracy", HEADS)(y, p)


def test_columns_with_equal_signs_have_names():
    assert several.names("a=b=accuracy, c=mcc", ("a=b", "c")) == {"a=b": "accuracy", "c": "mcc"}


PRICE = Head("price", "identity", ("price",), (100.0,), (20.0,))
PRICED = np.column_stack([Y[:, 0], [90.0, 110.0, 120.0, 80.0]])
ANSWERED = np.column_stack([P[:, :2], [93.0, 110.0, 116.0, 80.0]])  # off by 3, 0, 4, 0


def test_of_classes_and_numbers_each_is_scored_by_its_own():
    found = metrics.of("kind=accuracy, price=r2", (KIND, PRICE))
    r2 = 1 - (9 + 16) / (100 + 100 + 400 + 400)
    assert found(PRICED, ANSWERED) == pytest.approx((3 / 4 + r2) / 2)
    assert found.greater_is_better
    assert found(PRICED, np.column_stack([KINDS, ANSWERED[:, 2]])) == found(PRICED, ANSWERED), "decided"


def test_a_metric_that_falls_counts_as_its_negative_beside_one_that_rises():
    found = metrics.of("kind=accuracy, price=rmse", (KIND, PRICE))
    assert found(PRICED, ANSWERED) == pytest.approx((3 / 4 - 2.5) / 2)
    assert found.greater_is_better
    assert metrics.get("kind=accuracy, price=rmse").gain(0.2, 0.1) > 0, "the same direction where nobody knows the heads"
    loss = metrics.of("kind=logloss, price=rmse", (KIND, PRICE))
    assert loss(PRICED, ANSWERED) == pytest.approx((metrics.get("logloss")(Y[:, 0], P[:, :2]) + 2.5) / 2)
    assert not loss.greater_is_better
    rises = metrics.of("kind=accuracy, size=logloss", HEADS)
    assert rises(Y, P) == pytest.approx((3 / 4 - metrics.get("logloss")(Y[:, 1], P[:, 2:])) / 2)


def test_the_truth_of_all_heads_is_that_of_each():
    codes, numbers = several.apart((KIND, PRICE), PRICED)
    assert (codes.dtype, codes.tolist()) == (np.int64, Y[:, 0].tolist())
    assert (numbers.dtype, numbers.shape) == (np.float64, (4, 1))
    assert [own.tolist() for own in several.apart(HEADS, Y)] == Y.T.tolist()
    assert several.apart((KIND,), Y[:, 0])[0] is not None
