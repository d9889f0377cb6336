"""Networks from elsewhere that answer labels, numbers or several targets: adopted, compared, and exported in the same units."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from builder import competition, models
from builder import config as configs
from builder.errors import GateError, UserError
from builder.export import stage as exporting
from builder.runtime.heads import answers, slices
from builder.train import adopt, record
from builder.workspace import write_text
from tests.train import several

torch = pytest.importorskip("torch")

MODEL = """\
build = "models.py:build"
checkpoints = "given/fold{fold}.pth"
folds = "given/folds.csv"
oof = "given/oof.npy"
input = { size = 32, mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }
"""
BUILD = """\
import torch


def build(classes):
    pooled = (torch.nn.AvgPool2d(8), torch.nn.Flatten())
    return torch.nn.Sequential(*pooled, torch.nn.Linear(48, 16), torch.nn.Tanh(), torch.nn.Linear(16, classes))
"""
SQUASHED = BUILD.replace("torch.nn.Linear(16, classes))", "torch.nn.Linear(16, classes), torch.nn.Sigmoid())")
OFFSET, UNIT = (9e4, 40.0), (1e4, 9.0)  # of what the networks answer where there are numbers


class There:
    """A workspace with the networks of two folds, and what they say of the images that they did not see."""

    def __init__(self, workspace, tmp_path, truth, build=BUILD):
        self.workspace, self.folder = workspace, workspace.kernels / "one"
        self.root = several.write(tmp_path / "data", several.IMAGE, rows=40, unit=UNIT[0], offset=OFFSET[0])
        write_text(self.folder / "models.py", build)
        write_text(self.folder / "kernel.toml", several.config(self.root, several.IMAGE, truth, MODEL))
        self.config = configs.load(self.folder)
        self.rows = competition.train_rows(self.config, self.root)
        self.folds = np.arange(40) % 2
        given, space = workspace.root / "given", {}
        exec(build, space)  # noqa: S102  our own text, above
        pixels = np.stack([np.asarray(Image.open(path)) for path in self.rows.paths]).transpose(0, 3, 1, 2)
        batch = torch.from_numpy(((pixels / 255 - 0.5) / 0.25).astype(np.float32))
        self.logits = np.zeros((40, len(self.rows.classes)), dtype=np.float32)
        for fold in (0, 1):
            torch.manual_seed(fold)
            module = space["build"](len(self.rows.classes))
            with torch.no_grad():
                last = [layer for layer in module if isinstance(layer, torch.nn.Linear)][-1]
                last.weight.mul_(4)
                own = [place for head, place in zip(self.rows.heads, slices(self.rows.heads), strict=True) if head.spread]
                for place in own:  # numbers
                    last.weight[place].mul_(torch.tensor(UNIT)[: place.stop - place.start, None])
                    last.bias[place] = torch.tensor(OFFSET)[: place.stop - place.start]
            given.mkdir(exist_ok=True)
            torch.save(module.state_dict(), given / f"fold{fold}.pth")
            with torch.inference_mode():
                self.logits[self.folds == fold] = module(batch).numpy()[self.folds == fold]
        told = ["id,fold", *(f"{name},{fold}" for name, fold in zip(self.rows.ids, self.folds, strict=True))]
        write_text(given / "folds.csv", "\n".join(told) + "\n")
        self.oof = answers(self.logits, [replace(head, offset=(), spread=()) for head in self.rows.heads])
        self.save(self.oof)

    @property
    def spread(self):
        return np.array([unit for head in self.rows.heads for unit in head.spread or (1.0,) * len(head.classes)])

    def save(self, values):
        np.save(self.workspace.root / "given" / "oof.npy", values)

    def adopted(self):
        return adopt.adopt(self.config, self.workspace, "one")[0]


TRUTHS = ("numbers", "multilabel", "classes", "mixed")


@pytest.mark.parametrize("truth", ["numbers", *(pytest.param(one, marks=pytest.mark.slow) for one in TRUTHS[1:])])
def test_it_says_here_what_it_says_there(workspace, tmp_path, truth):
    there = There(workspace, tmp_path, truth)
    version = there.adopted()
    (model,) = version.models
    assert model.compared.rows == 40
    assert model.compared.largest < 1e-4
    assert version.parts == there.rows.heads
    assert record.load(version.folder) == version
    np.testing.assert_allclose(np.load(version.oof("one", "identity")) / there.spread, there.oof / there.spread, atol=1e-4)
    pixels, some = np.stack([np.asarray(Image.open(path)) for path in there.rows.paths]), np.flatnonzero(there.folds == 1)
    found = models.answers(version.network(model, 1), pixels, some, heads=version.parts)
    np.testing.assert_allclose(found / there.spread, there.oof[some] / there.spread, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
def test_its_export_says_the_same_in_the_same_unit(workspace, tmp_path, truth):
    there = There(workspace, tmp_path, truth)
    export, _ = exporting.export(there.config, workspace, there.adopted())
    np.testing.assert_allclose(np.load(export.oof("one", "identity")) / there.spread, there.oof / there.spread, atol=1e-4)
    assert max(one.max_abs_diff for one in export.models) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["multilabel", "classes"])
def test_logits_that_came_with_the_weights_are_taken_for_logits(workspace, tmp_path, truth):
    there = There(workspace, tmp_path, truth)
    there.save(there.logits)
    version = there.adopted()
    assert version.models[0].compared.largest < 1e-4
    assert any("taken for logits" in note for note in version.notes)


@pytest.mark.slow
@pytest.mark.parametrize("truth", several.TRUTHS)
def test_other_predictions_than_those_of_the_weights_are_refused(workspace, tmp_path, truth):
    there = There(workspace, tmp_path, truth)
    there.save(there.oof[::-1].copy())
    with pytest.raises(GateError, match="its rows stand in reverse"):
        there.adopted()
    there.save(there.oof[:, ::-1].copy() if len(there.rows.classes) > 1 else there.oof + 0.3 * there.rows.heads[0].spread[0])
    with pytest.raises(GateError, match="does not predict what came with its weights"):
        there.adopted()
    there.save(there.oof[:30])
    with pytest.raises(UserError, match="another shape"):
        there.adopted()


@pytest.mark.slow
def test_other_colours_are_named_for_numbers_too(workspace, tmp_path):
    there = There(workspace, tmp_path, "numbers")
    path = there.folder / "kernel.toml"
    write_text(path, path.read_text().replace("size = 32,", 'size = 32, color = "bgr",'))
    there.config = configs.load(there.folder)
    with pytest.raises(GateError, match='color = "rgb"'):
        there.adopted()


def test_labels_that_went_through_the_logistic_function_already_are_refused(workspace, tmp_path):
    there = There(workspace, tmp_path, "multilabel", SQUASHED)
    path = there.folder / "kernel.toml"
    write_text(path, path.read_text().replace('oof = "given/oof.npy"\n', ""))
    there.config = configs.load(there.folder)
    with pytest.raises(UserError, match="answers with probabilities"):
        there.adopted()
    assert not list(workspace.weights("one").glob("v*"))
