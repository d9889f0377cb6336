"""`[[model]]` of kernel.toml: its network, how samples become its arrays, or where its weights are."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from builder.config.values import NAME_RULE, Inside, Section, inside


class Input(Section):
    """`[model.input]`: how an image becomes the array that a model takes. Left out: the model's own data config in timm.

    Attributes:
        size: Pixels of height and width.
        resize: `squash` ignores proportions, `crop` cuts the middle, `letterbox` adds borders.
        interpolation: Between pixels.
        library: Which decodes and resizes: their pixels differ.
        color: Order of the channels.
        crop_pct: With `crop`: the share that is kept; 0.875 is timm's "resize 256, crop 224".
        mean, std: Of each channel, on a scale of 0 to 1.
    """

    size: int | None = Field(default=None, ge=8, le=4096)
    resize: Literal["squash", "crop", "letterbox"] = "squash"
    interpolation: Literal["nearest", "bilinear", "bicubic", "area"] = "bilinear"
    library: Literal["pil", "cv2"] = "pil"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    crop_pct: float = Field(default=1.0, gt=0, le=1)  # with resize = "crop": 0.875 is timm's "resize 256, crop 224"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


class Text(Section):
    """`[model.text]`: how a text becomes tokens.

    Attributes:
        length: Tokens that are read at most.
        side: Where a longer text is cut off: its end (right) or its beginning (left).
        vocabulary: Different tokens, where they are learned from the training texts; a Hugging Face folder has its own.
    """

    length: int = Field(default=128, ge=8, le=8192)
    side: Literal["right", "left"] = "right"
    vocabulary: int = Field(default=5000, ge=300, le=500_000)


class Model(Section):
    """`[[model]]`: one architecture, trained once per fold, or weights that were trained elsewhere.

    Attributes:
        name: Its own, short: it becomes part of a slug.
        pretrained: Whether training starts from trained weights.
        backbone: `library/name`, as fits the task (`fitting.BACKBONES`): `timm/<architecture>`, `text/linear`,
            `table/lightgbm`, or `hf/<folder>` with a Hugging Face AutoModel (relative to the workspace).
        build: Instead of it, `models.py:function` in the kernel's folder: a function that returns an nn.Module.
        beside: Networks that read what else a row has, and whose features join those of `backbone`: `table/mlp` reads
            `data.columns`; `text/lstm`, `text/gru` or `hf/<folder>` reads `data.text`.
        arguments: For the constructor of the network, or for the library that fits the model.
        checkpoints: Weights trained elsewhere, relative to the workspace: one file, or one per fold with `{fold}` in its name.
        folds, holdout: Which rows those weights did not see: a CSV of id and fold, or a CSV of ids that no model saw.
        oof: Their out-of-fold predictions as they were made elsewhere, compared with ours.
    """

    later: ClassVar[frozenset[str]] = frozenset({"text", "beside"})

    name: str
    backbone: str = ""
    beside: tuple[str, ...] = ()
    build: str = ""
    pretrained: bool = True
    arguments: dict[str, Any] = Field(default_factory=dict)
    input: Input = Input()
    text: Text = Text()
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
    def _inside(cls, backbone: str) -> str:
        return inside(backbone)

    @field_validator("beside")
    @classmethod
    def _all_inside(cls, beside: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(inside, beside))

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
