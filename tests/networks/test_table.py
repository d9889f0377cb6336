"""The network for tables: finite whatever stands in the table, the same as ONNX, and checkpoints hold its backbone alone."""

import numpy as np
import pytest

from builder import checkpoints
from builder.errors import ConfigError
from builder.export import onnx_format
from builder.export.source import Port, Source
from builder.networks.table import mlp
from builder.runtime import backends

NUMBER = {"part": "number", "log": False, "mean": 10.0, "std": 4.0}
RECIPE = {
    "features": [
        {"name": "a", **NUMBER, "missing": True},
        {"name": "b", "part": "text", "values": ["x", "y", "z"], "missing": True},
        {"name": "c", **NUMBER, "missing": False, "log": True, "mean": 2.0, "std": 1.0},
        {"name": "d", "part": "text", "values": ["p", "q"], "missing": False},
    ]
}
CODES = [1, 3]


def drawn(rows=9, seed=0):
    draw = np.random.default_rng(seed)
    table = draw.normal(10, 4, (rows, 4)).astype(np.float32)
    table[:, 1], table[:, 3] = draw.integers(0, 3, rows), draw.integers(0, 2, rows)
    return table


def made(recipe=RECIPE, classes=3, **arguments):
    import torch

    torch.manual_seed(0)
    return mlp(recipe, classes, **arguments).eval()


def source(module, features=4):
    return Source(module, (Port("table", "float32", ("batch", features)),))


def answers(module, table):
    return source(module, table.shape[1]).answers({"table": table})["logits"]


def test_a_missing_number_is_the_mean_with_a_flag_and_a_missing_code_has_a_vector_of_its_own():
    module, table = made(), drawn(1)
    mean, missing = table.copy(), table.copy()
    mean[:, 0], missing[:, 0] = 10.0, np.nan
    assert np.abs(answers(module, mean) - answers(module, missing)).max() > 1e-4
    unflagged, logged = table.copy(), table.copy()
    unflagged[:, 2], logged[:, 2] = np.nan, np.expm1(2.0)
    np.testing.assert_allclose(answers(module, unflagged), answers(module, logged), atol=1e-5)
    each = np.repeat(table, 4, axis=0)
    each[:, 1] = [np.nan, 0, 1, 2]
    assert len(np.unique(answers(module, each).round(6), axis=0)) == 4


def test_answers_are_finite_whatever_stands_in_the_table():
    table = drawn(6)
    table[0] = np.nan
    table[1, [0, 2]], table[2, [0, 2]], table[3, [0, 2]] = 3e38, -3e38, [np.inf, -np.inf]
    assert np.isfinite(answers(made(), table)).all()


@pytest.mark.parametrize(
    "only", [[0, 1, 2, 3], *(pytest.param(only, marks=pytest.mark.slow) for only in ([0], [1], [0, 2], [1, 3]))]
)
def test_onnx_says_what_torch_says_at_any_batch(tmp_path, only):
    module = made({"features": [RECIPE["features"][place] for place in only]})
    graph = onnx_format.trace(source(module, len(only)))
    onnx_format.save(graph, tmp_path / "m.onnx")
    model = backends.open(tmp_path / "m.onnx")
    assert (model.inputs, model.outputs) == (("table",), ("logits",))
    for rows in (1, 2, 33):
        table = drawn(rows, rows)[:, only]
        table[::3] = np.nan
        np.testing.assert_allclose(model.logits(table)["logits"], answers(module, table), atol=1e-5)


def test_half_precision_stays_near():
    table = drawn(20)
    half = source(made()).halved().answers({"table": table})["logits"]
    np.testing.assert_allclose(half, answers(made(), table), atol=5e-3)


def test_a_checkpoint_is_the_backbone(tmp_path):
    one, other = made(), made()
    import torch

    with torch.no_grad():
        for parameter in other.backbone.parameters():
            parameter.add_(1)
    checkpoints.save(one.backbone, tmp_path / "m.safetensors")
    checkpoints.load(other.backbone, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(answers(other, drawn()), answers(one, drawn()))
    assert all(name.startswith("backbone.") for name in one.state_dict())


def test_it_can_be_trained():
    import torch

    module, table = made(classes=2).train(), torch.from_numpy(drawn(200))
    target = (table[:, 0] > 10).long()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(table), target).backward()
        optimizer.step()
    assert (answers(module, table.numpy()).argmax(axis=1) == target.numpy()).mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"widht": 3}, "did you mean 'width'"),
        ({"width": 0}, "at least 1"),
        ({"dropout": 1}, "below 1"),
        ({"width": "big"}, "at least 1"),
    ],
)
def test_arguments_are_checked(arguments, told):
    with pytest.raises(ConfigError, match=told):
        mlp(RECIPE, 2, **arguments)
