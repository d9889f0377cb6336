"""kkb render: `kernels/<name>/notebook.ipynb` and kernel-metadata.json.

Expects: a plan and its datasets.
Produces: both files, the same bytes for the same input on every machine. The notebook carries its own digest, by which a pushed
version is recognised.
Never: pastes a value into code: values enter as JSON inside a quoted literal.
"""

from __future__ import annotations

import json
import pprint
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from builder import machines
from builder.bundle.record import Dataset, placed, sources
from builder.config import Competition
from builder.errors import GateError, UserError
from builder.runtime.contract import Plan
from builder.workspace import canonical_json, pretty_json, read_json, sha256_bytes, write_text

NOTEBOOK, METADATA, HOOKS = "notebook.ipynb", "kernel-metadata.json", "hooks.py"
HOOKS_PATH = "/tmp/kkb_hooks.py"  # noqa: S108  a path on the machine that the notebook has for itself
UNSIGNED = "0" * 64
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class Rendered:
    """Both files as text, and the digest that the notebook carries."""

    notebook: str
    metadata: str
    digest: str

    def differences(self, folder: Path) -> list[str]:
        """Names of the files in `folder` that are missing or say something else."""
        wanted = {NOTEBOOK: self.notebook, METADATA: self.metadata}
        return [name for name, text in wanted.items() if not _says(folder / name, text)]

    def write(self, folder: Path) -> list[str]:
        """Write what differs into `folder`, and return its names."""
        stale = self.differences(folder)
        for name in stale:
            write_text(folder / name, self.notebook if name == NOTEBOOK else self.metadata)
        return stale

    def _other_owner(self, folder: Path) -> str | None:
        """A sentence when the files in `folder` belong to another user: a leftover KAGGLE_USERNAME is the usual cause."""
        try:
            there, wanted = (json.loads(text)["id"] for text in ((folder / METADATA).read_text("utf-8"), self.metadata))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None if there == wanted else f"rendered for {there}, now asked for {wanted}"

    def check(self, folder: Path) -> None:
        """Raise GateError when the committed files are stale."""
        stale = self.differences(folder)
        if stale:
            raise GateError(
                f"{' and '.join(stale)} of {folder.name} no longer follow from plan.json and kernel.toml",
                file=folder,
                found=self._other_owner(folder),
                remedy=f"kkb render {folder.name}, and commit the result",
            )


def render(plan: Plan, datasets: Sequence[Dataset], folder: Path, owner: str, competition: Competition) -> Rendered:
    """Render the kernel in `folder` for `owner`. Raises UserError when its name can't be a slug on Kaggle."""
    slug = folder.name
    _refuse_slug(slug, [dataset.slug for dataset in datasets])
    source = _hooks(folder / HOOKS)
    carried, plan = [dataset.carried(owner) for dataset in datasets], placed(plan, datasets)
    metadata = _metadata(slug, datasets, owner, competition)
    # The metadata are signed too: another machine or source is another version, although the notebook says the same.
    digest = sha256_bytes((_notebook(plan, carried, source, UNSIGNED) + metadata).encode())
    return Rendered(_notebook(plan, carried, source, digest), metadata, digest)


def _hooks(path: Path) -> str:
    """The source of hooks.py; empty when there is none. Raises UserError when it is not Python."""
    import ast

    if not path.exists():
        return ""
    try:
        source = path.read_text("utf-8")
        ast.parse(source)
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise UserError("hooks.py is not readable Python", file=path, found=error, remedy="mend it, or remove it") from None
    return source


def _notebook(plan: Plan, carried: list[dict[str, Any]], hooks: str, digest: str) -> str:
    import nbformat

    values: dict[str, Any] = {
        "plan": plan,
        "steps": list(zip(plan.units, plan.prefixes, strict=True)),
        "plan_value": plan.to_json(),
        "datasets_value": carried,
        "hooks": hooks,
        "hooks_path": HOOKS_PATH if hooks else None,
        "digest": digest,
    }
    bootstrap = (resources.files("builder.runtime") / "bootstrap.py").read_text("utf-8")
    sources = [("markdown", _fill("head.md.j2", values)), ("code", _fill("settings.py.j2", values))]
    if hooks:
        sources.append(("code", _fill("hooks.py.j2", values)))
    sources += [("code", _fill("plan.py.j2", values)), ("code", bootstrap.strip())]
    sources += [("code", _fill("run.py.j2", values)), ("code", _fill("outcome.py.j2", values))]
    cells = [_cell(number, kind, source) for number, (kind, source) in enumerate(sources, start=1)]
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    nbformat.validate(nbformat.from_dict(notebook))  # type: ignore[no-untyped-call]
    return pretty_json(notebook)


def _cell(number: int, kind: str, source: str) -> dict[str, Any]:
    """A notebook cell. Its id is its place, because the same input must give the same bytes."""
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell


def _fill(template: str, values: dict[str, Any]) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("builder.render"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  the output is Python and Markdown; values pass through `literal`
        trim_blocks=False,
    )
    environment.filters["literal"] = literal
    environment.filters["score"] = lambda score: "-" if score is None else f"{score:.5f}"
    return environment.get_template(template).render(values).strip()


def literal(value: Any) -> str:
    """A JSON value as a Python literal that a person can read and that evaluates to the same value.

    Raises ValueError for what JSON can't hold (NaN, infinities): their repr is not a literal.
    """
    canonical_json(value)
    return pprint.pformat(value, width=140, compact=True, sort_dicts=False)


def _metadata(slug: str, datasets: Sequence[Dataset], owner: str, competition: Competition) -> str:
    machine = machines.load(competition.machine)
    dataset_sources, model_sources = sources(datasets, owner)
    raw: dict[str, Any] = {
        "id": f"{owner}/{slug}",
        "title": slug,
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": machine.accelerator == "cuda",
        "enable_tpu": False,
        "enable_internet": False,  # the official client's default is true, which a code competition refuses
        "dataset_sources": dataset_sources,
        "competition_sources": [competition.slug],
        "kernel_sources": [],
        "model_sources": model_sources,
    }
    if machine.shape:
        raw["machine_shape"] = machine.shape
    if machine.docker_image:
        raw["docker_image"] = machine.docker_image
    return pretty_json(raw)


def _refuse_slug(slug: str, datasets: list[str]) -> None:
    from slugify import slugify

    if slugify(slug) != slug or not 5 <= len(slug) <= 50:
        raise UserError(
            "a kernel's name becomes its slug on Kaggle",
            found=slug,
            expected="5 to 50 lower-case letters, digits and dashes",
            remedy="rename the folder",
        )
    if slug in datasets:
        raise UserError("a kernel can't share the slug of a dataset", found=slug, remedy="rename the kernel")


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def digest_in(folder: Path) -> str:
    """The digest that the rendered notebook in `folder` carries. Raises UserError when there is none."""
    import re

    path = folder / NOTEBOOK
    cells = read_json(path, remedy=f"kkb render {folder.name}").get("cells") if path.is_file() else None
    # The last one of the first cell: what stands before it are notes, in which anything may stand.
    found = re.findall(r"kkb digest `([0-9a-f]{64})`", "".join(cells[0]["source"])) if cells else None
    if not found:
        raise UserError("no rendered notebook here", file=path, remedy=f"kkb render {folder.name}")
    return str(found[-1])
