"""Kernel folders on their way out: what Kaggle would misunderstand silently is refused here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import UserError
from builder.workspace import read_json

METADATA = "kernel-metadata.json"
REMEDY = "run `kkb render` again"
# Shapes that Kaggle replaces without a word, in lower case -> what the session gets (client 2.2.5).
RETIRED = {
    "nvidiateslap100": "NvidiaTeslaT4",
    "tpuv38": "TpuV5E8",
    "tpu1vmv38": "TpuV5E8",
    "tpuv232": "no accelerator at all",
    "tpuv2256": "no accelerator at all",
}


@dataclass(frozen=True)
class KernelFolder:
    """A folder that can be pushed.

    Attributes:
        folder: Where it is.
        owner: Its owner.
        slug: Its name.
        datasets: `owner/slug` of each dataset it mounts.
        models: `owner/model/framework/variation/version` of each model it mounts.
        competitions: Slug of each competition it mounts.
        source: Its notebook as the official client sends it.
    """

    folder: Path
    owner: str
    slug: str
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    competitions: tuple[str, ...]
    source: str

    @property
    def name(self) -> str:
        """`owner/slug`."""
        return f"{self.owner}/{self.slug}"


def read(folder: Path) -> KernelFolder:
    """The kernel folder `folder`.

    Raises:
        UserError: A file is missing; the title would give another slug than the id; the accelerator is retired; a dataset has
            the notebook's own name.
    """
    file = folder / METADATA
    metadata = read_json(file, remedy=REMEDY)
    try:
        owner, slug = metadata["id"].split("/")
        title, code = metadata["title"], folder / metadata["code_file"]
        datasets = tuple(metadata.get("dataset_sources") or ())
        models = tuple(metadata.get("model_sources") or ())
        competitions = tuple(metadata.get("competition_sources") or ())
        shape = metadata.get("machine_shape") or ""
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError("not the metadata of a kernel", file=file, found=repr(error), remedy=REMEDY) from None
    _check_title(file, slug, title)
    if shape.lower() in RETIRED:
        raise UserError(
            f"the accelerator '{shape}' is retired",
            file=file,
            found=f"Kaggle would run this on {RETIRED[shape.lower()]}",
            remedy="set another [competition] machine, and render again",
        )
    if f"{owner}/{slug}" in datasets:
        raise UserError(
            "the notebook and one of its datasets have the same name", file=file, found=metadata["id"], remedy="rename the kernel"
        )
    return KernelFolder(folder, owner, slug, datasets, models, competitions, _source(code))


def _check_title(file: Path, slug: str, title: Any) -> None:
    from slugify import slugify

    real = slugify(str(title))
    if real != slug:
        raise UserError(
            "Kaggle names a kernel after its title, and this title gives another name than the id",
            file=file,
            found=f"title '{title}' gives '{real}'",
            expected=f"'{slug}'",
            remedy="make the title the id in words",
        )
    if not 5 <= len(str(title)) <= 50:
        raise UserError(
            "Kaggle takes no such title", file=file, found=title, expected="5 to 50 characters", remedy="shorten or lengthen it"
        )


def _source(code: Path) -> str:
    notebook = read_json(code, remedy=REMEDY)
    for cell in notebook.get("cells", []):
        if cell.get("cell_type") == "code":
            cell["outputs"] = []
        if isinstance(cell.get("source"), list):
            cell["source"] = "".join(cell["source"])
    return json.dumps(notebook)


def same(one: str, other: str) -> bool:
    """Whether two notebooks, as text, have the same cells. Kaggle may write the JSON around them in its own way."""
    try:
        return _cells(one) == _cells(other)
    except (ValueError, TypeError, AttributeError, KeyError):
        return one == other


def _cells(text: str) -> list[tuple[str, str]]:
    return [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
