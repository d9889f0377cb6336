"""Weights of a text model that were trained elsewhere: they predict what the library predicts with them, or are refused."""

import numpy as np
import pytest

from builder import competition, config, pipeline
from builder.errors import ConfigError, GateError
from builder.train import adopt, folds
from builder.workspace import write_text
from tests import competitions_cells as tiny

transformers = pytest.importorskip("transformers")
import torch  # noqa: E402  comes with transformers

from tests.recipes import folders  # noqa: E402  needs transformers

MODELS = """
[[model]]
name = "bert"
backbone = "hf/elsewhere"
checkpoints = "given/fold{fold}.safetensors"
folds = "given/folds.csv"
oof = "given/oof.npy"
text = { length = 12 }

[inference]
views = ["identity", "identity@8"]
"""


@pytest.fixture
def there(workspace, tmp_path, request):
    """A workspace with two folds of a small model, and the predictions that the library makes with them."""
    kind, _, factor = getattr(request, "param", "wordpiece").partition(" x ")
    root = tiny.write(tmp_path / "tiny-cells", tiny.TEXT, rows=40)
    folder, given = workspace.root / "elsewhere", workspace.root / "given"
    folders.write(folder, kind, weights=True, num_labels=2)
    write_text(workspace.kernels / "texts-one" / "kernel.toml", tiny.config(root, tiny.TEXT, models=MODELS))
    settings = config.load(workspace.kernels / "texts-one")
    rows = competition.train_rows(settings, root)
    assigned = folds.of(rows, settings.cv)
    write_text(given / "folds.csv", folds.to_csv(rows.ids, assigned, rows.told))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    oof = np.zeros((40, 2), dtype=np.float32)
    for fold in (0, 1):
        torch.manual_seed(fold)
        model = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.from_pretrained(folder))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(float(factor or 3))  # as opinionated as a trained one, or more so
        model.eval().save_pretrained(given / f"m{fold}")
        (given / f"m{fold}" / "model.safetensors").rename(given / f"fold{fold}.safetensors")
        for row in np.flatnonzero(assigned == fold):
            one = tokenizer(rows.cells[row]["document"], truncation=True, max_length=12, return_tensors="pt")
            with torch.inference_mode():
                logits = model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]).logits
            oof[row] = torch.softmax(logits, 1)[0].numpy()
    np.save(given / "oof.npy", oof)
    return pipeline.Kernel(workspace, "texts-one")


def adopted(kernel):
    return adopt.adopt(kernel.config, kernel.workspace, kernel.name)[0]


@pytest.mark.parametrize(
    "there",
    ["wordpiece", pytest.param("bytes", marks=pytest.mark.slow), pytest.param("decoder", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_model_of_the_library_predicts_here_what_it_predicts_there(there):
    version = adopted(there)
    (model,) = version.models
    assert model.compared.rows == 40
    assert model.compared.largest < 1e-5
    assert model.views == ("identity", "identity@8")
    assert {"config.json", "tokenizer.json", "recipe.json"} <= set(model.sources)
    first = next(iter(pipeline.export(there).values()))
    np.testing.assert_allclose(
        np.load(first.oof("bert", "identity")), np.load(there.workspace.root / "given" / "oof.npy"), atol=1e-4
    )
    units = pipeline.plan(there).plan.units
    assert {unit.view for unit in units} <= {"identity", "identity@8"}
    assert adopt.adopt(there.config, there.workspace, there.name)[1] is False


@pytest.mark.parametrize("there", ["bytes x 8"], indirect=True)
def test_another_length_than_that_of_the_predictions_is_refused(there):
    path = there.folder / "kernel.toml"
    write_text(path, path.read_text().replace("length = 12", "length = 8"))
    with pytest.raises(GateError, match="bert does not predict what came with its weights") as caught:
        adopted(pipeline.Kernel(there.workspace, there.name))
    assert "length" in caught.value.remedy
    assert not list(there.workspace.weights(there.name).glob("v*"))


def test_predictions_in_another_order_are_recognised(there):
    path = there.workspace.root / "given" / "oof.npy"
    np.save(path, np.load(path)[::-1])
    with pytest.raises(GateError, match="does not predict") as caught:
        adopted(there)
    assert "order" in caught.value.remedy


def test_only_models_of_the_library_bring_weights_of_texts(there):
    path = there.folder / "kernel.toml"
    write_text(path, path.read_text().replace('"hf/elsewhere"', '"text/gru"'))
    with pytest.raises(ConfigError, match="checkpoints"):
        config.load(there.folder)


@pytest.mark.slow
def test_a_folder_of_the_library_is_fine_tuned_and_rehearsed(there):
    lines = [
        line
        for line in (there.folder / "kernel.toml").read_text().splitlines()
        if not line.startswith(("checkp", "folds =", "oof"))
    ]
    # With fewer steps all answers would be alike, and a rounding would tell which is larger.
    text = "\n".join(lines).replace("[cv]\n", "[cv]\nfolds = 2\n") + "\n\n[train]\nepochs = 12\nlr = 1e-2\n"
    write_text(there.folder / "kernel.toml", text)
    kernel = pipeline.Kernel(there.workspace, there.name)
    pipeline.train(kernel)
    pipeline.export(kernel)
    pipeline.plan(kernel)
    pipeline.bundle(kernel, "me")
    pipeline.render(kernel, "me")
    rehearsal = pipeline.rehearse(kernel)
    assert (rehearsal.label, rehearsal.ok) == ("Scored", True)
