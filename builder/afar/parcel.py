"""What is sent: a kernel's rendered notebook between two cells that play Kaggle's rerun, as a folder that can be pushed.

Expects: a rendered kernel; the competition's tables; a fold for every row that some model can answer honestly.
Produces: `.kkb/afar/<slug>/`, as `kaggle kernels push -p` takes it, the same bytes for the same kernel and rows; beside it the
    hidden set's tables and its truth, which are never sent.
Never: sends a label, switches the internet on, makes the kernel public, or carries the notebook's own digest, by which versions
    are found that can be submitted.
"""

from __future__ import annotations

import base64
import itertools
import json
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import competition
from builder.afar import scenery
from builder.errors import UserError
from builder.rehearse import draft, hidden
from builder.rehearse.draft import Draft
from builder.rehearse.hidden import Hidden
from builder.render.stage import HOOKS_PATH, METADATA, NOTEBOOK, digest_in, literal
from builder.runtime.answers import named
from builder.workspace import digest_of, pretty_json, read_json, replacing_folder, sha256_bytes, short, write_text

if TYPE_CHECKING:
    from builder.pipeline import Kernel
    from builder.runtime.contract import Plan

SUFFIX, LONGEST = "-rehearsal", 50  # of a slug and of a title
MARK = "kkb-rehearsal `"
LINE = 120
PROBE_S = 3000.0  # the clock of the probe after the rerun, of which it takes a tenth
HEAD = """\
# Rehearsal of {name}

The notebook below, run as in the scored rerun, on {rows:,} training rows in place of the hidden ones; each is answered only by
models that did not see it. Made by `kkb rehearse {name} --on kaggle`. Its output holds no submission.

kkb-rehearsal `{digest}`
"""


@dataclass(frozen=True)
class Parcel:
    """What is sent, and what stays here.

    Attributes:
        folder: The kernel's folder.
        handle: `owner/slug` of the kernel.
        digest: Of all that is sent; the notebook carries it.
        hidden: The hidden set's tables and its truth.
    """

    folder: Path
    handle: str
    digest: str
    hidden: Hidden


def pack(kernel: Kernel, plan: Plan, fold_of: Mapping[str, int], rows: int, *, environment: Mapping[str, str]) -> Parcel:
    """Make the folder that rehearses the rendered notebook of `kernel` on `rows` training rows.

    Args:
        kernel: Rendered.
        plan: Of its notebook.
        fold_of: id -> fold, for rows that some unit of the plan did not see.
        rows: Of the hidden set.
        environment: Further variables for the notebook.
    """
    _refuse_parquet(kernel)
    metadata = _metadata(kernel)
    owner, slug = metadata["id"].split("/")
    drawn = draft.draw(kernel.config, kernel.root, fold_of, rows)
    sent = scene(kernel, plan, drawn) | {"environment": dict(environment)}
    rendered = read_json(kernel.folder / NOTEBOOK, remedy=f"kkb render {kernel.name}")
    unsigned = _notebook(kernel, rendered, plan, sent | {"digest": ""}, rows, "")
    digest = sha256_bytes((unsigned + pretty_json(metadata)).encode())
    folder = kernel.workspace.private / "afar" / slug
    with replacing_folder(folder) as temporary:
        write_text(temporary / NOTEBOOK, _notebook(kernel, rendered, plan, sent | {"digest": digest}, rows, digest))
        write_text(temporary / METADATA, pretty_json(metadata))
    bare = replace(drawn, rows=tuple(replace(row, image=None) for row in drawn.rows))
    made = hidden.write(bare, kernel.config, kernel.root, folder.with_name(f"{slug}-home"), answer=plan.answer)
    return Parcel(folder, f"{owner}/{slug}", digest, made)


def scene(kernel: Kernel, plan: Plan, drawn: Draft) -> dict[str, Any]:
    """What `scenery.py` must know to build the hidden set out of the competition's files: positions and folds, no label."""
    data, answer = kernel.config.data, plan.answer
    ids = list(competition.read_table(kernel.root / data.train)[data.id])
    known = {name: place for place, name in enumerate(ids)}
    places = _places(drawn, known)
    renamed = {str(at): row.cells[drawn.id] for at, row in enumerate(drawn.rows) if row.cells[drawn.id] not in known}
    rows = {
        "at": [after - before for before, after in itertools.pairwise([0, *places])],
        "folds": [row.fold for row in drawn.rows],
        "ids": renamed,
    }
    return {
        "competition": kernel.config.competition.slug,
        "train": data.train,
        "test": data.test,
        "sample": data.sample_submission,
        "id": data.id,
        "image": data.image,
        "test_image": data.test_image if data.image else "",
        "key": [answer.key_column, answer.key, list(named(answer))] if answer.key else [data.id, "", []],
        "file": answer.file,
        "train_ids": sha256_bytes("\n".join(ids).encode()),
        "rows": packed(rows),
    }


