"""Writes tiny competitions without images: film reviews, and passengers. A word, or a column, tells the class of most rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.competitions import table

TEXT, TABLE = "text-classification", "tabular-classification"
TASKS = (TEXT, TABLE)
WORDS = ("film", "actor", "plot", "music", "scene", "story", "camera", "영화", "배우", "음악")
TOLD = (("dull", "boring", "지루"), ("great", "moving", "최고"))  # words of class 0 and of class 1
CONFIG = """\
[competition]
slug = "tiny-cells"
metric = "{metric}"
limit = "20min"
machine = "cpu"

[data]
root = "{root}"
task = "{task}"
id = "{id}"
target = "{target}"
{columns}

[bundle]
wheels = false   # no test of another thing should need a package index

[cv]
scheme = "{scheme}"
folds = {folds}
"""
MODELS = {
    TEXT: '\n[[model]]\nname = "linear"\nbackbone = "text/linear"\n',
    TABLE: '\n[[model]]\nname = "boosted"\nbackbone = "table/lightgbm"\narguments = { num_boost_round = 20 }\n',
}


def config(root: Path, task: str, *, folds: int = 2, models: str = "", more: str = "") -> str:
    """The text of a kernel.toml for the competition in `root`."""
    facts = {
        TEXT: ("auc", "review_id", "label", 'text = ["document"]\ngroup = "movie_id"', "group"),
        TABLE: ("accuracy", "passenger", "survived", "", "stratified"),
    }
    metric, identity, target, columns, scheme = facts[task]
    text = CONFIG.format(
        root=root, task=task, metric=metric, id=identity, target=target, columns=columns, scheme=scheme, folds=folds
    )
    return text + (models or MODELS[task]) + more


def write(root: Path, task: str, *, rows: int = 120, visible: int = 3, classes: tuple[str, str] = ("0", "1")) -> Path:
    """Write train.csv, test.csv and sample_submission.csv into `root`: probabilities for texts, labels for tables."""
    draw = np.random.default_rng(5)
    codes = draw.permutation(np.arange(rows + visible) % 2)
    make, identity, target = {TEXT: (_review, "review_id", "label"), TABLE: (_passenger, "passenger", "survived")}[task]
    made = [make(draw, number, int(code)) for number, code in enumerate(codes)]
    header = [identity, *made[0]]
    cells = [[str(7_000_000 + 13 * number), *row.values()] for number, row in enumerate(made)]
    labelled = [[*row, classes[code]] for row, code in zip(cells, codes, strict=True)]
    table(root / "train.csv", [*header, target], labelled[:rows])
    table(root / "test.csv", header, cells[rows:])
    answer = "0.5" if task == TEXT else classes[0]
    table(root / "sample_submission.csv", [identity, target], ([row[0], answer] for row in cells[rows:]))
    return root


def _review(draw: np.random.Generator, number: int, code: int) -> dict[str, str]:
    """A few words, of which one tells the class in most rows; six reviews of each film."""
    words = [*draw.choice(WORDS, 4), str(draw.choice(TOLD[code if draw.random() < 0.9 else 1 - code]))]
    return {"movie_id": str(500 + number // 6), "document": " ".join(draw.permutation(words))}


def _passenger(draw: np.random.Generator, number: int, code: int) -> dict[str, str]:
    """Numbers with gaps, categories, and a free text: as on a passenger list."""
    female = draw.random() < (0.85 if code else 0.15)
    age = "" if draw.random() < 0.2 else f"{draw.uniform(1, 80):.1f}"
    cabin = f"{draw.choice(list('ABC'))}{draw.integers(1, 99)}" if draw.random() < 0.3 else ""
    remark = f"passenger number {number}, who travels alone and has brought {draw.integers(1, 9)} trunks"
    return {
        "sex": "female" if female else "male",
        "age": age,
        "fare": f"{draw.lognormal(2 + code, 0.5):.4f}",
        "port": str(draw.choice(["S", "C", "Q", ""])),
        "boarded": f"1912-04-{10 + number % 5:02d}",
        "cabin": cabin,
        "remark": remark,
    }
