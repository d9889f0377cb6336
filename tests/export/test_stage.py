"""An export: done when it was compared with its source, refused when it differs, repeatable, silent about the machine."""

from __future__ import annotations

import dataclasses
import getpass
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from builder import competition, images, metrics
from builder.errors import GateError, UserError
from builder.export import onnx_format, parity, pricing, record, stage
from builder.runtime import backends, views
from builder.train import record as trained_record
from builder.workspace import sha256_file, write_text

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """(workspace, config, version, export) with two views, made once for this module."""
    import shutil

    from builder.workspace import Workspace

    workspace, config, version, _ = trained
    home = tmp_path_factory.mktemp("exported")
    shutil.copytree(workspace.root, home / "space")
    mine = Workspace(home / "space")
    version = trained_record.load(mine.weights("animals") / version.version)
    config = with_(config, "inference", views=("identity", "hflip"))
    made, fresh = stage.export(config, mine, version)
    assert fresh
    return mine, config, version, made


def with_(config, section, **changes):
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


def training_pixels(exported):
    workspace, config, version, _ = exported
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    return rows, images.decoded(rows.paths, version.models[0].input, root=root, cache=workspace.cache)


def test_the_record_is_complete_and_true(exported):
    workspace, config, version, made = exported
    assert record.load(made.folder) == made == stage.current(config, version)
    assert [model.fold for model in made.of("resnet")] == [0, 1]
    for model in made.models:
        path = made.folder / model.file
        assert (path.stat().st_size, sha256_file(path)) == (model.bytes, model.sha256)
        assert 0 <= model.max_abs_diff <= parity.LIMITS["fp32"]
        assert 0 <= model.argmax_equal <= 1
        assert set(model.ms_per_sample) == set(map(str, pricing.BATCHES))
        assert min(*model.ms_per_sample.values(), model.load_ms) > 0
    assert set(made.scores) == {"resnet"}
    assert set(made.scores["resnet"]) == {"identity", "hflip"}
    assert all(price > 0 for price in made.decode_ms.values())
    assert set(made.decode_ms) == {version.models[0].input.key}
    assert made.prices_from
    assert str(workspace.root) not in (made.folder / record.FILE).read_text()


def test_the_json_has_the_keys_that_programs_read(exported):
    raw = json.loads((exported[3].folder / record.FILE).read_text())
    keys = {"name", "fold", "format", "precision", "max_abs_diff", "argmax_equal", "score_delta", "bytes", "ms_per_sample"}
    assert all(keys <= set(model) for model in raw["models"])


@pytest.mark.parametrize("batch", [1, 3, 32, 60])
def test_any_batch_gives_the_same_answers(exported, batch):
    _, _, _, made = exported
    _, pixels = training_pixels(exported)
    backend = backends.open(made.folder / made.models[0].file)
    whole = backend.run(pixels)
    parts = np.concatenate([backend.run(pixels[i : i + batch]) for i in range(0, len(pixels), batch)])
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("view", ["identity", "hflip"])
def test_out_of_fold_predictions_are_those_of_the_exported_files(exported, view):
    """Each row by the file of the fold that did not see it, under the view: what the notebook would answer."""
    _, _, version, made = exported
    rows, pixels = training_pixels(exported)
    _, folds, _ = trained_record.read_folds(version.folder / trained_record.FOLDS)
    oof = np.load(made.oof("resnet", view))
    assert (oof.shape, oof.dtype) == ((60, 2), np.float32)
    for model in made.models:
        held_out = np.flatnonzero(folds == model.fold)
        answered = backends.open(made.folder / model.file).run(views.get(view).apply(pixels[held_out]))
        np.testing.assert_allclose(oof[held_out], answered, atol=1e-5)
    assert made.scores["resnet"][view] == pytest.approx(metrics.get(version.metric)(rows.y, oof))
    if view == "identity":
        np.testing.assert_allclose(oof, np.load(version.oof("resnet", "identity")), atol=parity.LIMITS["fp32"])


def test_no_path_of_the_machine_is_in_the_files(exported):
    """The exporter notes where each operation was called from; a public dataset must not tell it."""
    workspace, _, _, made = exported
    names = [
        str(workspace.root),
        str(Path(stage.__file__).parents[2]),
        str(Path.home()),
        sys.prefix,
        "site-packages",
        "Traceback",
    ]
    names += [getpass.getuser()] if len(getpass.getuser()) > 4 else []
    for model in made.models:
        data = (made.folder / model.file).read_bytes()
        assert [name for name in names if name.encode() in data and name != "/"] == []


