"""One tiny competition that can be asked anything: labels, numbers, or classes of two targets, of texts, tables or images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.competitions import table

TEXT, TABLE, IMAGE = "text-classification", "tabular-classification", "image-classification"
WORDS = ("film", "actor", "plot", "scene", "영화")
CONFIG = """\
[competition]
slug = "several"
metric = "{metric}"
limit = "20min"
machine = "cpu"

[data]
root = "{root}"
task = "{task}"
id = "id"
target = {target}
truth = {truth}
{read}

[cv]
folds = 2

[[model]]
name = "one"
{model}

{more}
"""
READ = {
    TEXT: 'text = ["document"]',
    TABLE: 'columns = ["red", "green", "blue", "street"]',
    IMAGE: 'image = "train_images/{id}.png"\ntest_image = "train_images/{id}.png"',
}
LABELS, NUMBERS, HEADS = ("warm", "leafy", "dark"), ("price", "age"), ("street_of", "size")
TRUTHS = {
    "multilabel": (LABELS, "mean(auc)"),
    "numbers": (NUMBERS, "mean(rmse)"),
    "number": (NUMBERS[:1], "rmse"),
    "classes": (HEADS, "accuracy"),
    "mixed": (("price", "street_of"), "price=r2, street_of=accuracy"),
}
STREETS, SIZES = ("high", "main", "mill"), ("big", "small")


def write(root: Path, task: str, *, rows: int = 90, unit: float = 1000.0, offset: float = 5000.0) -> Path:
    """Write train.csv, test.csv and the images; `unit` and `offset` are those of the price."""
    draw, made = np.random.default_rng(3), []
    for number in range(rows + 2):
        red, green, blue = (float(draw.uniform(0, 1)) for _ in range(3))
        street = STREETS[number % 3]
        labels = [int(red > 0.5), int(green > 0.5), int(red + green + blue < 1.2)]
        price, age = offset + unit * (red - 2 * green + draw.normal(0, 0.05)), 40 + 9 * blue
        size = SIZES[int(blue + draw.normal(0, 0.05) < 0.5)]
        told = [f"red{int(4 * red)}", f"green{int(4 * green)}", f"blue{int(4 * blue)}", street]
        document = " ".join(draw.permutation([*draw.choice(WORDS, 3), *told]))
        cells = [f"{red:.4f}", f"{green:.4f}", f"{blue:.4f}", street, document]
        made.append([f"r{number:03d}", *cells, *labels, repr(price), f"{age:.3f}", street, size])
        if task == IMAGE:
            colour = [255 * red, 255 * green, 255 * blue]
            _save(root / "train_images" / f"r{number:03d}.png", draw, colour, number % 3)
    header = ["id", "red", "green", "blue", "street", "document"]
    table(root / "train.csv", [*header, *LABELS, *NUMBERS, *HEADS], made[:rows])
    table(root / "test.csv", header, [row[:6] for row in made[rows:]])
    table(root / "sample_submission.csv", ["id"], [row[:1] for row in made[rows:]])
    return root


def _save(path: Path, draw: np.random.Generator, colour: list[float], street: int) -> None:
    """A picture of one colour, with a white bar in one of three places."""
    pixels = np.clip(np.array(colour) + draw.normal(0, 4, (32, 32, 3)), 0, 255)
    pixels[10 * street : 10 * street + 8, 8:24] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def config(root: Path, task: str, truth: str, model: str, *, more: str = "", metric: str = "") -> str:
    """The text of a kernel.toml; `truth` is one of TRUTHS."""
    targets, usual = TRUTHS[truth]
    target = str(list(targets)).replace("'", '"') if len(targets) > 1 else f'"{targets[0]}"'
    kind = {"number": '"numbers"', "mixed": '{ price = "numbers" }'}.get(truth, f'"{truth}"')
    return CONFIG.format(
        metric=metric or usual, root=root, task=task, target=target, truth=kind, read=READ[task], model=model, more=more
    )
