"""The export as a library: what is refused, with its cause; formats and precisions of small modules; who is to blame; prices."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from builder.errors import GateError, RunError, UserError
from builder.export import blame, convert, onnx_format, parity, precision, pricing, probes, record, source, torchscript
from builder.runtime import backends

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

ROWS = 40


class Module(torch.nn.Module):
    """A small classifier of tables whose forward can be anything."""

    def __init__(self, forward=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = torch.nn.Linear(6, 24), torch.nn.Linear(24, 24), torch.nn.Linear(24, 5)
        self._forward = forward

    def forward(self, table):
        return self._forward(self, table) if self._forward else self.head(torch.relu(self.second(torch.relu(self.first(table)))))


def taking(forward=None):
    return source.Source(Module(forward), (source.Port("table", "float32", ("batch", 6)),))


@pytest.fixture(scope="module")
def graph():
    """The plain module, traced once: the exporter takes seconds."""
    return onnx_format.trace(taking())


def rows(count=ROWS):
    return {"table": np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)}


def ordered(form="onnx", kind="fp32", feeds=None):
    feeds = feeds or rows()
    return convert.Order(form, kind, (parity.Case(feeds),), feeds, planned=32, others=(feeds,))


def run_of(path):
    kind = "torchscript" if path.name.endswith(torchscript.SUFFIX) else "onnxruntime"
    return backends.open(path, threads=1, kind=kind).logits


def gate(step, rungs, start):
    wrong = parity.worst(rungs, parity.LIMITS.get(step))
    if wrong:
        raise GateError("differs", found=f"{wrong.max_abs_diff} {start()}")


def made(taken, folder, **options):
    scratch = folder / "scratch"
    scratch.mkdir()
    return convert.convert(lambda: taken, ordered(**options), folder / "m-f0", run_of, gate, scratch)


def fixed_reshape(module, table):
    return module.head(module.first(table).reshape(2, -1, 24)).reshape(-1, 5)


def fixed_constant(module, table):
    return module.head(module.first(table) + torch.arange(len(table.tolist())).float()[:, None])


@pytest.mark.parametrize(
    ("form", "forward"),
    [
        ("torchscript", fixed_reshape),
        ("torchscript", fixed_constant),
        ("onnx", fixed_constant),
        pytest.param("onnx", fixed_reshape, marks=pytest.mark.slow),
    ],
)
def test_a_batch_that_tracing_fixed_is_refused(form, forward, tmp_path):
    with pytest.raises(GateError, match="tracing fixed the batch size"):
        made(taking(forward), tmp_path, form=form)


def test_a_graph_that_says_a_number_for_the_batch_is_refused(graph):
    frozen = graph.whole()
    frozen.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(GateError, match="fixed the batch size") as caught:
        onnx_format.refuse_fixed(frozen, taking())
    assert caught.value.found == "2 in input 'table'"


def test_an_operator_that_onnx_lacks_is_named(tmp_path):
    def forward(module, table):
        return module.head(module.first(table)) + torch.special.bessel_j0(table).sum(1, keepdim=True)

    with pytest.raises(GateError, match=r"ONNX lacks an operator of this model: .*bessel_j0") as caught:
        made(taking(forward), tmp_path)
    assert caught.value.exit_code == 3
    assert "torchscript" in caught.value.remedy
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_torchscript_takes_what_onnx_lacks(tmp_path):
    def forward(module, table):
        return module.head(module.first(table)) + torch.special.bessel_j0(table).sum(1, keepdim=True)

    done = made(taking(forward), tmp_path, form="torchscript")
    assert done.files[0].name == "m-f0-fp32.ts.bin"
    assert max(one.max_abs_diff for one in done.ladder) <= 1e-5


@pytest.mark.slow
def test_an_input_that_is_not_used_stays():
    class Deaf(torch.nn.Module):
        def forward(self, table, other):  # noqa: ARG002
            return table * 2

    ports = (source.Port("table", "float32", ("batch", 6)), source.Port("other", "float32", ("batch", 3)))
    graph = onnx_format.trace(source.Source(Deaf(), ports))
    assert [value.name for value in graph.skeleton.graph.input] == ["table", "other"], (
        "it stays an input, so feeds need no change"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(value):
    taken = taking(lambda module, table: module.head(module.first(table)) * value)
    with pytest.raises(GateError, match="not finite") as caught:
        parity.refuse_not_finite(parity.predict(taken.answers, rows(), 8))
    assert "row 0" in caught.value.found


def test_another_number_of_outputs_is_refused():
    taken = source.Source(Module(), taking().inputs, ("logits", "other"))
    with pytest.raises(UserError, match="another number of outputs"):
        taken.answers(rows(3))


@pytest.mark.parametrize("names", [("logits",), ("b", "logits")])
def test_outputs_are_found_by_name_in_a_mapping(names):
    taken = source.Source(Module(lambda m, t: {"logits": m.head(m.first(t)), "b": t}), taking().inputs, names)
    assert list(taken.answers(rows(3))) == list(names)
    with pytest.raises(UserError, match="lacks outputs"):
        source.Source(taken.module, taken.inputs, ("c",)).answers(rows(3))


def test_weights_that_are_too_large_lie_beside_the_graph(graph, tmp_path):
    files = onnx_format.save(graph, tmp_path / "m.onnx", largest=100)
    assert [path.name for path in files] == ["m.onnx", "m.onnx.data"]
    whole = onnx_format.save(graph, tmp_path / "n.onnx")
    assert [path.name for path in whole] == ["n.onnx"]
    for path in (files[0], whole[0]):
        onnx.checker.check_model(str(path))
        np.testing.assert_allclose(run_of(path)(rows())["logits"], taking().answers(rows())["logits"], atol=1e-5)
    files[1].unlink()
    with pytest.raises(backends.BackendError):
        run_of(files[0])


def test_streamed_bytes_are_what_protobuf_reads(graph, tmp_path):
    (path,) = onnx_format.save(graph, tmp_path / "m.onnx")
    whole = graph.whole()
    assert onnx.load(path).SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


@pytest.mark.parametrize("kind", ["fp16", "int8", pytest.param("int8-static", marks=pytest.mark.slow)])
def test_smaller_forms_take_and_give_the_same_types(graph, kind, tmp_path):
    calibration = list(parity.batches(rows(), 8)) if kind == "int8-static" else None
    proto = precision.halved(graph.whole()) if kind == "fp16" else precision.quantized(graph.whole(), calibration)
    (path,) = onnx_format.save(onnx_format.split(proto), tmp_path / "m.onnx")
    onnx.checker.check_model(str(path))
    loaded = onnx.load(path)
    assert [value.type.tensor_type.elem_type for value in (*loaded.graph.input, *loaded.graph.output)] == [1, 1]
    seen = parity.predict(run_of(path), rows(), 8)
    assert 0 < record.gap(parity.predict(taking().answers, rows(), 8), seen).max_abs_diff < {"fp16": 5e-3}.get(kind, 0.1)


@pytest.mark.slow
def test_half_precision_keeps_the_arithmetic_on_pixels_and_the_head_in_single():
    from builder import models

    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 3), torch.nn.Softmax(1))
    graph = onnx_format.trace(source.image(models.portable(backbone, (0.5,) * 3, (0.2,) * 3), 8, 8))
    half = precision.halved(graph.whole())
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert (types["inner.scale"], types["inner.shift"]) == (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT)
    assert types["inner.backbone.0.weight"] == onnx.TensorProto.FLOAT16
    assert types["inner.backbone.2.weight"] == onnx.TensorProto.FLOAT, "a head is cheap"
    order = [node.op_type for node in half.graph.node]
    assert order[: order.index("Conv")] == ["Transpose", "Cast", "Mul", "Add", "Cast"], "to half right before the convolution"
    produced = [name for node in half.graph.node for name in node.output]
    assert len(produced) == len(set(produced))


@pytest.mark.slow
def test_int8_without_anything_to_quantize_is_refused():
    graph = onnx_format.trace(taking(lambda _, table: table * 2))
    with pytest.raises(GateError, match="nothing that int8"):
        precision.quantized(graph.whole())


def test_the_layer_that_is_off_is_blamed(graph):
    taken = taking()
    proto = graph.whole()
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("second.weight"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1.05), tensor.name))
    assert blame.between_source_and_graph(taken, proto, rows()) == "second (Linear)"
    assert blame.between_source_and_graph(taken, graph.whole(), rows()) == ""


@pytest.mark.slow
def test_the_operator_that_overflows_in_half_is_blamed(tmp_path):
    """Activations beyond 65504: equal in single, infinite in half."""
    taken = taking(lambda module, table: module.head(torch.sigmoid(module.second(module.first(table) * 1e6) * 1e-6)))
    with pytest.raises(GateError) as caught:
        made(taken, tmp_path, kind="fp16")
    single = onnx_format.trace(taken).whole()
    half = precision.halved(onnx_format.trace(taken).whole())
    told = blame.between_graphs(single, half, rows())
    assert told
    assert told in caught.value.found
    assert told.split()[0] in {"Mul", "Gemm", "MatMul", "Add"}


@pytest.mark.parametrize("kind", ["int8", "int8-static"])
def test_torchscript_has_no_int8(kind, tmp_path):
    with pytest.raises(UserError, match=f"no {kind}"):
        made(taking(), tmp_path, form="torchscript", kind=kind)


def test_torchscript_is_repeatable_silent_and_says_its_names(tmp_path):
    first, second = tmp_path / f"a{torchscript.SUFFIX}", tmp_path / f"b{torchscript.SUFFIX}"
    torchscript.write(taking(), first)
    torchscript.write(taking(), second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
        told = json.loads(archive.read("archive/extra/kkb.json"))
    assert told == {"inputs": ["table"], "outputs": ["logits"], "torch": str(torch.__version__)}
    for word in (str(Path(torchscript.__file__).parents[2]), str(tmp_path), "site-packages"):
        assert word.encode() not in content


@pytest.mark.parametrize(("image", "told"), [("2.0.1", True), ("99.0.0", False), ("", False)])
def test_torchscript_says_when_the_image_is_older(image, told, tmp_path):
    path = tmp_path / f"a{torchscript.SUFFIX}"
    torchscript.write(taking(), path)
    notes = torchscript.notes(path, image)
    assert bool(notes) == told
    assert all(image in note for note in notes)


def test_torchscript_that_the_image_cannot_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / f"a{torchscript.SUFFIX}"
    torchscript.write(taking(), path)
    monkeypatch.setattr(torchscript, "READABLE", 1)
    with pytest.raises(GateError, match="cannot read") as caught:
        torchscript.notes(path, "2.0.1")
    assert "2.0.1" in caught.value.found


def test_close_calls_do_not_count_for_the_argmax():
    before = {"logits": np.array([[0.5004, 0.4996], [0.9, 0.1]], dtype=np.float32)}
    after = {"logits": np.array([[0.4996, 0.5004], [0.8, 0.2]], dtype=np.float32)}
    assert record.gap(before, after) == record.Gap(2, pytest.approx(0.1), 1.0)
    assert record.gap(before, {"logits": after["logits"][:, ::-1]}).argmax_equal == 0
    assert record.gap(before, {"logits": before["logits"] * np.nan}).max_abs_diff == np.inf


def test_limits_say_who_decides():
    assert parity.limit("fp32", None, judged=True) == parity.limit("fp32", None, judged=False) == 1e-4
    assert parity.limit("fp16", None, judged=True) is None, "the metric does"
    assert parity.limit("fp16", None, judged=False) == 5e-3
    assert parity.limit("int8", 0.3, judged=False) == 0.3
    with pytest.raises(GateError, match="nothing tells whether"):
        parity.limit("int8", None, judged=False)


def test_without_a_limit_only_numbers_that_are_none_are_refused():
    fine = parity.rung("fp16", "identity", "32", record.Gap(4, 0.9, 0.5))
    broken = parity.rung("fp16", "identity", "32", record.Gap(4, np.inf, 0.5))
    assert parity.worst([fine], None) is None
    assert parity.worst([fine, broken], None) is broken


def test_the_ensemble_is_compared_on_rows_that_all_can_answer():
    from builder import metrics

    draw = np.random.default_rng(1)
    before = [draw.dirichlet(np.ones(3), 20) for _ in range(2)]
    before[0][3] = np.nan
    after = [array * 1.0 for array in before]
    y = before[0].argmax(1)
    pooled = (np.tensordot((0.25, 0.75), np.stack(arrays), axes=1) for arrays in (before, after))
    rung = record.ensemble(*pooled, metrics.get("accuracy"), y)
    assert (rung.step, rung.rows, rung.max_abs_diff, rung.score_delta) == ("ensemble", 19, 0.0, 0.0)


def test_a_price_is_measured_in_another_process(graph, tmp_path):
    (path,) = onnx_format.save(graph, tmp_path / "m.onnx")
    priced = pricing.measured(path, "onnxruntime", "cpu", rows(), batches=(1, 4))
    assert (priced.file, priced.backend, priced.device, priced.error) == ("m.onnx", "onnxruntime", "cpu", "")
    assert set(priced.batch) == {"1", "4"}
    for times in priced.batch.values():
        assert 0 < times["median_ms"] <= times["p99_ms"]
        assert times["first_ms"] > 0
    assert priced.load_ms > 0
    assert 10 < priced.peak_mb < 2000


def test_a_backend_that_fails_has_no_price_but_a_cause(tmp_path):
    broken = tmp_path / "m.onnx"
    broken.write_bytes(b"no model")
    order = {"file": str(broken), "backend": "onnxruntime", "device": "cpu", "threads": 1, "batches": [1]}
    assert "cannot load" in pricing.measure(order, rows()).error
    with pytest.raises(RunError, match="cannot run the exported model"):
        pricing.price(broken, "onnx", rows(), cuda=False)


def test_asking_for_a_gpu_and_getting_none_is_an_error(graph, tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.delenv("KKB_ALLOW_CPU", raising=False)
    (path,) = onnx_format.save(graph, tmp_path / "m.onnx")
    order = {"file": str(path), "backend": "onnxruntime", "device": "cuda", "threads": 1, "batches": [1]}
    assert "cuda" in pricing.measure(order, rows()).error


def test_probe_rows_are_spread_over_folds_and_classes():
    folds = np.repeat([0, 1, 2, -1], [500, 300, 100, 100])
    codes = np.random.default_rng(0).choice(4, 1000, p=[0.7, 0.2, 0.07, 0.03])
    chosen = probes.choose(folds, codes)
    assert len(chosen) == 256 == len(set(chosen.tolist()))
    assert (np.diff(chosen) > 0).all()
    assert set(folds[chosen]) == {0, 1, 2}
    assert np.bincount(codes[chosen]).min() >= 25, "rare classes are there, too"
    np.testing.assert_array_equal(chosen, probes.choose(folds, codes))
    assert len(probes.choose(folds[:50], codes[:50])) == 50
    assert len(probes.choose(np.full(9, -1), np.zeros(9, dtype=np.int64))) == 0


def exported_model(file, **changes):
    values = {
        "name": "m", "fold": 0, "format": "onnx", "precision": "fp32", "file": file, "sha256": "", "bytes": 1, "batches": (1,),
        "max_abs_diff": 0.0, "argmax_equal": 1.0, "score": None, "score_delta": None,
        "ms_per_sample": {"1": 9.0, "32": 5.0}, "load_ms": 7.0,
    }  # fmt: skip
    return record.ExportedModel(**values | changes)


def test_the_price_of_kaggle_is_preferred(tmp_path):
    ort = record.Priced("m-f0.onnx", "onnxruntime", "cpu", 1, 7.0, {"8": {"median_ms": 6.0}, "32": {"median_ms": 5.0}})
    vino = record.Priced("m-f0.onnx", "openvino", "cpu", 1, error="no such operator")
    models = tuple(exported_model(f"m-f{fold}.onnx", fold=fold, prices=(ort, vino)) for fold in (0, 1))
    export = record.Export("d", "v001", tmp_path, "fp32", ("identity",), models, {}, {}, "a test", {})
    assert record.price(export, models[0], None, 32) == record.Price("onnxruntime", 32, 5.0, 7.0, "home")
    assert record.price(export, models[0], None, 10).batch == 8
    with pytest.raises(UserError, match="no price with openvino") as caught:
        record.price(export, models[0], None, 32, "openvino")
    assert caught.value.found == "no such operator"
    assert record.load_prices(tmp_path, "t4x2") is None
    record.Prices(
        "t4x2", {"gpu": "T4"}, {"m-f0.onnx": record.UnitPrice("onnxruntime", 32, 0.5, 900.0, 30.0, 800.0)}, {"k": 4.0}
    ).write(tmp_path)
    prices = record.load_prices(tmp_path, "t4x2")
    assert record.price(export, models[0], prices, 32) == record.Price("onnxruntime", 32, 0.5, 900.0, "t4x2")
    assert record.price(export, models[1], prices, 32).measured_on == "t4x2", "the graph of another fold is the same"
    record.Prices("t4x2", {"gpu": "T4"}, {"m-f1.onnx": record.UnitPrice("onnxruntime", 32, 0.6, 900.0, 30.0, 800.0)}).write(
        tmp_path
    )
    both = record.load_prices(tmp_path, "t4x2")
    assert set(both.units) == {"m-f0.onnx", "m-f1.onnx"}
    assert both.decode_ms == {"k": 4.0}
    assert record.load_prices(tmp_path, "l4x4") is None


def test_prices_that_cannot_be_read_are_refused(tmp_path):
    record.prices_file(tmp_path, "t4x2").write_text('{"schema": 2, "machine": 3}')
    with pytest.raises(UserError, match="not a list of prices"):
        record.load_prices(tmp_path, "t4x2")
