"""What a version is made from, as one digest: equal inputs have equal digests on every machine.

So a version that was trained elsewhere counts, and nothing is trained or adopted twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import competition, huggingface, images
from builder.config import IMAGES, kinds_of, reads_cells, recipe_for
from builder.config.kinds import IMAGE
from builder.train import given, record, sources
from builder.train.record import Version
from builder.workspace import Workspace, digest_of, sha256_file

if TYPE_CHECKING:
    from builder.config import Config, Model

DATA = {"task", "train", "id", "target", "truth", "image", "text", "columns", "group", "time"}  # keys of [data]


def digest(config: Config, workspace: Workspace, name: str, rows: competition.Rows | None = None) -> str:
    """Names what a version of the kernel `name` would be made from.

    That is: the keys that matter to it, the training table and the images, the user's own code, and weights from elsewhere.
    `rows` are the training rows where they were read already. Raises UserError when some of it is missing.
    """
    root = config.data_root(workspace.root)
    rows = rows or competition.train_rows(config, root)
    adopted = bool(config.model[0].checkpoints)
    # What changes nothing is not in it: a key at its default is left out, so a new key renames no old version.
    sections: dict[str, Any] = {"data": config.data.model_dump(mode="json", include=DATA)}
    if reads_cells(config):
        sections["columns"] = list(competition.columns_of(config, root))
    sections["model"] = [sources.described(model, kinds_of(config, model)) for model in config.model]
    if not adopted or config.cv_given:
        sections["cv"] = config.cv.model_dump(mode="json")
    if not adopted:
        recipes = {model.name: recipe_for(config, model).model_dump(mode="json") for model in config.model}
        sections["train"] = config.train.model_dump(mode="json") if config.data.task == IMAGES else recipes
    own = {model.name: found for model in config.model if (found := _own(config, model, workspace, name))}
    return digest_of(
        [
            record.SCHEMA,
            sections,
            config.competition.metric,
            sha256_file(root / config.data.train),
            images.fingerprint(rows.paths, root, workspace.cache),
            *([own] if own else []),
        ]
    )


def _own(config: Config, model: Model, workspace: Workspace, name: str) -> dict[str, str]:
    """What only some models have: their code or Hugging Face folder, and weights from elsewhere, by content."""
    found, kinds = {}, kinds_of(config, model)
    for place, (part, kind) in enumerate(zip(sources.parts(model), kinds, strict=True)):
        if folder := sources.folder_of(part, workspace, name):
            files = sources.files(part, folder, "image" if kind == IMAGE else "text")
            if not part.build and part.pretrained and not part.checkpoints:
                files += huggingface.weights_in(folder)
            key = sources.place_of(place) or "source"
            found[key] = images.fingerprint(files, folder.resolve() if part.build else folder, workspace.cache)
    if kinds != (IMAGE,) and (hooks := workspace.kernels / name / sources.HOOKS).is_file():
        found["hooks"] = sha256_file(hooks)  # they make columns
    if model.checkpoints:
        found["given"] = images.fingerprint(given.files(model, workspace.root), workspace.root, workspace.cache)
    return found


def current(workspace: Workspace, name: str, digest: str) -> Version | None:
    """The finished version that was made from `digest`, or None."""
    return next((v for v in reversed(record.finished(workspace.weights(name))) if v.digest == digest), None)


def next_folder(weights: Path) -> Path:
    """The folder of the next version."""
    numbers = record.numbers(weights)
    return weights / f"v{(numbers[-1] if numbers else 0) + 1:03d}"