def _places(drawn: Draft, known: Mapping[str, int]) -> list[int]:
    """The training row behind each drawn one. One that comes again under another id says the same as when it first came."""
    first: dict[tuple[Any, ...], int] = {}
    found: list[int] = []
    for row in drawn.rows:
        said = (row.image, row.truth, row.fold, *(cell for column, cell in row.cells.items() if column != drawn.id))
        place = known.get(row.cells[drawn.id])
        if place is not None:
            first.setdefault(said, place)
        found.append(first[said] if place is None else place)
    return found


def _refuse_parquet(kernel: Kernel) -> None:
    """Raise UserError for tables that the scene cannot be cut out of there."""
    data = kernel.config.data
    for name in (data.train, data.test):
        if not name.endswith(".csv"):
            raise UserError(
                "only csv tables can be rehearsed on Kaggle",
                file=kernel.root / name,
                expected="a .csv file",
                remedy=f"rehearse here: kkb rehearse {kernel.name}",
            )


def packed(value: Any) -> list[str]:
    """A JSON value as lines of text that a cell can hold: a hundred thousand rows are some hundred kilobytes."""
    text = base64.b64encode(lzma.compress(json.dumps(value, separators=(",", ":")).encode())).decode()
    return [text[at : at + LINE] for at in range(0, len(text), LINE)]


def _metadata(kernel: Kernel) -> dict[str, Any]:
    """That of the rendered kernel, under another name: the same sources, machine and image."""
    path = kernel.folder / METADATA
    rendered = read_json(path, remedy=f"kkb render {kernel.name}")
    owner = str(rendered["id"]).partition("/")[0]
    slug = slug_of(kernel.name)
    if (kernel.workspace.kernels / slug).exists():
        raise UserError(
            f"the rehearsal of '{kernel.name}' would take the place of another kernel of this workspace",
            file=kernel.workspace.kernels / slug,
            expected="no kernel of that name",
            remedy=f"rename the kernel '{slug}'",
        )
    named = {"id": f"{owner}/{slug}", "title": slug, "code_file": NOTEBOOK}
    return {**rendered, **named, "is_private": True, "enable_internet": False}


def slug_of(name: str) -> str:
    """`<name>-rehearsal`; a name that is too long for it ends in digits of its own."""
    if len(name) + len(SUFFIX) <= LONGEST:
        return name + SUFFIX
    end = f"-{short(digest_of(name))[:6]}{SUFFIX}"
    return name[: LONGEST - len(end)].rstrip("-") + end


def _notebook(kernel: Kernel, rendered: Mapping[str, Any], plan: Plan, sent: Mapping[str, Any], rows: int, digest: str) -> str:
    own = f"kkb digest `{digest_in(kernel.folder)}`"
    cells = [{**cell, "source": _without(cell["source"], own)} for cell in rendered["cells"]]
    hooks = HOOKS_PATH if any(f"%%writefile {HOOKS_PATH}" in "".join(cell["source"]) for cell in cells) else None
    settings = f'{{"limit_s": min(LIMIT_S, {PROBE_S})}}'
    probe = f"lambda: kkb_runtime.run(PLAN, DATASETS, hooks={hooks!r}, settings={settings})" if plan.probes else "None"
    front = [
        _cell("scene-head", "markdown", HEAD.format(name=kernel.name, rows=rows, digest=digest)),
        _cell("scene-data", "code", f"SCENE = {literal(dict(sent))}\n"),
        _cell("scene", "code", Path(scenery.__file__).read_text("utf-8")),
    ]
    behind = _cell("scene-end", "code", f"leave_scene(TOLD, {sent['file']!r}, {probe})\n")
    return pretty_json({**rendered, "cells": [*front, *cells, behind]})


def _without(source: str | Sequence[str], own: str) -> list[str]:
    text = source if isinstance(source, str) else "".join(source)
    return text.replace(own, "").splitlines(keepends=True)


def _cell(name: str, kind: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell
