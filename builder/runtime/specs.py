"""How samples become the arrays that a model takes, as data: of an image, of cells, or of several of them.

Expects: nothing.
Produces: frozen records that a plan, a version and a job are written with; equal keys mean equal arrays.
Never: reads a sample: inputs.py, cells.py and samples.py do.
"""

from __future__ import annotations

from dataclasses import dataclass

CELLS = ("tokens", "terms", "table")  # what cells of a row can become


@dataclass(frozen=True)
class Input:
    """How one image becomes the array that a model takes: the preprocessing shared by training and inference.

    Attributes:
        height, width: Size in pixels after resizing.
        resize: `squash` (ignores the aspect ratio), `crop` (shorter side, then centre crop) or `letterbox` (longer side, padded
            with black).
        interpolation: `nearest`, `bilinear`, `bicubic` or `area`.
        library: `pil` or `cv2`.
        color: `rgb`, `bgr` or `gray` (three equal channels).
        crop_pct: With `crop`: the share of the shorter side that the crop keeps (224 of 256 pixels: 0.875).
    """

    height: int
    width: int
    resize: str = "squash"
    interpolation: str = "bilinear"
    library: str = "pil"
    color: str = "rgb"
    crop_pct: float = 1.0

    @property
    def key(self) -> str:
        """Equal keys mean equal arrays: what is decoded once for all units that share it."""
        parts = [f"{self.height}x{self.width}", self.resize, self.interpolation, self.library, self.color]
        return "-".join(parts + ([f"{self.crop_pct:g}"] if self.crop_pct != 1 else []))

    @property
    def parts(self) -> tuple[Input]:
        """As those of a `Joint`."""
        return (self,)


@dataclass(frozen=True)
class Cells:
    """How cells of a row become the arrays that a model takes: text and tables.

    Attributes:
        kind: One of CELLS: token ids, weighted terms, or one row of numbers.
        recipe: Name of a JSON file in the unit's dataset: what was fitted at home (cells.py).
        digest: First digits of its sha256.
    """

    kind: str
    recipe: str
    digest: str

    @property
    def key(self) -> str:
        """Equal keys mean equal arrays: what is made once for all units that share it."""
        return f"{self.kind}-{self.digest}"

    @property
    def parts(self) -> tuple[Cells]:
        """As those of a `Joint`."""
        return (self,)


@dataclass(frozen=True)
class Joint:
    """Several inputs of one model: an image and columns, a text and columns, an image and a text.

    Attributes:
        parts: In the order of the model's arguments. A view is one of the first part's; the others are read as they are.
    """

    parts: tuple[Input | Cells, ...]

    @property
    def key(self) -> str:
        """Equal keys mean equal arrays."""
        return "+".join(part.key for part in self.parts)
