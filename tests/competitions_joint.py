"""Writes a tiny competition of products: a photo, a title and columns, each of which alone tells one level of the category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.competitions import image, table
from tests.competitions_cells import WORDS

COLOURS, USES, SIZES = ("black", "blue", "green"), ("kitchen", "garden"), ("large", "medium", "small")
HINTS = {"kitchen": ("pan", "냄비"), "garden": ("rake", "삽")}
LEVELS = ("colour", "use", "size")
SIDE = 32
CONFIG = """\
[competition]
slug = "tiny-products"
metric = "accuracy"
limit = "20min"
machine = "cpu"

[data]
root = "{root}"
task = "{task}"
id = "product"
target = {targets}
{read}
[bundle]
wheels = false

[cv]
folds = 2

[train]
epochs = {epochs}
lr = 5e-3
batch_size = 16
"""
IMAGE = 'image = "train_images/{product}.png"\ntest_image = "test_images/{product}.png"\n'
TEXT, COLUMNS = 'text = ["title"]\n', 'columns = ["weight", "maker"]\n'
NETWORK = '\n[[model]]\nname = "{name}"\nbackbone = "{backbone}"\npretrained = false\nbeside = {beside}\n{more}'
SMALL = "input = { size = 32 }\ntext = { length = 16, vocabulary = 300 }\n"
SHORT = "text = { length = 16, vocabulary = 300 }\n"
# What a model reads -> task, keys of [data], its [[model]], and the levels that it can know.
KINDS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "image and columns": (
        "image-classification",
        IMAGE + COLUMNS,
        NETWORK.format(name="both", backbone="timm/test_resnet", beside='["table/mlp"]', more="input = { size = 32 }\n"),
        ("colour", "size"),
    ),
    "image and text": (
        "image-classification",
        IMAGE + TEXT,
        NETWORK.format(name="both", backbone="timm/test_resnet", beside='["text/gru"]', more=SMALL),
        ("colour", "use"),
    ),
    "text and columns": (
        "text-classification",
        TEXT + COLUMNS,
        NETWORK.format(name="both", backbone="text/gru", beside='["table/mlp"]', more=SHORT),
        ("use", "size"),
    ),
    "all": (
        "image-classification",
        IMAGE + TEXT + COLUMNS,
        NETWORK.format(name="all", backbone="timm/test_resnet", beside='["text/gru", "table/mlp"]', more=SMALL),
        LEVELS,
    ),
}


def config(root: Path, kind: str, *, epochs: int = 10, models: str = "", more: str = "") -> str:
    """The text of a kernel.toml for the products in `root`, read as `kind` says."""
    task, read, model, targets = KINDS[kind]
    named = str(list(targets)).replace("'", '"')
    return CONFIG.format(root=root, task=task, read=read, targets=named, epochs=epochs) + (models or model) + more


def write(root: Path, kind: str, *, rows: int = 96, visible: int = 3) -> Path:
    """Write train.csv, test.csv, sample_submission.csv and the photos of the competition `kind` of KINDS into `root`."""
    draw = np.random.default_rng(17)
    made = [_product(draw, number) for number in range(rows + visible)]
    header = ["product", *made[0][0]]
    cells = [[f"p{number:04d}", *read.values()] for number, (read, _) in enumerate(made)]
    table(root / "train.csv", [*header, *LEVELS], ([*row, *told] for row, (_, told) in zip(cells[:rows], made, strict=False)))
    table(root / "test.csv", header, cells[rows:])
    asked, first = KINDS[kind][-1], dict(zip(LEVELS, (COLOURS[0], USES[0], SIZES[0]), strict=True))
    blank = [first[level] for level in asked]
    table(root / "sample_submission.csv", ["product", *asked], ([row[0], *blank] for row in cells[rows:]))
    for place, (row, (_, told)) in enumerate(zip(cells, made, strict=True)):
        folder = root / ("train_images" if place < rows else "test_images")
        folder.mkdir(parents=True, exist_ok=True)
        image(draw, (0, 4, 2)[COLOURS.index(told[0])], SIDE).save(folder / f"{row[0]}.png")
    return root


def _product(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Its cells, and its levels: the photo shows the colour, the title says the use, the weight says the size."""
    colour, use, size = str(draw.choice(COLOURS)), USES[number % 2], int(draw.integers(3))
    words = [*draw.choice(WORDS, int(draw.integers(1, 6))), str(draw.choice(HINTS[use]))]
    weight = "" if number % 17 == 5 else f"{30 - 10 * size + draw.normal(0, 2):.2f}"
    return {"title": " ".join(draw.permutation(words)), "weight": weight, "maker": str(draw.choice(["Acme", "Brio"]))}, (
        colour,
        use,
        SIZES[size],
    )
