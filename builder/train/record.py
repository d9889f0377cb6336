"""version.json: a frozen training result, or adopted weights in its place, and where its files lie.

`weights/<name>/vNNN/` holds version.json, folds.csv, checkpoints/<model>-f<fold>.safetensors (or the text form of trees),
oof/<model>-<view>.npy, and in source/<model>/ the code, configuration or recipe that a model is built from. A folder without
version.json is a training that did not finish; nothing here ever changes one that has it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import models
from builder.errors import UserError
from builder.networks import joined, making
from builder.runtime.contract import Cells, Head, Input, Joint
from builder.runtime.heads import IDENTITY, SOFTMAX, single
from builder.runtime.reading import ContractError, record
from builder.shown import input_from, ports_of
from builder.workspace import read_json, sha256_file, write_json

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from builder.metrics import Metric

FILE = "version.json"
FOLDS = "folds.csv"
SCHEMA = 1
TRAINED, ADOPTED = "trained", "adopted"  # where a version's weights come from


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one fold.

    Attributes:
        fold: The fold that it did not see; -1 when it saw all rows.
        score: The competition metric on that fold; None where it has none there.
        origin: For adopted weights: the file or folder that they were read from, as kernel.toml names it.
        origin_sha256: Its content then.
    """

    fold: int
    file: str
    sha256: str
    bytes: int
    score: float | None
    seconds: float
    origin: str = ""
    origin_sha256: str = ""


@dataclass(frozen=True)
class Comparison:
    """Out-of-fold predictions that came with adopted weights, beside ours of the same rows.

    Attributes:
        file: Where they were, as kernel.toml names it.
        rows: Rows for which both have a prediction.
        largest, mean: Difference of a probability.
        argmax_equal: Share of rows with the same most likely class.
        given_score, own_score: The competition metric on these rows.
    """

    file: str
    rows: int
    largest: float
    mean: float
    argmax_equal: float
    given_score: float | None
    own_score: float | None


