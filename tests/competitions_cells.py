"""Writes tiny competitions without images: film reviews, and passengers. A word, or a column, tells the class of most rows.

Those of SEVERAL predict something else than one class of each row: labels that are there or not, numbers, or several targets
with classes of their own; the last of them has images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.competitions import image, table

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


TOPICS = {"comedy": ("funny", "웃음"), "romance": ("kiss", "사랑"), "war": ("soldier", "전쟁")}
DECKS, KINDS, AGES = ("A", "B", "C"), ("cat", "dog", "eel"), ("old", "young")
SEVERAL_CONFIG = """\
[competition]
slug = "tiny-several"
metric = "{metric}"
limit = "20min"
machine = "cpu"

[data]
root = "{root}"
task = "{task}"
id = "row_id"
target = {targets}
truth = {truth}
{read}
[bundle]
wheels = false

[cv]
folds = {folds}
"""
LINEAR = '\n[[model]]\nname = "linear"\nbackbone = "text/linear"\n'
TREES = '\n[[model]]\nname = "boosted"\nbackbone = "table/xgboost"\narguments = { num_boost_round = 200 }\n'
MLP = '\n[[model]]\nname = "mlp"\nbackbone = "table/mlp"\n'
NETWORK = '\n[[model]]\nname = "resnet"\nbackbone = "timm/test_resnet"\npretrained = false\ninput = { size = 32 }\n'
LEARNED = "\n[train]\nepochs = 6\nlr = 5e-3\nbatch_size = 16\n"
READ = {
    TEXT: 'text = ["document"]\n',
    TABLE: "",
    "image-classification": 'image = "train_images/{row_id}.png"\ntest_image = "test_images/{row_id}.png"\n',
}
OWN = """\
import numpy as np


def error(y, p):
    return float(np.abs(np.ravel(y) - np.ravel(p)).mean())


error.greater_is_better = False
error.prediction = error.truth = "numbers"
"""
Make = Callable[[np.random.Generator, int], tuple[dict[str, Any], tuple[str, ...]]]


@dataclass(frozen=True)
class Several:
    """A competition that predicts something else than one class of each row.

    Attributes:
        make: (random numbers, number of the row) -> its cells (of images: the code of one), and its truth.
        blank: What the sample submission says of every row.
        models: What learns it in a second.
        kinds: The kind of truth of each target, where these differ.
        long: The column of the sample submission that has a row for each id and target; empty: each has a column.
    """

    task: str
    truth: str
    targets: tuple[str, ...]
    metric: str
    make: Make
    blank: tuple[str, ...]
    models: str
    kinds: tuple[str, ...] = ()
    long: str = ""

    @property
    def told(self) -> str:
        """The truth, as kernel.toml says it."""
        table = ", ".join(f'{name} = "{kind}"' for name, kind in zip(self.targets, self.kinds, strict=bool(self.kinds)))
        return f"{{ {table} }}" if self.kinds else f'"{self.truth}"'


def several_config(root: Path, kind: str, *, folds: int = 2, models: str = "", more: str = "", metric: str = "") -> str:
    """The text of a kernel.toml for the competition `kind` of SEVERAL in `root`."""
    one = SEVERAL[kind]
    targets = f'"{one.targets[0]}"' if len(one.targets) == 1 else str(list(one.targets)).replace("'", '"')
    facts = {"metric": metric or one.metric, "task": one.task, "truth": one.told, "targets": targets, "read": READ[one.task]}
    return SEVERAL_CONFIG.format(root=root, folds=folds, **facts) + (models or one.models) + more


def write_several(root: Path, kind: str, *, rows: int = 120, visible: int = 3) -> Path:
    """Write what competitors see of the competition `kind` into `root`."""
    one, draw = SEVERAL[kind], np.random.default_rng(11)
    made = [one.make(draw, number) for number in range(rows + visible)]
    ids = [f"r{number:04d}" for number in range(len(made))]
    read = [*made[0][0]] if one.task in TASKS else []
    cells = [[name, *(found[column] for column in read)] for name, (found, _) in zip(ids, made, strict=True)]
    labelled = [[*row, *told] for row, (_, told) in zip(cells, made, strict=True)]
    table(root / "train.csv", ["row_id", *read, *one.targets], labelled[:rows])
    _tests(root, one, read, cells[rows:])
    for place, (name, (found, _)) in enumerate(zip(ids, made, strict=True)):
        if one.task not in TASKS:
            _save(root / ("train_images" if place < rows else "test_images") / f"{name}.png", draw, found["code"])
    return root


def hide_several(root: Path, kind: str, *, rows: int = 60) -> Path:
    """Write what only the scorer sees: other rows, and their truth in solution.csv."""
    one, draw = SEVERAL[kind], np.random.default_rng(12)
    made = [one.make(draw, number) for number in range(rows)]
    read = [*made[0][0]] if one.task in TASKS else []
    ids = [f"h{number:04d}" for number in range(rows)]
    _tests(root, one, read, [[name, *(found[column] for column in read)] for name, (found, _) in zip(ids, made, strict=True)])
    usage = ["Public" if number < rows // 2 else "Private" for number in range(rows)]
    solved = [[name, *told, part] for name, (_, told), part in zip(ids, made, usage, strict=True)]
    if one.long:
        solved = [row for name, *told, part in solved for row in _rows(one, name, told, part)]
    table(root / "solution.csv", ["row_id", *([one.long] if one.long else one.targets), "Usage"], solved)
    for name, (found, _) in zip(ids, made, strict=True):
        if one.task not in TASKS:
            _save(root / "test_images" / f"{name}.png", draw, found["code"])
    return root


def _tests(root: Path, one: Several, read: list[str], cells: list[list[Any]]) -> None:
    table(root / "test.csv", ["row_id", *read], cells)
    if one.long:
        rows = [row for name, *_ in cells for row in _rows(one, name, one.blank)]
        table(root / "sample_submission.csv", ["row_id", one.long], rows)
        return
    table(root / "sample_submission.csv", ["row_id", *one.targets], ([row[0], *one.blank] for row in cells))


def _rows(one: Several, name: str, cells: Sequence[str], *more: str) -> list[list[str]]:
    """The rows of an id in a long form."""
    return [[f"{name}_{target}", cell, *more] for target, cell in zip(one.targets, cells, strict=True)]


def _save(path: Path, draw: np.random.Generator, code: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image(draw, code, 32).save(path)


def _film(draw: np.random.Generator, _: int) -> tuple[dict[str, Any], list[bool]]:
    """A text in which each topic that is there has a word, in most rows."""
    there = [bool(draw.random() < 0.4) for _ in TOPICS]
    words = [*draw.choice(WORDS, 4)]
    for topic, is_in in zip(TOPICS, there, strict=True):
        if is_in != (draw.random() < 0.04):
            words.append(str(draw.choice(TOPICS[topic])))
    return {"document": " ".join(draw.permutation(words))}, there


def _named(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    cells, there = _film(draw, number)
    return cells, (" ".join(topic for topic, is_in in zip(TOPICS, there, strict=True) if is_in),)


def _marked(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    cells, there = _film(draw, number)
    return cells, tuple(str(int(is_in)) for is_in in there)


def _house(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Its price and its age, which its size, its street and its windows tell."""
    size, windows, street = float(draw.uniform(20, 200)), int(draw.integers(1, 12)), str(draw.choice(["main", "mill", "high"]))
    price = 1000 + 30 * size + {"main": 0, "mill": 800, "high": 1600}[street] + draw.normal(0, 100)
    age = 5 + 8 * windows + draw.normal(0, 3)
    gap = "" if number % 9 == 4 else street
    return {"size": f"{size:.1f}", "windows": str(windows), "street": gap}, (f"{price:.2f}", f"{max(0.0, age):.1f}")