def test_the_files_are_what_the_oldest_runtime_reads(exported):
    import onnx

    for model in exported[3].models:
        proto = onnx.load(exported[3].folder / model.file)
        assert proto.ir_version <= 10
        assert {(o.domain, o.version) for o in proto.opset_import if o.domain in {"", "ai.onnx"}} == {("", onnx_format.OPSET)}
        assert [(one.name, one.type.tensor_type.elem_type) for one in proto.graph.input] == [
            (backends.INPUT, onnx.TensorProto.UINT8)
        ]
        assert not proto.functions or all(not function.doc_string for function in proto.functions)


def test_exporting_again_is_up_to_date_and_changes_nothing(exported):
    workspace, config, version, made = exported
    before = {path.name: path.stat().st_mtime_ns for path in made.folder.iterdir()}
    again, fresh = stage.export(config, workspace, version)
    assert not fresh
    assert again == made
    assert {path.name: path.stat().st_mtime_ns for path in made.folder.iterdir()} == before


def one_fold(version):
    """The version with its first fold alone: half the exporter's seconds."""
    (model,) = version.models
    return dataclasses.replace(version, models=(dataclasses.replace(model, checkpoints=model.checkpoints[:1]),))


@pytest.mark.slow
def test_same_weights_same_bytes(exported, copied):
    """An export made elsewhere, later, comes to the same files, and so to the same datasets."""
    workspace, config, version = copied
    other, _ = stage.export(with_(config, "export", max_abs_diff=0.01, max_score_drop=1.0), workspace, one_fold(version))
    assert other.digest != exported[3].digest
    assert [(m.file, m.sha256) for m in other.models] == [(m.file, m.sha256) for m in exported[3].models[:1]]


def exporter(exported, change=None):
    """A tracer that hands out what the real one made of the same folds; with `change`, another model, as a bug in it would."""
    import onnx

    files = iter([exported[3].folder / model.file for model in exported[3].models] * 3)

    def trace(source):
        proto = onnx.load(next(files))
        if change:
            for tensor in proto.graph.initializer:
                if tensor.name.endswith(("fc.weight", "fc.bias")):
                    tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
        return onnx_format.split(proto)

    return trace


def test_a_model_that_differs_from_its_checkpoint_is_refused(exported, copied, monkeypatch):
    workspace, config, version = copied
    monkeypatch.setattr(onnx_format, "trace", exporter(exported, lambda values: values * np.float32(1.05)))
    with pytest.raises(GateError, match="resnet fold 0 differs from its checkpoint") as caught:
        stage.export(config, workspace, version)
    assert caught.value.exit_code == 3
    assert caught.value.expected == "at most 1e-04"
    assert "starts at" in caught.value.found
    assert "fc (Linear)" in caught.value.found
    assert [path.name for path in stage.folder_of(config, version).iterdir()] == [], "nothing of it stays"
    assert "export.precision" in caught.value.remedy
    assert stage.current(config, version) is None
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    made, fresh = stage.export(config, workspace, version)
    assert fresh
    assert stage.current(config, version) == made, "a refused export does not stand in the way of a good one"


def test_a_tolerance_that_nothing_meets_refuses(exported, copied, monkeypatch):
    workspace, config, version = copied
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    with pytest.raises(GateError, match="differs"):
        stage.export(with_(config, "export", max_abs_diff=1e-12), workspace, version)


def test_a_model_that_lost_score_is_refused_whatever_its_difference(exported, copied, monkeypatch):
    """The gate is the competition metric: a wide tolerance for probabilities does not open it."""
    workspace, config, version = copied
    assert version.models[0].score != 0.5, "the tiny model must know something that it can lose"
    turned = (lambda values: -values) if version.models[0].score > 0.5 else (lambda values: values * 0)
    monkeypatch.setattr(onnx_format, "trace", exporter(exported, turned))
    with pytest.raises(GateError, match="lost score") as caught:
        stage.export(with_(config, "export", max_abs_diff=1.0), workspace, version)
    assert "accuracy" in caught.value.found
    assert stage.current(with_(config, "export", max_abs_diff=1.0), version) is None


def test_answers_that_are_no_numbers_are_refused(exported, copied, monkeypatch):
    workspace, config, version = copied
    monkeypatch.setattr(onnx_format, "trace", exporter(exported, lambda values: values * np.float32("nan")))
    with pytest.raises(GateError, match="differs"):
        stage.export(with_(config, "export", max_abs_diff=1.0), workspace, version)


@pytest.mark.slow
def test_half_precision_is_smaller_and_compared(exported, copied):
    workspace, config, version = copied
    half = with_(config, "export", precision="fp16", max_score_drop=1.0)
    made, _ = stage.export(half, workspace, one_fold(version))
    assert made.folder != exported[3].folder
    (one,), full = made.models, exported[3].models[0]
    assert one.precision == "fp16"
    assert one.file.endswith("-fp16.onnx")
    assert one.bytes < 0.7 * full.bytes
    assert 0 < one.max_abs_diff <= parity.LIMITS["fp16"]
    assert stage.current(config, version) is None, "the export in single precision is another one"


