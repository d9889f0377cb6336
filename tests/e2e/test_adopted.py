"""Weights that were trained elsewhere, by somebody else's code: adopted, shipped, and found out when the far side differs.

The commit run predicts training rows first. A wrong normalisation ends it before anything can be submitted; a slow backend comes
back as a price.
"""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from builder import competition
from tests import competitions

from .test_demo import KKB, Shell

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow

CLASSES = ("cat", "dog", "eel")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
MODELS = """\
import torch


def build(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(32, classes),
    )
"""
KERNEL = """\
[competition]
slug = "tiny-animals"
limit = "20min"
machine = "cpu"

[data]
id = "image_id"
target = "label"
image = "train_images/{image_id}.png"
test_image = "test_images/{image_id}.png"

[bundle]
wheels = false

[[model]]
name = "small"
build = "models.py:build"
checkpoints = "elsewhere/small-f{fold}.pth"
folds = "elsewhere/folds.csv"
input = { size = 32, mean = [0.5, 0.4, 0.3], std = [0.2, 0.25, 0.3] }
"""
SLOW = """\
import time

import onnxruntime

run = onnxruntime.InferenceSession.run


def slowly(self, *arguments, **options):
    time.sleep(0.2)
    return run(self, *arguments, **options)


onnxruntime.InferenceSession.run = slowly
"""


def elsewhere(folder, data):
    """Two folds, trained by a loop that knows nothing of us, saved as people save them."""
    namespace = {}
    exec(MODELS, namespace)  # noqa: S102  the very code that the kernel carries
    rows = competition.read_table(data / "train.csv")
    pixels = np.stack([np.asarray(Image.open(data / "train_images" / f"{name}.png")) for name in rows["image_id"]]) / 255.0
    x = torch.tensor((pixels - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
    y = torch.tensor([CLASSES.index(label) for label in rows["label"]])
    fold = np.arange(len(rows)) // 3 % 2
    folder.mkdir()
    for number in (0, 1):
        torch.manual_seed(number)
        model, seen = namespace["build"](len(CLASSES)), torch.tensor(fold != number)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[seen]), y[seen]).backward()
            optimiser.step()
        state = {f"module.{key}": value for key, value in model.state_dict().items()}
        torch.save({"epoch": 60, "state_dict": state}, folder / f"small-f{number}.pth")
    competitions.table(folder / "folds.csv", ["image_id", "fold"], zip(rows["image_id"], fold.tolist(), strict=True))


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A shell whose stand-in has the competition, with weights from elsewhere beside a kernel.toml that names them."""
    home = tmp_path_factory.mktemp("adopted")
    made = Shell(home)
    competitions.write(home / "x", rows=120, classes=CLASSES)
    competitions.write(home / "y", rows=90, visible=60, classes=CLASSES)
    ids = competition.read_table(home / "y" / "test.csv")["image_id"].tolist()
    shutil.rmtree(home / "y" / "train_images")
    (home / "y" / "train.csv").unlink()
    rows = [(one, CLASSES[i % len(CLASSES)], ("Public", "Private")[i // 30]) for i, one in enumerate(ids)]
    competitions.table(home / "y" / "solution.csv", ["image_id", "label", "Usage"], rows)
    made.kkb("standin", "up")
    made.kkb("standin", "add-competition", "tiny-animals", "--data", shutil.make_archive(str(home / "x"), "zip", home / "x"),
             "--hidden", shutil.make_archive(str(home / "y"), "zip", home / "y"), "--metric", "accuracy", "--limit", "20min",
             "--daily", "5")  # fmt: skip
    kernel = made.folder / "kernels" / "animals"
    kernel.mkdir(parents=True)
    (kernel / "kernel.toml").write_text(KERNEL)
    (kernel / "models.py").write_text(MODELS)
    elsewhere(made.folder / "elsewhere", home / "x")
    made.run(*KKB, "fetch", "animals", "--standin")
    yield made
    made.run(*KKB, "standin", "down", check=False)


@pytest.fixture(scope="module")
def shipped(shell):
    return shell.kkb("ship", "animals", "--standin")


def run_of(shell, version):
    return json.loads((shell.folder / f".kkb/runs/animals/v{version}/run.json").read_text())


def again(shell):
    """Everything after the export, up to the push."""
    for command in (["plan"], ["bundle", "--standin"], ["render", "--standin"]):
        shell.run(*KKB, command[0], "animals", *command[1:])
    return shell.run(*KKB, "push", "animals", "--standin", "--wait", check=False)


def test_weights_from_elsewhere_are_shipped_without_training(shell, shipped):
    assert shipped["label"] == "Scored"
    assert shipped["score"] >= 0.9
    assert shipped["cv"] >= 0.9
    assert "adopt" in shipped["seconds"]
    assert "train" not in shipped["seconds"]
    assert shell.kkb("adopt", "animals")["fresh"] is False


def test_the_commit_run_compares_itself_with_home_and_brings_prices(shell, shipped):
    run = run_of(shell, 1)
    assert {(probe["fold"], probe["ok"]) for probe in run["probes"]} == {(0, True), (1, True)}
    assert sum(probe["rows"] for probe in run["probes"]) == 120
    prices = json.loads(next(shell.folder.glob("weights/animals/v001/exports/*/prices-standin.json")).read_text())
    assert set(prices["units"]) == {"small-f0-fp32.onnx", "small-f1-fp32.onnx"}
    assert prices["measured_on"]["processor"]
    assert "a run on standin" not in (shell.folder / "kernels/animals/plan.json").read_text(), "shipping again must not replan"
    assert shell.kkb("plan", "animals")["units"]
    assert "a run on standin" in (shell.folder / "kernels/animals/plan.json").read_text()


def test_a_slow_backend_comes_back_as_a_price(shell, shipped):
    (shell.folder / "kernels/animals/hooks.py").write_text(SLOW)
    assert again(shell).returncode == 0
    fetched = shell.run(*KKB, "output", "animals", "--standin")
    assert "slow backend, or another machine" in fetched.stderr
    planned = shell.kkb("plan", "animals")
    slowest = max(unit["seconds"] for unit in planned["units"])
    assert slowest > 0.2 / 64, "at least 0.2 s for each batch of at most 32 rows"
    (shell.folder / "kernels/animals/hooks.py").unlink()


def test_a_wrong_normalisation_ends_the_commit_run(shell, shipped):
    import onnx
    from onnx import numpy_helper

    (folder,) = shell.folder.glob("weights/animals/v001/exports/*/")
    path = folder / "small-f0-fp32.onnx"
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:  # as if mean and std had never been told
        values = numpy_helper.to_array(tensor)
        if values.size == 3 and "shift" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(values), tensor.name))
            break
    else:
        pytest.fail("the graph has no shift to break")
    path.unlink()
    onnx.save(graph, path)
    record = json.loads((folder / "export.json").read_text())
    for model in record["models"]:
        if model["file"] == path.name:
            model.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)
    (folder / "export.json").write_text(json.dumps(record))
    pushed = again(shell)
    assert pushed.returncode == 5
    assert "normalisation" in pushed.stderr
    assert "small fold 0" in pushed.stderr.replace("v001:", "")
    rehearsed = shell.run(*KKB, "rehearse", "animals", check=False)
    assert rehearsed.returncode == 5, "the rehearsal's commit run finds it, too"
    assert "normalisation" in rehearsed.stderr