@dataclass(frozen=True)
class TrainedModel:
    """One `[[model]]` of a version.

    Attributes:
        mean, std: Of images: per channel, on a 0..1 scale.
        score: The metric on all out-of-fold rows; None when there are none.
        licence: That of the pretrained weights it started from; empty when it started from none, or nobody knows.
        build: `models.py:function`, when the network is the user's own; `backbone` is empty then.
        sources: Files in the version's source/<name>/ that the network is built from -> sha256.
        beside: Networks of further inputs, as kernel.toml names them.
        compared: Out-of-fold predictions that came with adopted weights, beside ours.
    """

    name: str
    backbone: str
    arguments: dict[str, Any]
    pretrained: bool
    input: Input | Cells | Joint
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checkpoints: tuple[Checkpoint, ...]
    views: tuple[str, ...]
    score: float | None
    licence: str = ""
    build: str = ""
    sources: dict[str, str] = field(default_factory=dict)
    compared: Comparison | None = None
    beside: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What kernel.toml calls the network."""
        return self.build or self.backbone


@dataclass(frozen=True)
class Version:
    """One training result, or adopted weights in its place.

    Attributes:
        digest: Names what it was made from.
        classes: Names of all outputs: class labels, labels or targets.
        heads: What the outputs are; none in a record: one class of each row.
        rows: Training rows.
        folds: Number of folds that some model did not see; 0 when that is not known of any row.
        folds_sha256: Names the folds that it shares with its members; a row that no model left out has fold -1 in folds.csv.
        origin: `trained` or `adopted`.
        notes: What was assumed, for a person.
    """

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
    origin: str = TRAINED
    notes: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def parts(self) -> tuple[Head, ...]:
        """The heads, at least one."""
        return self.heads or single(self.classes)

    @property
    def score(self) -> float | None:
        """The best single model's out-of-fold score; direction is the metric's, so only for display."""
        return max((model.score for model in self.models if model.score is not None), default=None)

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

    def source_of(self, model: TrainedModel) -> Path:
        """The folder of what a model is built from. Raises UserError when a file is missing or was changed."""
        folder = self.folder / "source" / model.name
        for name, sha256 in model.sources.items():
            if not (folder / name).is_file() or sha256_file(folder / name) != sha256:
                raise UserError(
                    f"{self.version} lacks the source it was made from, or it was changed",
                    file=folder / name,
                    remedy="bring it back from git",
                )
        return folder

    def network(self, model: TrainedModel, fold: int | None = None) -> torch.nn.Module:
        """The arrays that the model takes -> logits (n, outputs), in eval mode; with the weights of `fold` when one is given.

        Numbers are in units of their spread, those of weights from elsewhere, too, which answer in the target's own unit.
        Raises UserError when weights or sources are missing, changed or unfit.
        """
        module: Any = self._built(model, self.source_of(model)).eval()
        if fold is not None:
            models.load_weights(module, self.checkpoint(model, fold))
        if self.origin == ADOPTED and any(head.link == IDENTITY for head in self.parts):
            module.backbone = models.standardised(module.backbone, self.parts).eval()
        return module  # type: ignore[no-any-return]

    def _built(self, model: TrainedModel, folder: Path) -> torch.nn.Module:
        if isinstance(model.input, Joint):
            networks = [
                self._network(model, backbone, given, folder, joined.FEATURES)
                for backbone, given in zip((model.backbone, *model.beside), model.input.parts, strict=True)
            ]
            return joined.join(networks, [len(ports_of(given)) for given in model.input.parts], len(self.classes))
        return self._network(model, model.backbone, model.input, folder, len(self.classes))

    def _network(self, model: TrainedModel, backbone: str, given: Input | Cells, folder: Path, classes: int) -> torch.nn.Module:
        """The network of one input, with `classes` outputs; a model's arguments are those of its own backbone."""
        arguments = model.arguments if backbone == model.backbone else {}
        if isinstance(given, Cells):
            recipe = read_json(folder / given.recipe, remedy="bring it back from git")
            home = (folder / given.recipe).parent
            return making.make(backbone, arguments, recipe, classes, folder=home, link=self.parts[0].link)
        size = (given.height, given.width)
        made = models.create(backbone, arguments, classes, pretrained=False, image_size=size, build=model.build, folder=folder)
        return models.portable(made, model.mean, model.std)

    def oof(self, model: str, view: str) -> Path:
        """Path of float32 (rows, outputs): out-of-fold answers in the order of folds.csv; NaN for rows of fold -1."""
        return self.folder / "oof" / f"{model}-{view}.npy"

    def write(self) -> None:
        """Write version.json, the last act of a training or an adoption."""
        raw = {key: value for key, value in asdict(self).items() if key != "folder" and (value or key != "heads")}
        raw["models"] = [{key: value for key, value in model.items() if value or key != "beside"} for model in raw["models"]]
        write_json(self.folder / FILE, {"schema": SCHEMA, **raw})


def told(heads: Sequence[Head]) -> tuple[Head, ...]:
    """What a record says of the heads: nothing, when there is one of classes."""
    return () if len(heads) == 1 and heads[0].link == SOFTMAX else tuple(heads)


def bearable(allowed: float, metric: Metric, score: float, heads: Sequence[Head]) -> float:
    """By how much a score may get worse: by `allowed`; of numbers, whose errors have a unit, by that share of it."""
    if all(head.link != IDENTITY for head in heads):
        return allowed
    return allowed * (max(1.0, abs(score)) if metric.greater_is_better else abs(score))


def load(folder: Path) -> Version:
    """The version in `folder`. Raises UserError when it is missing or from another schema."""
    raw = read_json(folder / FILE, remedy=f"kkb train {folder.parent.name}")
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise UserError("a version of another schema", file=folder / FILE, expected=f"schema {SCHEMA}", remedy="train again")
    try:
        found = tuple(_model(model) for model in raw.pop("models"))
        raw.update({key: tuple(raw.get(key, ())) for key in ("classes", "prior", "notes")})
        raw["heads"] = tuple(record(Head, head) for head in raw.get("heads", ()))
        return Version(folder=folder, models=found, **raw)
    except (KeyError, TypeError, AttributeError, ContractError) as error:
        raise UserError(
            "not a version record", file=folder / FILE, found=error, remedy="bring the file back from git, or train again"
        ) from None


def _model(raw: dict[str, Any]) -> TrainedModel:
    checkpoints = tuple(Checkpoint(**checkpoint) for checkpoint in raw.pop("checkpoints"))
    raw.update({key: tuple(raw.get(key, ())) for key in ("mean", "std", "views", "beside")})
    compared = raw.pop("compared", None)
    raw["compared"] = Comparison(**compared) if compared else None
    return TrainedModel(input=input_from(raw.pop("input")), checkpoints=checkpoints, **raw)


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
