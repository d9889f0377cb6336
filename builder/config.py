"""kernel.toml, the only thing a human writes, as a checked and frozen record.

Unknown keys are refused with the nearest known one; every message names the file and the key. Everything has a default that
is right for most, except what only the competition's files can tell (`data.id`, `data.target`, the image patterns): `kkb fetch`
proposes those.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from builder import config_faults
from builder.errors import ConfigError, did_you_mean

FILE = "kernel.toml"
NAME_RULE = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}

View = Annotated[str, AfterValidator(config_faults.view)]
Task = Literal["image-classification"]
LIBRARIES = ("timm", "hf")


def seconds(value: Any) -> float:
    """Seconds in a duration: `9h`, `90min`, `45s`, `1h30min`, or a plain number of seconds. Raises ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", str(value))
        if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s+", "", str(value)):
            raise ValueError(f"found {value!r}, expected a duration such as 9h, 90min or 45s")
        total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < total < 1e7:
        raise ValueError(f"found {value!r}, expected a duration above zero")
    return total


def fraction(value: Any) -> float:
    """A share between 0 and 1, written `5%` or `0.05`. Raises ValueError otherwise."""
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"found {value!r}, expected a share such as 5%") from None
    if not 0 <= share < 1:
        raise ValueError(f"found {value!r}, expected a share between 0% and 100%")
    return share


def size(value: Any) -> int:
    """Bytes in a size: `20GB`, `500MB`, or a plain number of bytes. Raises ValueError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|[kMGT])B?", str(value).strip())
    total = int(float(match[1]) * SIZES[match[2]]) if match else 0
    if total <= 0:
        raise ValueError(f"found {value!r}, expected a size such as 20GB or 500MB")
    return total


Bytes = Annotated[int, BeforeValidator(size)]
Seconds = Annotated[float, BeforeValidator(seconds)]
Fraction = Annotated[float, BeforeValidator(fraction)]


class Section(BaseModel):
    """A table of kernel.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def inside(value: str) -> str:
    """A path below a folder. Raises ValueError for one that leaves it."""
    if value.startswith("/") or ".." in Path(value).parts or "\0" in value:
        raise ValueError(f"found {value!r}, expected a path that stays in its folder")
    return value


def slug_like(value: str) -> str:
    """A slug of Kaggle's. Raises ValueError otherwise."""
    if not NAME_RULE.fullmatch(value):
        raise ValueError(f"found {value!r}, expected lower-case letters, digits and dashes, as in the competition's address")
    return value


Inside = Annotated[str, AfterValidator(inside)]


class Competition(Section):
    """`[competition]`: what is submitted, where, under which limit; `test_rows`: hidden samples, 0 when unknown."""

    slug: Annotated[str, AfterValidator(slug_like)]
    metric: str = "accuracy"
    kind: Literal["notebook"] = "notebook"
    file: Inside = "submission.csv"
    limit: Seconds = 9 * 3600.0
    machine: str = "t4x2"
    test_rows: int = Field(default=0, ge=0)


class Data(Section):
    """`[data]`: the competition's files. Paths are relative to `root`."""

    root: str = ""
    task: Task = "image-classification"
    train: Inside = "train.csv"
    test: Inside = "test.csv"
    sample_submission: Inside = "sample_submission.csv"
    id: str = ""
    target: str = ""
    image: Inside = ""
    test_image: Inside = ""

    @property
    def complete(self) -> bool:
        """True when nothing is left to propose."""
        return all((self.id, self.target, self.image, self.test_image))


class CrossValidation(Section):
    """`[cv]`: how folds are made."""

    scheme: Literal["stratified", "random"] = "stratified"
    folds: int = Field(default=5, ge=2, le=50)
    seed: int = 0


