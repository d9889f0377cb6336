"""Parity of answers that are no classes: numbers differ in units of their spread, classes are compared head by head."""

import numpy as np
import pytest

from builder.export import parity, record
from builder.metrics import get
from builder.runtime.contract import Head
from builder.train.record import bearable

DRAW = np.random.default_rng(0)
NUMBERS = (Head("", "identity", ("x", "y"), (1e9, 0.0), (1e3, 1e-6)),)
HEADS = (Head("a", "softmax", ("0", "1")), Head("b", "softmax", ("0", "1", "2")))
LABELS = (Head("", "sigmoid", ("a", "b", "c")),)


def said(values, heads):
    """What `parity.predict` makes of logits `values` in batches of three."""
    return parity.predict(lambda feeds: {"logits": feeds["rows"]}, {"rows": values.astype(np.float32)}, 3, heads)


@pytest.mark.parametrize("off", [0.0, 0.01, 0.5])
def test_numbers_are_compared_in_units_of_their_spread(off):
    logits = DRAW.normal(size=(8, 2))
    before, after = said(logits, NUMBERS), said(logits + np.array([0, off]), NUMBERS)
    found = record.gap(before, after, NUMBERS)
    assert found.max_abs_diff == pytest.approx(off, rel=0.01, abs=1e-6)
    assert (found.rows, found.argmax_equal) == (8, 1.0)


def test_what_single_precision_cannot_say_of_a_number_is_no_difference():
    before = np.array([[1e9, 1.0]], dtype=np.float32)
    beside = np.nextafter(before, np.float32(np.inf))
    assert record.gap({"logits": before}, {"logits": beside}, NUMBERS).max_abs_diff == 0
    two = np.nextafter(beside, np.float32(np.inf))
    assert record.gap({"logits": before}, {"logits": two}, NUMBERS).max_abs_diff > 0


@pytest.mark.parametrize("heads", [NUMBERS, HEADS, LABELS], ids=["numbers", "heads", "labels"])
def test_an_answer_that_is_no_number_is_infinitely_far_off(heads):
    outputs = sum(len(head.classes) for head in heads)
    before = said(DRAW.normal(size=(5, outputs)), heads)
    broken = {"logits": before["logits"].copy()}
    broken["logits"][3, -1] = np.nan
    assert record.gap(before, broken, heads).max_abs_diff == np.inf


def test_of_several_heads_the_one_that_agrees_least_counts():
    before = np.tile(np.float32([0.9, 0.1, 0.7, 0.2, 0.1]), (10, 1))
    after = before.copy()
    after[:2, 2:] = [0.2, 0.7, 0.1]
    after[:5, :2] = [0.1, 0.9]
    assert record.gap({"logits": before}, {"logits": after}, HEADS).argmax_equal == 0.5
    after[:5, :2] = [0.9, 0.1]
    assert record.gap({"logits": before}, {"logits": after}, HEADS).argmax_equal == 0.8


def test_labels_have_no_most_likely_class():
    before, after = np.float32([[0.9, 0.8, 0.1]]), np.float32([[0.8, 0.9, 0.1]])
    assert record.gap({"logits": before}, {"logits": after}, LABELS).argmax_equal == 1.0
    assert record.gap({"logits": before}, {"logits": after}).argmax_equal == 0.0


def test_answers_are_those_of_the_heads_and_of_the_output_logits_alone():
    rows = DRAW.normal(size=(5, 3)).astype(np.float32)
    found = parity.predict(lambda feeds: {"logits": feeds["rows"], "other": feeds["rows"]}, {"rows": rows}, 2, LABELS)
    np.testing.assert_allclose(found["logits"], 1 / (1 + np.exp(-rows)), atol=1e-6)
    np.testing.assert_allclose(found["other"].sum(axis=1), 1, atol=1e-6)


def test_the_blend_of_numbers_is_judged_in_their_units():
    before = np.stack([DRAW.normal(1e6, 1e3, 9), DRAW.normal(0, 1e-6, 9)], axis=1)
    after = before + np.array([100.0, 0.0])
    rung = record.ensemble(before, after, get("rmse"), before, NUMBERS)
    assert rung.max_abs_diff == pytest.approx(0.1, rel=0.01)


def test_an_error_that_has_a_unit_may_grow_by_a_share_of_itself():
    assert bearable(0.0005, get("rmse"), 40_000.0, NUMBERS) == pytest.approx(20)
    assert bearable(0.0005, get("rmse"), 1e-6, NUMBERS) == pytest.approx(5e-10)
    assert bearable(0.0005, get("r2"), 0.01, NUMBERS) == 0.0005
    assert bearable(0.0005, get("logloss"), 3.0, LABELS) == 0.0005
