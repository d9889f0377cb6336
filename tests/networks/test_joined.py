"""A network of several inputs: it hears each of them, and half precision is for its parts, not for what is in front of them."""

import pytest

pytest.importorskip("torch")

import torch

from builder import models
from builder.export import source
from builder.networks import joined, text
from builder.runtime.contract import Cells, Input

RECIPE = {"vocabulary": 80, "pad": 79}
SIDE = 8


def network(classes=3):
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, joined.FEATURES))
    image = models.portable(backbone, (0.5,) * 3, (0.2,) * 3)
    words = text.recurrent(RECIPE, joined.FEATURES, "gru", width=8, embedding=8)
    return joined.join([image, words], [1, 2], classes).eval()


def asked(module):
    return source.several(module, (Input(SIDE, SIDE), Cells("tokens", "", "")))


def test_every_input_is_heard():
    taken = asked(network())
    feeds = taken.example({"batch": 4})
    before = taken.answers(feeds)["logits"]
    assert before.shape == (4, 3)
    for name in ("image", "input_ids"):
        other = {**feeds, name: feeds[name][::-1].copy()}
        assert abs(taken.answers(other)["logits"] - before).max() > 1e-4, f"{name} changes nothing"


def test_half_precision_is_for_the_parts_alone():
    taken = asked(network())
    half = taken.halved()
    assert {one.dtype for part in half.module.backbone.parts for one in part.backbone.parameters()} == {torch.float16}
    assert half.module.backbone.head.weight.dtype == torch.float32
    assert half.module.backbone.parts[0].scale.dtype == torch.float32, "pixels are scaled in single precision"
    assert next(taken.module.parameters()).dtype == torch.float32, "the source is as it was"
    feeds = taken.example({"batch": 4})
    assert abs(half.answers(feeds)["logits"] - taken.answers(feeds)["logits"]).max() < 1e-2