class Input(Section):
    """`[model.input]`: how an image becomes the array that a model takes. Left out: the model's own data config in timm."""

    size: int | None = Field(default=None, ge=8, le=4096)
    resize: Literal["squash", "crop", "letterbox"] = "squash"
    interpolation: Literal["nearest", "bilinear", "bicubic", "area"] = "bilinear"
    library: Literal["pil", "cv2"] = "pil"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    crop_pct: float = Field(default=1.0, gt=0, le=1)  # with resize = "crop": 0.875 is timm's "resize 256, crop 224"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class Model(Section):
    """`[[model]]`: one architecture, trained once per fold, or weights that were trained elsewhere.

    Attributes:
        backbone: `timm/<architecture>`, or `hf/<folder>` with a Hugging Face AutoModel (relative to the workspace).
        build: Instead of it, `models.py:function` in the kernel's folder: a function that returns an nn.Module.
        checkpoints: Weights trained elsewhere, relative to the workspace: one file, or one per fold with `{fold}` in its name.
        folds, holdout: Which rows those weights did not see: a CSV of id and fold, or a CSV of ids that no model saw.
        oof: Their out-of-fold predictions as they were made elsewhere, compared with ours.
    """

    name: str
    backbone: str = ""
    build: str = ""
    pretrained: bool = True
    arguments: dict[str, Any] = Field(default_factory=dict)
    input: Input = Input()
    checkpoints: Inside = ""
    folds: Inside = ""
    holdout: Inside = ""
    oof: Inside = ""

    @field_validator("name")
    @classmethod
    def _speakable(cls, name: str) -> str:
        if not NAME_RULE.fullmatch(name) or len(name) > 30:
            raise ValueError(
                f"found {name!r}, expected at most 30 lower-case letters, digits and dashes (it becomes part of a slug)"
            )
        return name

    @field_validator("backbone")
    @classmethod
    def _known_library(cls, backbone: str) -> str:
        library, _, rest = backbone.partition("/")
        if backbone and (library not in LIBRARIES or not rest):
            raise ValueError(f"found {backbone!r}, expected timm/<architecture>, such as timm/efficientnet_b0, or hf/<folder>")
        return inside(backbone)

    @field_validator("build")
    @classmethod
    def _names_a_function(cls, build: str) -> str:
        if build and not re.fullmatch(r"[\w/-]+\.py:[A-Za-z_]\w*", build):
            raise ValueError(f"found {build!r}, expected file and function, such as models.py:build_effb0")
        return inside(build)

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        if bool(self.backbone) == bool(self.build):
            both = "both backbone and build" if self.build else "neither backbone nor build"
            raise ValueError(f'found {both}, expected one of them, such as backbone = "timm/efficientnet_b0"')
        if self.folds and self.holdout:
            raise ValueError("found both folds and holdout, expected one of them")
        given = [key for key in ("folds", "holdout", "oof") if getattr(self, key)]
        if given and not self.checkpoints:
            raise ValueError(f"found {given[0]} without checkpoints, expected it beside weights that were trained elsewhere")
        return self


class Train(Section):
    """`[train]`: the recipe. The learning rate follows one cycle."""

    epochs: int = Field(default=12, ge=1)
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    augment: tuple[Literal["shift", "hflip", "vflip", "rot90"], ...] = ("shift",)
    seed: int = 0


class Export(Section):
    """`[export]`: the portable form and the gates it must pass."""

    format: Literal["onnx", "torchscript"] = "onnx"
    precision: Literal["auto", "fp32", "fp16", "int8", "int8-static"] = "auto"
    max_abs_diff: float | None = Field(default=None, gt=0)
    max_score_drop: float = Field(default=0.0005, ge=0)


class Inference(Section):
    """`[inference]`: what the plan may choose from."""

    members: tuple[str, ...] = ()
    views: tuple[View, ...] = ("identity",)
    backend: Literal["auto", "onnxruntime", "openvino"] = "auto"
    blend: Literal["auto", "mean", "weighted", "geometric", "rank", "vote", "stack"] = "auto"
    reserve: Fraction = 0.05

    @field_validator("members")
    @classmethod
    def _readable(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        for member in members:
            if not re.fullmatch(r"v\d{3,}:[a-z0-9*-]+", member):
                raise ValueError(f"found {member!r}, expected version:model, such as v003:effb0 or v003:*")
        return members

    @field_validator("views")
    @classmethod
    def _identity_first(cls, views: tuple[View, ...]) -> tuple[View, ...]:
        if "identity" not in views or len(set(views)) != len(views):
            raise ValueError(f"found {list(views)}, expected different views, 'identity' among them")
        return ("identity", *(view for view in views if view != "identity"))


class Bundle(Section):
    """`[bundle]`: how weights travel, and the packages that the image lacks.

    Attributes:
        carrier: `as` in kernel.toml, a word that Python keeps for itself.
        collaborators: Users who may see every new dataset.
        taken: Slugs that other content has on Kaggle, such as an upload that went wrong: ours take the next name.
        wheels: False ships none: for a kernel whose machine has all it needs, such as the stand-in's.
        split: Bytes over which the folds of one model are spread over several datasets.
    """

    model_config = ConfigDict(populate_by_name=True)

    carrier: Literal["dataset", "model"] = Field(default="dataset", alias="as")
    collaborators: tuple[str, ...] = ()
    wheels: bool = True
    requirements: tuple[str, ...] = ()
    split: Bytes = 20_000_000_000
    taken: tuple[str, ...] = ()
    licence: str = "CC0-1.0"
    private: bool = True


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
    config_faults.refuse_metric(path, config.competition.metric, config.data.task)
