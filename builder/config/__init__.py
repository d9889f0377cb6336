"""kernel.toml, the only thing a human writes, as a checked and frozen record.

Unknown keys are refused with the nearest known one; every message names the file and the key. Everything has a default that
is right for most, except what only the competition's files can tell (`data.id`, `data.target`, what is read): `kkb fetch`
proposes those.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from builder import config_faults
from builder.config import fitting
from builder.config.fitting import BACKBONES
from builder.config.kinds import kind_of, kinds_of, reads_cells, recipe_for, views_for
from builder.config.models import Input, Model, Text
from builder.config.sections import (
    GROUPED,
    IMAGES,
    TABLES,
    TASKS,
    TEXTS,
    Bundle,
    Competition,
    CrossValidation,
    Data,
    Export,
    Inference,
    Task,
    Train,
)
from builder.config.values import (
    NAME_RULE,
    SIZES,
    UNITS,
    Bytes,
    Fraction,
    Inside,
    Seconds,
    Section,
    fraction,
    inside,
    seconds,
    size,
    slug_like,
)
from builder.errors import ConfigError, did_you_mean

__all__ = [
    "BACKBONES",
    "FILE",
    "GROUPED",
    "IMAGES",
    "NAME_RULE",
    "SIZES",
    "TABLES",
    "TASKS",
    "TEXTS",
    "UNITS",
    "Bundle",
    "Bytes",
    "Competition",
    "Config",
    "CrossValidation",
    "Data",
    "Export",
    "Fraction",
    "Inference",
    "Input",
    "Inside",
    "Model",
    "Seconds",
    "Section",
    "Task",
    "Text",
    "Train",
    "fraction",
    "inside",
    "kind_of",
    "kinds_of",
    "load",
    "reads_cells",
    "recipe_for",
    "seconds",
    "size",
    "slug_like",
    "views_for",
]

FILE = "kernel.toml"


class Config(Section):
    """One kernel.toml."""

    competition: Competition
    data: Data = Data()
    cv: CrossValidation = CrossValidation()
    model: tuple[Model, ...] = Field(min_length=1)
    train: Train = Train()
    export: Export = Export()
    inference: Inference = Inference()
    bundle: Bundle = Bundle()

    @property
    def cv_given(self) -> bool:
        """Whether kernel.toml has a `[cv]` table: for weights trained elsewhere that says how their folds were made."""
        return "cv" in self.model_fields_set

    @model_validator(mode="after")
    def _different_names(self) -> Config:
        names = [model.name for model in self.model]
        if len(set(names)) != len(names):
            raise ValueError(f"found models named {names}, expected different names")
        if len({bool(model.checkpoints) for model in self.model}) > 1:
            raise ValueError(
                "found models with checkpoints beside models to train, expected one kind, "
                "because a version is trained or adopted as a whole; [inference] members joins versions"
            )
        return self

    @model_validator(mode="after")
    def _of_one_piece(self) -> Config:
        fitting.check(self)
        return self

    def data_root(self, workspace: Path) -> Path:
        """The folder with the competition's files."""
        return workspace / (self.data.root or f".kkb/data/{self.competition.slug}")


def load(folder: Path) -> Config:
    """The Config in `folder/kernel.toml`. Raises ConfigError for anything that is not right, naming the key."""
    path = folder / FILE
    try:
        raw = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError("missing file", file=path, remedy=f"kkb new {folder.name} --competition SLUG") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError("not valid TOML", file=path, found=error, remedy="mend the line that is named") from None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise config_faults.explained(path, error, Config) from None
    _check_names(path, config)
    return config


def _check_names(path: Path, config: Config) -> None:
    from builder import machines

    names, machine = machines.names(), config.competition.machine
    if machine not in names:
        expected, remedy = ", ".join(names), did_you_mean(machine, names)
        raise ConfigError("'competition.machine' is not known", file=path, found=repr(machine), expected=expected, remedy=remedy)
    config_faults.refuse_metric(path, config)
