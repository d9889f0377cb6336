"""What a `[[model]]` is built from: its network, its preprocessing or recipe, and the files that a version is named by and keeps.

The user's `models.py` and a Hugging Face folder lie where they may change tomorrow; a version keeps what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import competition, huggingface, models, usercode
from builder.config.kinds import TOKENS
from builder.errors import UserError
from builder.runtime import cells, hooks
from builder.runtime.contract import Cells, Input
from builder.workspace import Workspace, canonical_json, sha256_file, write_bytes, write_text

if TYPE_CHECKING:
    from builder.competition import Rows
    from builder.config import Config, Model

HOOKS = "hooks.py"
RECIPE = "recipe.json"
DIGITS = 12  # of a digest, in a name

# Keys of a [[model]] that only some have. They are part of a digest only then, so that a new key renames no old version.
OPTIONAL = {"build", "checkpoints", "folds", "holdout", "oof"}


def parts(model: Model) -> tuple[Model, ...]:
    """A `[[model]]` for each of its inputs: its backbone's, with what is said of it, then those beside it, which are plain."""
    others = ({"backbone": backbone, "beside": (), "arguments": {}, "build": ""} for backbone in model.beside)
    return (model.model_copy(update={"beside": ()}), *(model.model_copy(update=changed) for changed in others))


def place_of(number: int) -> str:
    """Folder of the files of a model's input below those of the model: empty for its backbone's."""
    return f"beside-{number}" if number else ""


def folder_of(model: Model, workspace: Workspace, name: str) -> Path | None:
    """Where the code or the Hugging Face files of a model lie; None when timm has all there is."""
    if model.build:
        return workspace.kernels / name
    if model.backbone.startswith("hf/"):
        return workspace.root / model.backbone.removeprefix("hf/")
    return None


def files(model: Model, folder: Path | None, kind: str = "image") -> list[Path]:
    """The files that its network is built from, weights left out; of a Hugging Face folder those for `kind`, image or text."""
    if folder is None:
        return []
    if model.build:
        return usercode.files(folder, model.build)
    if not folder.is_dir():
        raise UserError("model.backbone names a folder that is not there", file=folder, remedy="mend backbone in kernel.toml")
    return huggingface.companions(folder, kind)


def described(model: Model, kinds: Sequence[str]) -> dict[str, Any]:
    """The keys of a `[[model]]` that a version is named by; of weights from elsewhere it is named by the content.

    `kinds` are what its inputs are, as `config.kinds_of` says.
    """
    described = model.model_dump(mode="json", exclude=OPTIONAL) | ({"build": model.build} if model.build else {})
    if model.input.crop_pct == 1:  # what changes nothing must not rename versions that were made before it could be said
        del described["input"]["crop_pct"]
    if TOKENS in kinds:
        described["text"] = model.text.model_dump(mode="json")
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


def keep(model: Model, folder: Path | None, to: Path, kind: str = "image") -> dict[str, str]:
    """Copy the files into the folder `to`; relative path -> sha256. `kind` is as for `files`."""
    kept = {}
    for path in files(model, folder, kind):
        relative = path.relative_to((folder or path).resolve() if model.build else folder or path).as_posix()
        copy = to / relative
        write_bytes(copy, path.read_bytes())
        kept[relative] = sha256_file(copy)
    return dict(sorted(kept.items()))


@dataclass(frozen=True)
class Prepared:
    """How the cells of rows become what a model takes.

    Attributes:
        recipe: As `runtime/cells.py` reads it.
        reader: Reads by it, with the competitor's hooks.
        hooks: The file that these are in, which may not be there.
    """

    recipe: Mapping[str, Any]
    reader: cells.Reader
    hooks: Path

    def read(self, rows: Sequence[Mapping[str, str]]) -> cells.Material:
        """The rows as the model takes them. Raises UserError that names the line of the competitor's hook which fails."""
        with _hooked(self.hooks):
            return self.reader.read(rows)

    @property
    def text(self) -> str:
        """The recipe's file."""
        return canonical_json(self.recipe) + "\n"

    @property
    def input(self) -> Cells:
        """The recipe by name, kind and digest."""
        return Cells(str(self.recipe["kind"]), RECIPE, hashlib.sha256(self.text.encode()).hexdigest()[:DIGITS])

    def keep(self, to: Path) -> dict[str, str]:
        """Write the recipe into the folder `to`; its name -> sha256."""
        path = to / RECIPE
        write_text(path, self.text)
        return {RECIPE: sha256_file(path)}


def prepared(config: Config, model: Model, rows: Rows, root: Path, workspace: Workspace, name: str) -> Prepared:
    """The recipe of a `[[model]]` that reads cells, fitted on all training rows, which tells nothing about their targets.

    Raises UserError for hooks that fail, and for what the recipe cannot be made of.
    """
    path = workspace.kernels / name / HOOKS
    with _hooked(path):
        own = hooks.load(str(path) if path.is_file() else None)
        recipe = _recipe(config, model, rows, root, folder_of(model, workspace, name), own)
        return Prepared(recipe, cells.reader(recipe, own), path)


@contextlib.contextmanager
def _hooked(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the block is the hooks' fault, when there are some."""
    with usercode.explained("hooks.py fails on the training rows", path.parent) if path.is_file() else contextlib.nullcontext():
        yield


def _recipe(config: Config, model: Model, rows: Rows, root: Path, folder: Path | None, own: hooks.Hooks) -> dict[str, Any]:
    library, _, kind = model.backbone.partition("/")
    if library == "table":
        import pandas as pd

        from builder.recipes import table

        columns = config.data.columns or competition.columns_of(config, root)
        return table.table(pd.DataFrame(list(rows.cells), columns=list(columns), dtype=object), columns, own)
    from builder.recipes import text

    read, wanted = tuple(config.data.text), model.text
    texts = ["\n".join(row[column] for column in read) for row in rows.cells]
    if kind == "linear":
        return text.terms(texts, read)
    return text.tokens(texts, read, length=wanted.length, side=wanted.side, vocabulary=wanted.vocabulary, folder=folder)
