"""The loss of a model's heads: torch's own for each, on its own outputs, in the units that a model answers in."""

import numpy as np
import pytest

from builder.runtime.contract import Head
from builder.runtime.heads import answers, single
from builder.train import losses

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402  comes with torch

DRAW = np.random.default_rng(0)
LOGITS = torch.from_numpy(DRAW.normal(size=(7, 5)).astype(np.float32))
LABELS = (Head("", "sigmoid", tuple("abcde")),)
NUMBERS = (Head("", "identity", tuple("abcde"), (1e6, 0.0, -3.0, 5.0, 7.0), (1e3, 1e-4, 1.0, 2.0, 0.5)),)
HEADS = (Head("x", "softmax", ("0", "1")), Head("y", "softmax", ("0", "1", "2")))


def loss(heads, y, smoothing=0.0):
    return float(losses.of(heads, smoothing)(LOGITS, torch.from_numpy(losses.targets(heads, y))))


def test_one_head_of_classes_has_the_loss_that_it_always_had():
    y = DRAW.integers(0, 5, 7)
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, torch.from_numpy(y))
    assert loss(single(tuple("abcde")), y, 0.1) == float(expected)
    assert losses.targets(single(tuple("abcde")), y) is y


def test_several_heads_are_summed_each_on_its_own_outputs():
    y = np.stack([DRAW.integers(0, 2, 7), DRAW.integers(0, 3, 7)], axis=1)
    parts = [(LOGITS[:, :2], y[:, 0]), (LOGITS[:, 2:], y[:, 1])]
    expected = sum(functional.cross_entropy(part, torch.from_numpy(codes), label_smoothing=0.05) for part, codes in parts)
    assert loss(HEADS, y, 0.05) == pytest.approx(float(expected))


def test_labels_are_judged_one_by_one():
    y = DRAW.integers(0, 2, (7, 5))
    p = 1 / (1 + np.exp(-LOGITS.numpy().astype(np.float64)))
    assert loss(LABELS, y, 0.3) == pytest.approx(float(-np.log(np.where(y == 1, p, 1 - p)).mean()), rel=1e-5)


def test_numbers_are_learned_in_units_of_their_spread_whatever_their_own():
    (head,) = NUMBERS
    y = np.array(head.offset) + np.array(head.spread) * DRAW.normal(size=(7, 5))
    target = losses.targets(NUMBERS, y)
    assert target.dtype == np.float32
    assert np.abs(target).max() < 5
    np.testing.assert_allclose(answers(target, NUMBERS), y.astype(np.float32), rtol=1e-5)
    assert loss(NUMBERS, y) == pytest.approx(float(((LOGITS.numpy() - target) ** 2).mean()), rel=1e-5)


def test_classes_and_numbers_are_summed_each_in_its_own_loss():
    heads = (HEADS[0], Head("z", "identity", ("z",), (1e6,), (1e3,)), Head("y", "softmax", ("0", "1")))
    z = DRAW.normal(size=7)
    y = np.stack([DRAW.integers(0, 2, 7), 1e6 + 1e3 * z, DRAW.integers(0, 2, 7)], axis=1)
    expected = sum(
        functional.cross_entropy(LOGITS[:, place], torch.from_numpy(y[:, at].astype(np.int64)), label_smoothing=0.05)
        for at, place in ((0, slice(0, 2)), (2, slice(3, 5)))
    ) + functional.mse_loss(LOGITS[:, 2], torch.from_numpy(z.astype(np.float32)))
    assert loss(heads, y, 0.05) == pytest.approx(float(expected), rel=1e-5)
    prior = torch.zeros((7, 5))
    assert 0 < float(losses.of(heads[1:2], 0.0)(prior[:, 2:3], torch.from_numpy(losses.targets(heads[1:2], y[:, [1]])))) < 3
