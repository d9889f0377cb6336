"""Writes tiny competitions, laid out as real ones are. The images of a class share a colour, so learning is easy."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

SLUG = "tiny-animals"
CONFIG = """\
[competition]
slug = "tiny-animals"
limit = "20min"
machine = "cpu"

[data]
root = "{root}"
id = "image_id"
target = "label"
image = "train_images/{{image_id}}.png"
test_image = "test_images/{{image_id}}.png"

[bundle]
wheels = false   # no test of another thing should need a package index

[cv]
folds = {folds}

[train]
epochs = {epochs}
lr = 5e-3
batch_size = 16

[[model]]
name = "resnet"
backbone = "timm/test_resnet"
pretrained = false
input = {{ size = 32 }}
"""


def config(root: Path, *, folds: int = 2, epochs: int = 1, more: str = "") -> str:
    """The text of a kernel.toml for the competition in `root`."""
    return CONFIG.format(root=root, folds=folds, epochs=epochs) + more


def write(
    root: Path,
    *,
    rows: int = 60,
    visible: int = 3,
    classes: tuple[str, ...] = ("cat", "dog"),
    form: str = "labels",
    suffix: str = ".png",
    ids_have_suffix: bool = False,
    train_folder: str = "train_images",
    test_folder: str = "test_images",
    identity: str = "image_id",
    target: str = "label",
    side: int = 32,
) -> Path:
    """Write train.csv, test.csv, sample_submission.csv and the images into `root`; `form` is the submission's."""
    names = {"train": [f"a{i:03d}" for i in range(rows)], "test": [f"t{i:03d}" for i in range(visible)]}
    labels = list(itertools.islice(itertools.cycle(classes), rows))
    draw = np.random.default_rng(3)
    for part, folder in (("train", train_folder), ("test", test_folder)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(names[part]):
            image(draw, index % len(classes), side).save(root / folder / f"{name}{suffix}")
    spelled = {part: [name + suffix * ids_have_suffix for name in found] for part, found in names.items()}
    table(root / "train.csv", [identity, target], zip(spelled["train"], labels, strict=True))
    table(root / "test.csv", [identity], ([name] for name in spelled["test"]))
    columns, answer = {
        "labels": ([target], [classes[0]]),
        "columns": (list(classes), [f"{1 / len(classes):.3f}"] * len(classes)),
        "probability": ([target], ["0.5"]),
    }[form]
    table(root / "sample_submission.csv", [identity, *columns], ([name, *answer] for name in spelled["test"]))
    return root


def image(draw: np.random.Generator, code: int, side: int) -> Image.Image:
    """Noise around the colour of class `code`."""
    colour = 40 + 170 * np.array([code & 1, code >> 1 & 1, code >> 2 & 1])
    return Image.fromarray(np.clip(colour + draw.normal(0, 25, (side, side, 3)), 0, 255).astype(np.uint8))


def table(path: Path, header: list[str], rows) -> None:
    """Write a csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
