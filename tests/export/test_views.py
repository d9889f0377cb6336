"""Views of other sizes and of parts: exported, compared, priced and probed at what the model sees; refused where it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest

from builder import competition, config, images, metrics
from builder.errors import ConfigError, UserError
from builder.export import parity, record, source, stage
from builder.runtime import backends, inputs, views
from builder.shown import size_of
from builder.train import record as trained
from builder.train import stage as training
from builder.workspace import write_text
from tests import competitions

pytest.importorskip("torch")

VIEWS = ("identity", "hflip", "hflip@48", "identity@topleft75")


def kernel(workspace, root, *, names=VIEWS):
    text = competitions.config(root, more=f"[inference]\nviews = {json.dumps(list(names))}\n")
    write_text(workspace.kernels / "animals" / "kernel.toml", text)
    return config.load(workspace.kernels / "animals")


@pytest.mark.slow
def test_a_competition_with_views_of_other_sizes_from_pixels_to_predictions(workspace, animals):
    found = kernel(workspace, animals)
    plain = kernel(workspace, animals, names=["identity"])
    assert training.digest(found, workspace, "animals") == training.digest(plain, workspace, "animals"), "views train nothing"
    version, _ = training.train(found, workspace, "animals")
    (model,) = version.models
    assert model.views == VIEWS
    made, _ = stage.export(found, workspace, version)
    assert record.load(made.folder) == made
    rows = competition.train_rows(found, animals)
    _, folds, _ = trained.read_folds(version.folder / trained.FOLDS)
    for view in VIEWS:
        decoded, failed = inputs.decode_many(rows.paths, views.input_of(view, model.input))
        assert failed == []
        seen = views.get(view).apply(decoded)
        assert seen.shape[1:3] == ((48, 48) if view == "hflip@48" else (32, 32))
        oof = np.load(made.oof("resnet", view))
        for one in made.models:
            held_out = folds == one.fold
            np.testing.assert_allclose(oof[held_out], backends.open(made.folder / one.file).run(seen[held_out]), atol=1e-5)
        np.testing.assert_allclose(oof, np.load(version.oof("resnet", view)), atol=parity.LIMITS["fp32"])
        assert made.scores["resnet"][view] == pytest.approx(metrics.get(version.metric)(rows.y, oof))
    for one in made.models:
        steps = [(rung.view, rung.batch, rung.sizes) for rung in one.ladder]
        larger = {"height": 48, "width": 48}
        assert steps == [
            *[("identity", batch, {}) for batch in ("1", "2", "8", "8, ragged")],
            *[("hflip@48", batch, larger) for batch in ("1", "2", "8", "8, ragged")],
            *[(view, "8", larger if view == "hflip@48" else {}) for view in VIEWS],
        ]
    assert set(made.decode_ms) == {views.input_of(view, model.input).key for view in VIEWS}
    assert len(made.decode_ms) == 3
    prices = {view: record.price(made, made.models[0], None, 8, size=size_of(view, model.input)) for view in VIEWS}
    assert prices["hflip"] == prices["identity"] == prices["identity@topleft75"]
    assert prices["hflip@48"].ms_per_sample > prices["identity"].ms_per_sample
    values = np.load(made.folder / made.probe("resnet").values.file)
    told = json.loads((made.folder / made.probe("resnet").table.file).read_text())
    ids = [row["row"]["image_id"] for row in told["rows"]]
    for at, view in enumerate(told["views"]):
        expected = np.load(version.oof("resnet", view))[[rows.ids.index(one) for one in ids]]
        np.testing.assert_allclose(values[at], expected, atol=1e-5)


def test_images_are_decoded_once_for_all_views_of_one_input(workspace, animals):
    found = kernel(workspace, animals)
    rows = competition.train_rows(found, animals)
    base = inputs_of(found)
    seen = images.seen(rows.paths, base, (*VIEWS, "vflip@bottomright75"), root=animals, cache=workspace.cache)
    assert {view: array.shape[1] for view, array in seen.items()} == {
        "identity": 32, "hflip": 32, "hflip@48": 48, "identity@topleft75": 43, "vflip@bottomright75": 43,
    }  # fmt: skip
    assert len({id(array) for array in seen.values()}) == 3


def inputs_of(found):
    from builder.runtime.contract import Input

    size = found.model[0].input.size
    return Input(size, size)


FIXED = "import torch\ndef build(classes):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, classes))\n"


def test_a_network_for_one_size_is_refused_before_it_is_trained(workspace, animals):
    found = kernel(workspace, animals)
    text = (
        (workspace.kernels / "animals" / "kernel.toml")
        .read_text()
        .replace('backbone = "timm/test_resnet"', 'build = "models.py:build"')
    )
    write_text(workspace.kernels / "animals" / "kernel.toml", text)
    write_text(workspace.kernels / "animals" / "models.py", FIXED)
    found = config.load(workspace.kernels / "animals")
    with pytest.raises(UserError, match=r"models.py:build cannot take the images of view 'hflip@48'") as caught:
        training.train(found, workspace, "animals")
    assert "48x48" in caught.value.found
    assert caught.value.remedy == "leave 'hflip@48' out of [inference] views"
    assert not workspace.weights("animals").exists()


@pytest.mark.slow
def test_a_transformer_with_position_embeddings_says_what_would_help(workspace, animals):
    kernel(workspace, animals, names=("identity", "identity@64"))
    path = workspace.kernels / "animals" / "kernel.toml"
    fixed = 'name = "resnet"\narguments = { dynamic_img_size = false }'
    write_text(path, path.read_text().replace("timm/test_resnet", "timm/test_vit").replace('name = "resnet"', fixed))
    with pytest.raises(UserError, match=r"timm/test_vit cannot take the images of view 'identity@64'") as caught:
        training.train(config.load(path.parent), workspace, "animals")
    assert "leave 'identity@64' out" in caught.value.remedy
    assert "arguments = { dynamic_img_size = true }" in caught.value.remedy
    write_text(path, path.read_text().replace("dynamic_img_size = false", "dynamic_img_size = true"))
    version, _ = training.train(config.load(path.parent), workspace, "animals")
    assert np.isfinite(np.load(version.oof("resnet", "identity@64"))).all()


def test_a_source_of_one_size_has_that_size_in_its_graph_and_one_of_many_names():
    fixed, free = source.image(None, 32, 48), source.image(None, 32, 48, sized=True)
    assert fixed.sizes == ("batch",)
    assert free.sizes == ("batch", "height", "width")
    assert fixed.example()["image"].shape == free.example()["image"].shape == (2, 32, 48, 3)


@pytest.mark.parametrize(
    ("name", "told"), [("@288", "did you mean 'identity@288'?"), ("hflip@8000", "8 to 4096 pixels"), ("hflipp", "'hflip'?")]
)
def test_a_view_that_there_is_not_is_refused_with_what_was_meant(workspace, animals, name, told):
    with pytest.raises(ConfigError, match=r"inference.views") as caught:
        kernel(workspace, animals, names=("identity", name))
    assert told in caught.value.expected


def test_a_price_is_told_for_the_size_that_a_view_shows(tmp_path):
    def priced(size, ms):
        return record.Priced("m.onnx", "onnxruntime", "cpu", 1, 3.0, {"32": {"median_ms": ms}}, size=size)

    prices = (priced("", 1.0), priced("48x48", 2.0))
    model = record.ExportedModel(
        "m", 0, "onnx", "fp32", "m.onnx", "", 1, (1,), 0.0, 1.0, None, None, {"32": 1.0}, 3.0, prices=prices
    )
    made = record.Export("d", "v001", tmp_path, "fp32", VIEWS, (model,), {}, {}, "a test", {})
    assert record.price(made, model, None, 32).ms_per_sample == 1.0
    assert record.price(made, model, None, 32, size="48x48").ms_per_sample == 2.0
    with pytest.raises(UserError, match="at 64x64"):
        record.price(made, model, None, 32, size="64x64")
    unit = record.UnitPrice("onnxruntime", 32, 0.5, 9.0, 3.0, 8.0)
    record.Prices("t4x2", {}, {record.priced_as("m.onnx", "48x48"): unit}).write(tmp_path)
    measured = record.load_prices(tmp_path, "t4x2")
    assert record.price(made, model, measured, 32, size="48x48").measured_on == "t4x2"
    assert record.price(made, model, measured, 32).measured_on == "home", "another size has another price"
