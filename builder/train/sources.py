"""What a `[[model]]` is built from: its network, its preprocessing, and the files that a version must be named by and keep.

The user's `models.py` and a Hugging Face folder lie where they may change tomorrow; a version keeps what it was made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import huggingface, models, usercode
from builder.errors import UserError
from builder.runtime.contract import Input
from builder.workspace import Workspace, sha256_file, write_bytes

if TYPE_CHECKING:
    from builder.config import Model

# Keys of a [[model]] that only some have. They are part of a digest only then, so that a new key renames no old version.
OPTIONAL = {"build", "checkpoints", "folds", "holdout", "oof"}


def folder_of(model: Model, workspace: Workspace, name: str) -> Path | None:
    """Where the code or the Hugging Face files of a model lie; None when timm has all there is."""
    if model.build:
        return workspace.kernels / name
    if model.backbone.startswith("hf/"):
        return workspace.root / model.backbone.removeprefix("hf/")
    return None


def files(model: Model, folder: Path | None) -> list[Path]:
    """The files that its network is built from, weights left out."""
    if folder is None:
        return []
    if model.build:
        return usercode.files(folder, model.build)
    if not folder.is_dir():
        raise UserError("model.backbone names a folder that is not there", file=folder, remedy="mend backbone in kernel.toml")
    return huggingface.companions(folder, "image")


def described(model: Model) -> dict[str, Any]:
    """The keys of a `[[model]]` that a version is named by; of weights from elsewhere it is named by the content."""
    described = model.model_dump(mode="json", exclude=OPTIONAL) | ({"build": model.build} if model.build else {})
    if model.input.crop_pct == 1:  # what changes nothing must not rename versions that were made before it could be said
        del described["input"]["crop_pct"]
    return described


def shape_of(model: Model, folder: Path | None = None) -> tuple[Input, tuple[float, ...], tuple[float, ...]]:
    """Preprocessing, mean and std of a `[[model]]`, with the weights' own data config where kernel.toml is silent."""
    own = models.data_config(model.backbone, folder)
    wanted, given = model.input, model.input.model_fields_set
    height, width = (wanted.size, wanted.size) if wanted.size else own["input_size"][1:]
    resize, interpolation = wanted.resize, wanted.interpolation
    if "resize" in own:  # a Hugging Face folder says how its images were made; kernel.toml may say otherwise
        resize = resize if "resize" in given else own["resize"]
        interpolation = interpolation if "interpolation" in given else own["interpolation"]
    shape = Input(height, width, resize, interpolation, wanted.library, wanted.color, wanted.crop_pct)
    return shape, tuple(wanted.mean or own["mean"]), tuple(wanted.std or own["std"])


def network(model: Model, classes: int, folder: Path | None = None, *, pretrained: bool) -> Any:
    """uint8 (n, height, width, 3) -> logits (n, classes)."""
    shape, mean, std = shape_of(model, folder)
    size = (shape.height, shape.width)
    made = models.create(
        model.backbone, model.arguments, classes, pretrained=pretrained, image_size=size, build=model.build, folder=folder
    )
    return models.portable(made, mean, std)


def check(model: Model, classes: int, folder: Path | None) -> None:
    """Raise UserError unless the network can be built and answers images of its size with `classes` logits."""
    shape, _, _ = shape_of(model, folder)
    module = network(model, classes, folder, pretrained=False)
    models.check(module, shape.height, shape.width, classes, model.build or model.backbone, folder)


def keep(model: Model, folder: Path | None, version: Path) -> dict[str, str]:
    """Copy the files into `version`/source/<model>/; relative path -> sha256."""
    kept = {}
    for path in files(model, folder):
        relative = path.relative_to((folder or path).resolve() if model.build else folder or path).as_posix()
        copy = version / "source" / model.name / relative
        write_bytes(copy, path.read_bytes())
        kept[relative] = sha256_file(copy)
    return dict(sorted(kept.items()))