def _priced(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    cells, told = _house(draw, number)
    return cells, told[:1]


def _berth(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A passenger, who survived or not, on one of three decks."""
    code, deck = number % 2, int(draw.integers(3))
    cells = _passenger(draw, number, code)
    del cells["cabin"], cells["boarded"], cells["remark"]
    return {**cells, "stairs": f"{10 * deck + draw.normal(0, 2):.2f}"}, ("no" if code else "yes", DECKS[deck])


def _flat(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A house: its street, which is a gap in some rows, whether it has many windows, and its price."""
    cells, (price, _) = _house(draw, number)
    street = cells["street"] or "high"
    bright = "bright" if int(cells["windows"]) > 5 else "dim"
    return {**cells, "district": f"{draw.choice(['n', 's'])} {street[:2]}", "street": ""}, (street, bright, price)


def _story(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A text: its topic, and how many stars, which its words tell."""
    topic, stars = str(draw.choice(list(TOPICS))), int(draw.integers(0, 5))
    told = [str(draw.choice(TOPICS[topic])), f"stars{stars}", *draw.choice(WORDS, 3)]
    return {"document": " ".join(draw.permutation(told))}, (topic, f"{stars + draw.normal(0, 0.1):.3f}")


def _animal(draw: np.random.Generator, number: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Red and green tell the kind, blue tells the age."""
    kind, age = number % 3, int(draw.integers(2))
    return {"code": kind | age << 2}, (KINDS[kind], AGES[age])


SEVERAL = {
    "strings": Several(TEXT, "multilabel", ("topics",), "f1_samples", _named, ("comedy war",), LINEAR),
    "columns": Several(TEXT, "multilabel", tuple(TOPICS), "mean(auc)", _marked, ("0.5",) * 3, LINEAR),
    "number": Several(TABLE, "numbers", ("price",), "rmse", _priced, ("0",), TREES),
    "numbers": Several(TABLE, "numbers", ("price", "age"), "mean(rmse)", _house, ("0", "0"), TREES),
    "heads": Several(TABLE, "classes", ("survived", "deck"), "accuracy", _berth, ("no", "A"), MLP),
    "mixed": Several(
        TABLE, "", ("street_of", "light", "price"), "street_of=accuracy, light=f1_macro, price=r2", _flat,
        ("main", "dim", "0.5"), TREES, ("classes", "classes", "numbers"),
    ),
    "long": Several(
        TEXT, "", ("topic", "stars"), "topic=accuracy, stars=rmse", _story, ("war", "0.5"), LINEAR, ("classes", "numbers"),
        "value",
    ),
    "long heads": Several(
        TABLE, "classes", ("survived", "deck"), "survived=accuracy, deck=f1_macro", _berth, ("no", "A"), TREES, (), "answer",
    ),
    "long numbers": Several(TABLE, "numbers", ("price", "age"), "mean(rmse)", _house, ("0", "0"), TREES, (), "value"),
    "images": Several(
        "image-classification",
        "classes",
        ("kind", "age"),
        "kind=accuracy, age=f1_macro",
        _animal,
        ("cat", "old"),
        NETWORK + LEARNED,
    ),
}  # fmt: skip
