"""The demonstration competition: scikit-learn's handwritten digits, written as a code competition is laid out.

1797 real digits of 8x8 pixels, shown as 32x32 PNG. They ship with scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.workspace import Workspace, replacing_folder, write_text

SLUG = "kkb-digits"
KERNEL = "digits"
HIDDEN_ROWS, VISIBLE_ROWS = 450, 3
DAILY = 100  # submissions a day: a demonstration should never end at a limit
SIDE = 32
CONFIG = """\
# The demonstration: scikit-learn's handwritten digits as a code competition.
[competition]
slug = "kkb-digits"
metric = "accuracy"
limit = "20min"
machine = "cpu"

[data]
id = "image_id"
target = "label"
image = "train_images/{image_id}.png"
test_image = "test_images/{image_id}.png"

[bundle]
wheels = false                  # the stand-in's image is this machine, which has onnxruntime; Kaggle's has not

[cv]
folds = 3

[train]
epochs = 14
lr = 3e-3
augment = ["shift"]             # a mirrored digit is another digit: no flips

[[model]]
name = "resnet"
backbone = "timm/test_resnet"   # 0.4 million weights; trains on two CPU cores in seconds
pretrained = false
input = { size = 32 }

[[model]]
name = "effnet"
backbone = "timm/test_efficientnet"
pretrained = false
input = { size = 32 }
"""


@dataclass(frozen=True)
class DemoCompetition:
    """Where the two parts lie: what competitors see, and what only the rerun and the scorer see."""

    data: Path
    hidden: Path


def write(folder: Path) -> DemoCompetition:
    """Write the competition below `folder`, unless it is there. Images are split between the parts; none is in both."""
    parts = DemoCompetition(folder / "data", folder / "hidden")
    if not parts.hidden.is_dir():
        with replacing_folder(parts.data) as data, replacing_folder(parts.hidden) as hidden:
            _write(data, hidden)
    return parts


def _write(data: Path, hidden: Path) -> None:
    import numpy as np
    import pandas as pd
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(2026).permutation(len(digits.target))
    ids = {int(index): f"d{position:04d}" for position, index in enumerate(order)}
    hidden_rows, visible, train = (part.tolist() for part in np.split(order, [HIDDEN_ROWS, HIDDEN_ROWS + VISIBLE_ROWS]))
    for rows, folder in ((hidden_rows, hidden / "test_images"), (visible, data / "test_images"), (train, data / "train_images")):
        folder.mkdir(parents=True)
        for index in rows:
            pixels = (digits.images[index] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{ids[index]}.png")

    def table(rows: list[int], **columns: object) -> pd.DataFrame:
        return pd.DataFrame({"image_id": [ids[i] for i in rows], **columns})

    table(train, label=[int(digits.target[i]) for i in train]).to_csv(data / "train.csv", index=False)
    for folder, rows in ((data, visible), (hidden, hidden_rows)):
        table(rows).to_csv(folder / "test.csv", index=False)
        table(rows, label=0).to_csv(folder / "sample_submission.csv", index=False)
    usage = np.where(np.arange(HIDDEN_ROWS) % 3 == 0, "Public", "Private")
    solution = table(hidden_rows, label=[int(digits.target[i]) for i in hidden_rows], Usage=usage)
    solution.to_csv(hidden / "solution.csv", index=False)


def prepare(workspace: Workspace) -> DemoCompetition:
    """Write the competition, and `kernels/digits/kernel.toml` unless a person has one there."""
    path = workspace.kernels / KERNEL / "kernel.toml"
    if not path.exists():
        write_text(path, CONFIG)
    return write(workspace.private / "demo")
