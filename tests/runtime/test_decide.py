"""Decisions: data that decide every row the same way wherever it stands, and refuse what they are not for."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kkb_runtime.decide import Decision, DecisionError, Step, apply, expected

EVERY = {
    "nothing": Decision(),
    "argmax": Decision((Step("argmax"),)),
    "weights": Decision((Step("argmax", (1.0, 2.0, 0.1)),)),
    "thresholds": Decision((Step("thresholds", (0.1, 0.5, 0.9)),)),
    "least": Decision((Step("thresholds", (0.9, 0.9, 0.9), least=1),)),
    "cuts": Decision((Step("cuts", (0.4, 1.6)),)),
    "clip": Decision((Step("clip", (0.0, 1.0, -1.0, 1.0, 0.2, 0.3)),)),
    "round": Decision((Step("clip", (0.0, 5.0) * 3), Step("round", (0.5,)))),
    "top": Decision((Step("top", (2,)),)),
    "rank": Decision((Step("rank"),)),
    "noise": Decision((Step("noise", (0.1, 0.7)),)),
}
P = np.random.default_rng(0).dirichlet(np.ones(3), 50)


def one(kind, *values, least=0):
    return Decision((Step(kind, values, least),))


def decided(decision, rows):
    return apply(decision, np.array(rows, dtype=float)).tolist()


@pytest.mark.parametrize("name", EVERY)
def test_it_travels_as_json(name):
    assert Decision.from_json(json.loads(json.dumps(EVERY[name].to_json()))) == EVERY[name]


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"rank"}))
@given(order=st.permutations(range(12)), chunk=st.integers(1, 12), single=st.booleans())
def test_a_row_is_decided_alone(name, order, chunk, single):
    """Whatever else is in the batch, in whatever layout: the same bits."""
    rows = np.asfortranarray(P[:12].astype(np.float32)) if single else P[:12]
    whole = apply(EVERY[name], rows)
    parts = [apply(EVERY[name], rows[order[at : at + chunk]]) for at in range(0, 12, chunk)]
    assert np.concatenate(parts).tobytes() == np.ascontiguousarray(whole[list(order)]).tobytes()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.full((4, 3), 1 / 3), np.zeros((4, 3)), np.eye(3)[[1]]])
def test_degenerate_answers_are_decided_too(name, rows):
    found = apply(EVERY[name], rows)
    assert len(found) == len(rows)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("decision", "rows", "answers"),
    [
        (one("argmax"), [[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]], [0, 2]),
        (one("argmax", 1.0, 2.0, 1.0), [[0.5, 0.3, 0.2]], [1]),
        (one("threshold", 0.3), [[0.7, 0.3], [0.71, 0.29]], [1, 0]),
        (one("threshold", 0.3), [[0.3], [0.29]], [1, 0]),
        (one("thresholds", 0.5, 0.2), [[0.5, 0.1], [0.4, 0.2]], [[1, 0], [0, 1]]),
        (one("thresholds", 0.5, 0.9, least=1), [[0.2, 0.7], [0.6, 0.95]], [[0, 1], [1, 1]]),
        (one("thresholds", 0.5, 0.5, least=1), [[0.1, 0.1]], [[1, 0]]),
        (one("thresholds", 0.5, 0.5), [[0.1, 0.1]], [[0, 0]]),
        (one("cuts", 0.5, 1.5), [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]], [1, 2, 0]),
        (one("cuts", 0.5, 0.5), [[0.5, 0.5, 0.0]], [2]),
        (one("cuts", 1.5, 2.5), [[-7.0], [1.5], [99.0]], [0, 1, 2]),
        (one("round", 1.0), [[0.5, 1.5, -0.5, -0.2]], [[1.0, 2.0, 0.0, 0.0]]),
        (one("round", 0.5), [[0.74, 0.75]], [[0.5, 1.0]]),
        (one("clip", 0.0, 1.0, 5.0, 5.0), [[-1.0, 9.0], [0.5, 1.0]], [[0.0, 5.0], [0.5, 5.0]]),
        (one("rank"), [[0.1], [0.7], [0.1], [0.9]], [[0.375], [0.75], [0.375], [1.0]]),
        (one("top", 2), [[0.2, 0.4, 0.4], [0.6, 0.1, 0.3]], [[1, 2], [0, 2]]),
        (one("top", 9), [[0.2, 0.8]], [[1, 0]]),
    ],
)
def test_known_answers(decision, rows, answers):
    assert decided(decision, rows) == answers


@pytest.mark.parametrize(
    ("share", "temperature", "row", "answer"),
    [(0.2, 1.0, [1.0, 0.0], [0.9, 0.1]), (0.3, 1.0, [0.1, 0.2, 0.7], [0.17, 0.24, 0.59]), (0.0, 0.5, [0.75, 0.25], [0.9, 0.1])],
)
def test_noisy_labels_are_answered_by_what_they_may_be(share, temperature, row, answer):
    assert apply(one("noise", share, temperature), np.array([row]))[0] == pytest.approx(answer)


def test_minus_zero_is_zero():
    assert str(apply(one("round", 1.0), np.array([[-0.2]]))[0, 0]) == "0.0"


def test_the_expected_class_does_not_mind_the_sum():
    assert expected(np.array([[2.0, 2.0], [0.0, 0.0]])).tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("decision", "shape", "words"),
    [
        (one("argmax", 1.0, 1.0), (2, 3), "'argmax' is for 2 outputs, found 3"),
        (one("thresholds", 0.5), (2, 3), "for 1 outputs"),
        (one("cuts", 0.5), (2, 3), "for 2 outputs"),
        (one("clip", 0.0, 1.0), (2, 3), "for 1 outputs"),
        (one("argmax"), (3,), "shape"),
    ],
)
def test_other_outputs_are_refused(decision, shape, words):
    with pytest.raises(DecisionError, match=words):
        apply(decision, np.zeros(shape))


def test_answers_that_are_missing_are_refused():
    with pytest.raises(DecisionError, match="not finite"):
        apply(Decision(), np.array([[np.nan]]))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "expected steps"),
        ({"steps": [{"kind": "vote"}]}, "unknown step 'vote'; known are clip"),
        ({"steps": [{"kind": "argmax"}, {"kind": "round", "values": [1]}]}, "'argmax' must be the last step"),
        ({"steps": [{"kind": "cuts", "values": [2, 1]}]}, "cannot have"),
        ({"steps": [{"kind": "cuts", "values": []}]}, "cannot have"),
        ({"steps": [{"kind": "clip", "values": [0]}]}, "cannot have"),
        ({"steps": [{"kind": "clip", "values": [1, 0]}]}, "cannot have"),
        ({"steps": [{"kind": "round", "values": [0]}]}, "cannot have"),
        ({"steps": [{"kind": "top", "values": [1.5]}]}, "cannot have"),
        ({"steps": [{"kind": "argmax", "values": [0, 1]}]}, "cannot have"),
        ({"steps": [{"kind": "noise", "values": [0.1]}]}, "cannot have"),
        ({"steps": [{"kind": "noise", "values": [1.0, 1.0]}]}, "cannot have"),
        ({"steps": [{"kind": "noise", "values": [0.1, 0.0]}]}, "cannot have"),
        ({"steps": [{"kind": "rank", "values": [1]}]}, "cannot have"),
        ({"steps": [{"kind": "thresholds", "values": []}]}, "cannot have"),
        ({"steps": [{"kind": "round", "values": [1, 1]}]}, "cannot have"),
        ({"steps": [{"kind": "threshold", "values": [float("nan")]}]}, "not finite"),
        ({"steps": [{"kind": "argmax", "least": 1}]}, "at least 1"),
        ({"steps": [{"kind": "argmax", "weights": [1]}]}, "weights"),
        ({"steps": [{"values": [1]}]}, "kind"),
        ({"steps": ["argmax"]}, "decision"),
        ({"steps": None}, "decision"),
        ({"steps": [{"kind": "cuts", "values": ["a"]}]}, "decision"),
    ],
)
def test_what_is_no_decision_is_refused(raw, words):
    with pytest.raises(DecisionError, match=words):
        Decision.from_json(raw)
