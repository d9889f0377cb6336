"""version.json: a frozen training result, and where its files lie.

`weights/<name>/vNNN/` holds version.json, folds.csv, checkpoints/<model>-f<fold>.safetensors and oof/<model>-<view>.npy. A folder
without version.json is a training that did not finish; nothing here ever changes one that has it.
"""

from __future__ import annotations

import csv
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError
from builder.runtime.contract import Input
from builder.workspace import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "version.json"
FOLDS = "folds.csv"
SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """One trained fold. `score` is the competition metric on the fold that it did not see; None where it has none there."""

    fold: int
    file: str
    sha256: str
    bytes: int
    score: float | None
    seconds: float


@dataclass(frozen=True)
class TrainedModel:
    """One `[[model]]` of a version. `mean`, `std`: per channel, on a 0..1 scale; `score`: the metric on all out-of-fold rows.

    `licence` is that of the pretrained weights it started from; empty when it started from none.
    """

    name: str
    backbone: str
    arguments: dict[str, Any]
    pretrained: bool
    input: Input
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checkpoints: tuple[Checkpoint, ...]
    views: tuple[str, ...]
    score: float
    licence: str = ""


@dataclass(frozen=True)
class Version:
    """One training result. `digest` names what it was made from; `folds_sha256` the folds that it shares with its members."""

    name: str
    version: str
    digest: str
    folder: Path
    metric: str
    classes: tuple[str, ...]
    prior: tuple[float, ...]
    rows: int
    folds: int
    folds_sha256: str
    models: tuple[TrainedModel, ...]
    seconds: float
    device: str
    packages: dict[str, str]

    @property
    def score(self) -> float | None:
        """The best single model's out-of-fold score; direction is the metric's, so only for display."""
        return max((model.score for model in self.models), default=None)

    def model(self, name: str) -> TrainedModel:
        """The model called `name`. Raises UserError when this version has none."""
        for model in self.models:
            if model.name == name:
                return model
        known = ", ".join(model.name for model in self.models)
        raise UserError(
            f"{self.version} has no model '{name}'", file=self.folder / FILE, found=known, remedy="mend [inference] members"
        )

    def checkpoint(self, model: TrainedModel, fold: int) -> Path:
        """Path of the weights of one fold."""
        return self.folder / "checkpoints" / next(c.file for c in model.checkpoints if c.fold == fold)

    def oof(self, model: str, view: str) -> Path:
        """Path of float32 (rows, classes): out-of-fold probabilities in the order of folds.csv."""
        return self.folder / "oof" / f"{model}-{view}.npy"

    def write(self) -> None:
        """Write version.json, the last act of a training."""
        raw = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / FILE, {"schema": SCHEMA, **raw})


def load(folder: Path) -> Version:
    """The version in `folder`. Raises UserError when it is missing or from another schema."""
    raw = read_json(folder / FILE, remedy=f"kkb train {folder.parent.name}")
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise UserError("a version of another schema", file=folder / FILE, expected=f"schema {SCHEMA}", remedy="train again")
    try:
        models = tuple(_model(model) for model in raw.pop("models"))
        classes, prior = tuple(raw.pop("classes")), tuple(raw.pop("prior"))
        return Version(folder=folder, models=models, classes=classes, prior=prior, **raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "not a version record", file=folder / FILE, found=error, remedy="bring the file back from git, or train again"
        ) from None


def _model(raw: dict[str, Any]) -> TrainedModel:
    checkpoints = tuple(Checkpoint(**checkpoint) for checkpoint in raw.pop("checkpoints"))
    raw.update({key: tuple(raw[key]) for key in ("mean", "std", "views")})
    return TrainedModel(input=Input(**raw.pop("input")), checkpoints=checkpoints, **raw)


def numbers(weights: Path) -> list[int]:
    """Numbers of all version folders, finished or not, ascending."""
    return sorted(int(p.name[1:]) for p in weights.glob("v*") if p.is_dir() and re.fullmatch(r"v\d{3,}", p.name))


def finished(weights: Path) -> list[Version]:
    """All finished versions, oldest first."""
    folders = [weights / f"v{number:03d}" for number in numbers(weights)]
    return [load(folder) for folder in folders if (folder / FILE).is_file()]


def read_folds(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Ids, folds int64 (rows,) and target labels in a folds.csv."""
    import numpy as np

    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        folds = np.array([int(row["fold"]) for row in rows], dtype=np.int64)
        return tuple(row["id"] for row in rows), folds, tuple(row["target"] for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "not a table of folds", file=path, found=error, expected="id, fold, target", remedy="bring it back from git"
        ) from None
