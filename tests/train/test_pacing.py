"""Layer-wise learning rates: every parameter once, the first layers slowest, and a rate of nothing moves nothing."""

import itertools

import numpy as np
import pytest

from builder.config import Train
from builder.errors import UserError
from builder.runtime.heads import single
from builder.shown import Pixels
from builder.train import fit, pacing

torch = pytest.importorskip("torch")


def timm_network(name):
    import timm

    from builder import models

    torch.manual_seed(0)
    return models.portable(timm.create_model(name, num_classes=2), (0.5,) * 3, (0.2,) * 3)


def bert():
    import transformers

    config = transformers.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16, num_labels=2
    )
    return transformers.BertForSequenceClassification(config)


NETWORKS = {"resnet": lambda: timm_network("test_resnet"), "vit": lambda: timm_network("test_vit"), "bert": bert}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_one_group_and_later_groups_learn_faster(name):
    module = NETWORKS[name]()
    made = pacing.groups(module, 0.1, 0.5)
    placed = [id(parameter) for group in made for parameter in group["params"]]
    assert sorted(placed) == sorted(map(id, module.parameters()))
    rates = [group["lr"] for group in made]
    assert rates == sorted(rates)
    assert len(rates) > 2
    assert rates[-1] == 0.1
    assert all(b / a == pytest.approx(2.0) for a, b in itertools.pairwise(rates)), "one layer after the other"
    (whole,) = pacing.groups(module, 0.1, 1.0)
    assert (whole["lr"], len(whole["params"])) == (0.1, len(placed))


def test_what_comes_before_the_layers_is_slowest_and_the_head_fastest():
    module = bert()
    rate = {id(p): group["lr"] for group in pacing.groups(module, 1.0, 0.5) for p in group["params"]}
    assert rate[id(module.bert.embeddings.word_embeddings.weight)] == 0.5**3
    assert rate[id(module.bert.encoder.layer[0].output.dense.weight)] == 0.5**2
    assert rate[id(module.bert.encoder.layer[2].output.dense.weight)] == 1.0
    assert rate[id(module.classifier.weight)] == 1.0


def test_a_network_without_layers_is_refused():
    with pytest.raises(UserError, match="needs a network with layers"):
        pacing.groups(torch.nn.Linear(3, 2), 0.1, 0.5)


def test_first_layers_stay_where_a_training_gives_them_no_rate():
    module = timm_network("test_resnet")
    first, head = module.backbone.conv1[0].weight, module.backbone.fc.weight
    before = first.detach().clone(), head.detach().clone()
    pixels = Pixels({"identity": np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)})
    recipe = Train(epochs=2, batch_size=8, layer_decay=1e-9, weight_decay=0.0)
    fit.fit(module, pixels, np.arange(16) % 2, np.arange(16), single("01"), recipe, 0, lambda *_: None)
    assert torch.allclose(first, before[0], atol=1e-9)
    assert (head - before[1]).abs().max() > 1e-4