@pytest.mark.parametrize(("machine", "precision"), [("cpu", "fp32"), ("t4x2", "fp16")])
def test_the_machine_decides_about_precision(trained, machine, precision):
    assert stage.precision_of(with_(trained[1], "competition", machine=machine)) == precision


def test_a_killed_export_is_taken_up_again(exported, copied, monkeypatch):
    workspace, config, version = copied

    def report(done, total, text):
        if done == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    with pytest.raises(KeyboardInterrupt):
        stage.export(config, workspace, version, report=report)
    assert stage.current(config, version) is None
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    made, fresh = stage.export(config, workspace, version)
    assert fresh
    assert len(made.models) == 2


def test_other_rows_than_those_of_the_training_are_refused(copied, tmp_path):
    import shutil

    workspace, config, version = copied
    root = tmp_path / "other"
    shutil.copytree(config.data_root(workspace.root), root)
    lines = (root / "train.csv").read_text().splitlines()
    write_text(root / "train.csv", "\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match="trained on other rows") as caught:
        stage.export(with_(config, "data", root=str(root)), workspace, version)
    assert caught.value.file == str(root / "train.csv")


def test_other_labels_for_the_same_rows_are_noticed(exported, copied, tmp_path, monkeypatch):
    """Scores of an export are told for the labels that the version was trained on, not for those that the table has now."""
    import shutil

    workspace, config, version = copied
    root = tmp_path / "other"
    shutil.copytree(config.data_root(workspace.root), root)
    text = (root / "train.csv").read_text()
    write_text(root / "train.csv", text.replace(",cat", ",x").replace(",dog", ",cat").replace(",x", ",dog"))
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    with pytest.raises(UserError, match="trained on other"):
        stage.export(with_(config, "data", root=str(root)), workspace, version)


def test_a_checkpoint_that_was_changed_is_noticed(copied):
    """A version's weights never change: an export of other weights would carry its digest."""
    from safetensors.torch import load_file, save_file

    workspace, config, version = copied
    path = version.checkpoint(version.models[0], 0)
    state = load_file(str(path))
    state["fc.bias"] += 1
    save_file(state, str(path))
    with pytest.raises(UserError) as caught:
        stage.export(with_(config, "export", max_score_drop=1.0), workspace, one_fold(version))
    assert caught.value.file == str(path)


def test_an_export_of_another_schema_is_refused(exported, tmp_path):
    path = tmp_path / "weights" / "animals" / "v001" / "exports" / "0a" / record.FILE
    raw = json.loads((exported[3].folder / record.FILE).read_text())
    write_text(path, json.dumps(raw | {"schema": 9}))
    with pytest.raises(UserError, match="another schema") as caught:
        record.load(path.parent)
    assert caught.value.file == str(path)


def test_every_step_is_in_the_ladder(exported):
    """fp32 at every batch against the source, then all held-out rows under every view, with the score."""
    for model in exported[3].models:
        steps = [(rung.step, rung.view, rung.batch) for rung in model.ladder]
        assert steps[:4] == [("fp32", "identity", batch) for batch in ("1", "2", "8", "8, ragged")]
        assert steps[4:] == [("fp32", "identity", "8"), ("fp32", "hflip", "8")]
        assert all(rung.max_abs_diff <= parity.LIMITS["fp32"] for rung in model.ladder)
        assert model.ladder[4].score_delta == model.score_delta == 0


def test_every_backend_at_hand_is_priced(exported):
    for model in exported[3].models:
        backend = {price.backend: price for price in model.prices}
        assert next(iter(backend)) == "onnxruntime"
        assert backend["onnxruntime"].load_ms == model.load_ms
        assert model.priced_file == exported[3].models[0].file, "one fold is measured, for the graphs of all are the same"
        for price in model.prices:
            assert set(price.batch) == set(map(str, pricing.BATCHES)), price.error
            assert price.peak_mb > 0
    assert exported[3].machine["cores"] >= 1


def test_probe_rows_say_what_the_source_said(exported):
    workspace, config, version, made = exported
    probe = made.probe("resnet")
    for file in (probe.table, probe.values):
        path = made.folder / file.file
        assert (sha256_file(path), path.stat().st_size) == (file.sha256, file.bytes)
    told, values = json.loads((made.folder / probe.table.file).read_text()), np.load(made.folder / probe.values.file)
    rows, _ = training_pixels(exported)
    assert told["views"] == ["identity", "hflip"]
    assert values.shape == (2, len(told["rows"]), 2)
    assert len(told["rows"]) == probe.rows == 60
    ids, folds, _ = trained_record.read_folds(version.folder / trained_record.FOLDS)
    source = np.load(version.oof("resnet", "identity"))
    root = config.data_root(workspace.root)
    for place, one in enumerate(told["rows"]):
        row = ids.index(one["row"]["image_id"])
        assert one["fold"] == folds[row]
        assert set(one["row"]) == {"image_id", "label"}
        assert root / one["image"] == rows.paths[row]
        np.testing.assert_allclose(values[0, place], source[row], atol=1e-5)


def unseen(version, folds):
    """The version as if its rows had `folds`, and its first checkpoint were the only one."""
    (model,) = version.models
    ids, _, labels = trained_record.read_folds(version.folder / trained_record.FOLDS)
    lines = ["id,fold,target", *(f"{one},{fold},{label}" for one, fold, label in zip(ids, folds, labels, strict=True))]
    write_text(version.folder / trained_record.FOLDS, "\n".join(lines) + "\n")
    number = max(folds)
    point = dataclasses.replace(model.checkpoints[0], fold=number)
    return dataclasses.replace(version, models=(dataclasses.replace(model, checkpoints=(point,)),))


def test_a_model_that_saw_all_rows_is_judged_by_its_differences(exported, copied, monkeypatch):
    workspace, config, version = copied
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    made, _ = stage.export(config, workspace, unseen(version, [-1] * 60))
    (one,) = made.models
    assert (one.fold, one.score, one.score_delta) == (-1, None, None)
    assert one.max_abs_diff <= parity.LIMITS["fp32"]
    assert made.scores == {"resnet": {"identity": None}}
    assert np.isnan(np.load(made.oof("resnet", "identity"))).all()
    told = json.loads((made.folder / made.probe("resnet").table.file).read_text())
    assert {row["fold"] for row in told["rows"]} == {-1}
    assert np.isfinite(np.load(made.folder / made.probe("resnet").values.file)).all()
    assert record.load(made.folder) == made


def test_rows_that_no_model_left_out_have_no_prediction(exported, copied, monkeypatch):
    workspace, config, version = copied
    monkeypatch.setattr(onnx_format, "trace", exporter(exported))
    made, _ = stage.export(with_(config, "export", max_score_drop=1.0), workspace, unseen(version, [-1] * 40 + [0] * 20))
    answered = np.isfinite(np.load(made.oof("resnet", "identity"))).all(axis=1)
    assert answered.tolist() == [False] * 40 + [True] * 20
    assert made.models[0].score is not None
    told = json.loads((made.folder / made.probe("resnet").table.file).read_text())
    assert [row["fold"] for row in told["rows"]] == [0] * 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_torchscript_goes_the_same_way(copied, kind):
    workspace, config, version = copied
    wanted = with_(config, "export", format="torchscript", precision=kind, max_score_drop=1.0)
    made, _ = stage.export(wanted, workspace, one_fold(version))
    (one,) = made.models
    assert (one.format, one.file) == ("torchscript", f"resnet-f0-{kind}.ts.bin")
    assert one.prices[0].backend == "torchscript"
    assert one.prices[0].error == ""
    assert one.max_abs_diff <= parity.LIMITS[kind]
    assert any("newer than the image's" in note for note in one.notes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "int8-static"])
def test_whole_numbers_go_the_same_way(copied, kind):
    workspace, config, version = copied
    made, _ = stage.export(with_(config, "export", precision=kind, max_score_drop=1.0), workspace, one_fold(version))
    (one,) = made.models
    assert one.precision == kind
    assert {rung.step for rung in one.ladder} == {"fp32", kind}
    assert max(rung.max_abs_diff for rung in one.ladder if rung.step == "fp32") <= parity.LIMITS["fp32"]


@pytest.mark.slow
def test_what_is_compared_is_what_will_run(copied, monkeypatch):
    pytest.importorskip("openvino")
    workspace, config, version = copied
    opened, real = set(), backends.open

    def watched(path, accelerator="cpu", threads=1, kind="onnxruntime"):
        opened.add(kind)
        return real(path, accelerator, threads, kind)

    monkeypatch.setattr(backends, "open", watched)
    wanted = with_(with_(config, "export", max_score_drop=1.0), "inference", backend="openvino")
    made, _ = stage.export(wanted, workspace, one_fold(version))
    assert opened == {"openvino"}
    assert made.models[0].max_abs_diff <= parity.LIMITS["fp32"]
    assert made.digest != stage.digest(config, version), "another backend is another proof"
