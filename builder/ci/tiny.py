"""A kernel with tiny weights: its own kernel.toml and hooks.py, a competition made of noise, networks that train in seconds.

What a pull request can break without touching a weight (kernel.toml, hooks.py, the plan, the notebook, an upgrade of kkb) breaks
here, too, and nothing of it needs credentials, a GPU, or the competition's data.

Expects: a kernel folder.
Produces: a workspace with that kernel, shrunk, and the two parts of a competition that looks like its own.
Never: reads weights or data of the kernel; writes into its workspace.
"""

from __future__ import annotations

import csv
import shutil
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import config as configs
from builder.errors import UserError
from builder.runtime.contract import Answer, Plan
from builder.runtime.reading import ContractError
from builder.workspace import Workspace, read_json, write_text

if TYPE_CHECKING:
    from builder.config import Config

SIDE = 32  # pixels
BACKBONE = "timm/test_resnet"
VISIBLE, HIDDEN, EACH = 3, 12, 12  # rows of the tests; training rows of each class
LIMIT = "20min"
KEPT_INPUT = ("resize", "interpolation", "library", "color")
TASKS = ("image-classification",)


@dataclass(frozen=True)
class Tiny:
    """Where it all lies: the workspace with the kernel, what competitors see, and what only the scorer sees."""

    workspace: Workspace
    data: Path
    hidden: Path


def make(kernel: Path, folder: Path) -> Tiny:
    """Write the shrunk kernel and its competition below the empty `folder`. Raises UserError when kernel.toml is not right."""
    config = configs.load(kernel)
    answer = _answer(config, kernel)
    tiny = Tiny(Workspace(folder / "space"), folder / "data", folder / "hidden")
    _competition(config, answer, tiny)
    target = tiny.workspace.kernels / kernel.name
    write_text(target / configs.FILE, shrunk(kernel, config))
    for path in sorted(kernel.glob("*.py")):
        shutil.copyfile(path, target / path.name)
    return tiny


def supported(config: Config) -> bool:
    """Whether there is a tiny form of this task."""
    return config.data.task in TASKS


def _answer(config: Config, kernel: Path) -> Answer | None:
    """Classes and form of the submission, as the committed plan has them; None without a plan."""
    if not config.data.complete:
        raise UserError(
            "kernel.toml leaves open what only the competition's files can tell",
            file=kernel / configs.FILE,
            expected="[data] id, target, image and test_image",
            remedy=f"kkb fetch {kernel.name}, and commit kernel.toml",
        )
    path = kernel / "plan.json"
    try:
        return Plan.from_json(read_json(path, remedy=f"kkb plan {kernel.name}")).answer if path.is_file() else None
    except (ContractError, KeyError, TypeError):  # `kkb render --check` says what is wrong with it
        return None


def shrunk(kernel: Path, config: Config) -> str:
    """kernel.toml with its models replaced by tiny ones and its limits by small ones; everything else as it is."""
    import tomlkit

    raw: dict[str, Any] = tomlkit.parse((kernel / configs.FILE).read_text("utf-8-sig")).unwrap()
    raw["competition"] = {**raw["competition"], "limit": LIMIT, "machine": "cpu"}
    raw["competition"].pop("test_rows", None)
    raw.setdefault("data", {}).pop("root", None)
    raw["cv"] = {"scheme": "stratified", "folds": 2}
    raw["train"] = {"epochs": 1, "batch_size": 16}
    raw["model"] = [_tiny_model(model) for model in config.model]
    raw.setdefault("export", {})["max_score_drop"] = 1.0  # the score of tiny weights is chance
    raw.setdefault("inference", {}).pop("members", None)
    bundle = {key: value for key, value in raw.get("bundle", {}).items() if key in {"as", "licence", "private"}}
    raw["bundle"] = {**bundle, "wheels": False}
    return tomlkit.dumps(raw)


def _tiny_model(model: configs.Model) -> dict[str, Any]:
    kept = {key: getattr(model.input, key) for key in KEPT_INPUT}
    return {"name": model.name, "backbone": BACKBONE, "pretrained": False, "input": {"size": SIDE, **kept}}


def _competition(config: Config, answer: Answer | None, tiny: Tiny) -> None:
    """Both parts of the competition: the same columns, file names and form of submission, and images of noise."""
    data = config.data
    classes = answer.classes if answer else ("0", "1")
    columns = tuple(answer.columns) if answer else (data.target,)
    train = [f"train{number:04d}" for number in range(EACH * len(classes))]
    labels = [classes[number % len(classes)] for number in range(len(train))]
    _images(tiny.data, data.image, data.id, train)
    _table(tiny.data / data.train, data.image, data.id, train, {data.target: labels})
    ids = [f"test{number:04d}" for number in range(VISIBLE + HIDDEN)]
    for folder, names in ((tiny.data, ids[:VISIBLE]), (tiny.hidden, ids[VISIBLE:])):
        _images(folder, data.test_image, data.id, names)
        _table(folder / data.test, data.test_image, data.id, names, {})
        blank = classes[0] if len(columns) == 1 and answer and answer.form == "labels" else _blank(answer, classes)
        _table(folder / data.sample_submission, "", data.id, names, {column: [blank] * len(names) for column in columns})
    names = ids[VISIBLE:]
    solution = {data.target: [classes[number % len(classes)] for number in range(len(names))]}
    usage = {"Usage": ["Public" if number < HIDDEN // 2 else "Private" for number in range(len(names))]}
    _table(tiny.hidden / "solution.csv", "", data.id, names, {**solution, **usage})


def _blank(answer: Answer | None, classes: Sequence[str]) -> str:
    """What a sample submission says of every row."""
    return classes[0] if answer is None else f"{1 / len(classes):.3f}"


def _fields(pattern: str, identity: str) -> list[str]:
    """Columns that a file name is made of, beside the id."""
    return [name for _, name, _, _ in string.Formatter().parse(pattern) if name and name != identity]


def _images(folder: Path, pattern: str, identity: str, names: Iterable[str]) -> None:
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(7)
    for name in names:
        path = folder / pattern.format_map({identity: name, **dict.fromkeys(_fields(pattern, identity), name)})
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


def _table(path: Path, pattern: str, identity: str, names: Sequence[str], columns: dict[str, list[str]]) -> None:
    """A csv with the id, the columns that file names need, and `columns`."""
    needed = {field: list(names) for field in _fields(pattern, identity)}
    table = {identity: list(names), **needed, **columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
