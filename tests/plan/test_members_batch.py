"""A member's batch on a CPU is what its export's prices show to be fastest; noise does not decide."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.export import record
from builder.export.record import prices
from builder.plan import members
from builder.runtime.contract import Cells, Input

USUAL = 8
IMAGE = Input(224, 224)


def model(table, backend="onnxruntime", compared=(1, 2, USUAL), **changes):
    priced = record.Priced("m.onnx", backend, "cpu", 1, 7.0, {str(size): {"median_ms": ms} for size, ms in table.items()})
    values = {
        "name": "m", "fold": 0, "format": "onnx", "precision": "fp32", "file": "m.onnx", "sha256": "", "bytes": 1,
        "batches": compared, "max_abs_diff": 0.0, "argmax_equal": 1.0, "score": None, "score_delta": None,
        "ms_per_sample": {}, "load_ms": 7.0, "prices": (priced,),
    }  # fmt: skip
    return record.ExportedModel(**values | changes)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({1: 16.7, 2: 16.9, 8: 19.8}, 1),  # efficientnet_b0
        ({1: 10.8, 2: 10.8, 8: 11.4}, 1),  # mobilenetv2_100: of equals the smaller, which takes less memory
        ({1: 33.8, 2: 33.7, 8: 33.6}, 8),  # resnet18
        ({1: 31.9, 2: 31.9, 8: 33.6}, 1),
        ({1: 32.0, 2: 32.0, 8: 33.6}, 8),  # less than 5 % may be noise
        ({1: 0.9, 2: 0.5, 8: 0.2}, 8),  # a small network is mostly calls
        ({1: 5.0, 2: 4.0}, 8),  # nobody measured the usual one
        ({}, 8),
    ],
)
def test_the_usual_batch_unless_another_is_clearly_faster(table, expected):
    assert prices.fastest(table, USUAL) == expected
    assert prices.batch(model(table), USUAL) == expected


def test_only_batches_that_were_compared_with_the_source():
    assert prices.batch(model({1: 9.0, 8: 9.0, 32: 1.0}), USUAL) == USUAL
    assert prices.batch(model({1: 9.0, 8: 9.0, 32: 1.0}, compared=(1, 2, 32)), USUAL) == 32


def test_each_backend_has_its_own_prices():
    table = {1: 1.0, 8: 2.0}
    assert prices.batch(model(table, "openvino"), USUAL) == USUAL
    assert prices.batch(model(table, "openvino"), USUAL, "openvino") == 1
    assert prices.batch(replace(model(table), prices=()), USUAL) == USUAL


def test_prices_of_another_size_do_not_count():
    priced = replace(model({1: 1.0, 8: 2.0}).prices[0], size="288x288")
    assert prices.batch(model({}, prices=(priced,)), USUAL) == USUAL


@pytest.mark.parametrize(
    ("machine", "given", "expected"),
    [("cpu", IMAGE, 1), ("t4x2", IMAGE, 32), ("cpu", Cells("tokens", "m.recipe.json", "0" * 12), USUAL)],
)
def test_only_images_on_a_cpu(machine, given, expected):
    config = SimpleNamespace(competition=SimpleNamespace(machine=machine), inference=SimpleNamespace(backend="auto"))
    assert members._batch(config, SimpleNamespace(input=given), model({1: 1.0, 8: 2.0})) == expected


def test_a_price_of_the_machine_itself_wins(tmp_path):
    """The batch is home's to choose, for only home tried several; the seconds are those of the run."""
    one = model({1: 1.0, 2: 1.0, 8: 2.0})
    export = record.Export("d", "v001", Path(tmp_path), "fp32", ("identity",), (one,), {}, {}, "a test", {})
    run = record.Prices("cpu", {}, {"m.onnx": record.UnitPrice("onnxruntime", 8, 3.0, 9.0, 3.0, 100.0)})
    assert record.price(export, one, run, prices.batch(one, USUAL)).ms_per_sample == 3.0
    assert record.price(export, one, None, prices.batch(one, USUAL)) == record.Price("onnxruntime", 1, 1.0, 7.0, "home")
