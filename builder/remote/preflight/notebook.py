"""Checks of the notebook: what would stop its run, or let something out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from builder.remote.preflight.record import MUST, NOTE, SHOULD, Found, Subject, check

RENDER = "run `kkb render` again"
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
ONLINE = re.compile(
    r"^\s*[!%]\s*(?:pip|conda|apt(?:-get)?|uv)\b(?!.*--no-index).*\binstall\b.*"
    r"|^\s*[!%]\s*(?:wget|curl|git\s+clone)\b.*"
    r"|\b(?:torch\.hub\.load|hf_hub_download|snapshot_download|urlretrieve|requests\.get|kagglehub\.\w*download)\(.*",
    re.MULTILINE,
)
TOKENS = re.compile(r"\b(?:hf_[A-Za-z0-9]{30,}|KGAT_[A-Za-z0-9]{20,}|ghp_[A-Za-z0-9]{30,}|AKIA[A-Z0-9]{16}|sk-[A-Za-z0-9-]{30,})")
ASKING = re.compile(r"(?<![\w.])input\s*\(")


def _file(subject: Subject) -> Path:
    return subject.folder / str(subject.meta.get("code_file") or "notebook.ipynb")


@check("notebook-unreadable", MUST, "the client reads the notebook as JSON (kernels_push)")
def notebook_unreadable(subject: Subject) -> Iterator[Found]:
    if subject.metadata is not None and _file(subject).is_file() and subject.notebook is None:
        yield Found("the notebook is not a JSON object with cells", RENDER, _file(subject))


@check("kernelspec", MUST, "a notebook without a kernelspec fails at run time (kaggle-cli#689)")
def kernelspec(subject: Subject) -> Iterator[Found]:
    if subject.notebook is not None and not (subject.notebook.get("metadata") or {}).get("kernelspec", {}).get("name"):
        yield Found("the notebook names no Jupyter kernel", RENDER, _file(subject))


@check("empty-notebook", MUST, "a notebook without code writes no submission")
def empty_notebook(subject: Subject) -> Iterator[Found]:
    if subject.notebook is not None and not any(cell.strip() for cell in subject.cells):
        yield Found("the notebook has no code", RENDER, _file(subject))


@check("syntax", MUST, "a cell that cannot be compiled ends the run (Notebook Threw Exception)")
def syntax(subject: Subject) -> Iterator[Found]:
    for number, cell in enumerate(subject.cells, 1):
        if re.search(r"^\s*[!%]", cell, re.MULTILINE):
            continue  # Jupyter's own syntax, which Python does not know
        try:
            ast.parse(cell)
        except (SyntaxError, ValueError) as error:
            yield Found(f"code cell {number} is not Python: {error}", "mend hooks.py, then render again", _file(subject))


@check("needs-internet", MUST, "the internet is off in a code competition; a download fails in the rerun")
def needs_internet(subject: Subject) -> Iterator[Found]:
    for number, cell in enumerate(subject.cells, 1):
        match = ONLINE.search(cell)
        if match:
            yield Found(f"code cell {number} downloads: {match.group().strip()[:80]}", "bundle what it downloads", _file(subject))


@check("secret", MUST, "a notebook may be made public after a competition; a credential in it is then everybody's")
def secret(subject: Subject) -> Iterator[Found]:
    for number, cell in enumerate(subject.cells, 1):
        if TOKENS.search(cell) or any(value in cell for value in subject.secrets):
            yield Found(
                f"code cell {number} holds a credential", "remove it, and revoke it if it was pushed before", _file(subject)
            )


@check("asks", MUST, "nobody answers in a run: input() raises StdinNotImplementedError")
def asks(subject: Subject) -> Iterator[Found]:
    for number, cell in enumerate(subject.cells, 1):
        if ASKING.search(cell):
            yield Found(f"code cell {number} asks for input", "remove input()", _file(subject))


@check("no-digest", SHOULD, "a version whose answer was lost is recognised by the digest in its source")
def no_digest(subject: Subject) -> Iterator[Found]:
    if subject.notebook is None:
        return
    cells = subject.notebook.get("cells", [])
    if not any(DIGEST.search("".join(cell.get("source", ""))) for cell in cells):
        yield Found("the notebook carries no digest", RENDER, _file(subject))


@check(
    "classic-path",
    SHOULD,
    "inputs lie at /kaggle/input/datasets/<owner>/<slug> now and lay at /kaggle/input/<slug>; both were seen in 2026",
)
def classic_path(subject: Subject) -> Iterator[Found]:
    for source in [*subject.sources("dataset"), *subject.sources("competition")]:
        path = f"/kaggle/input/{source.rpartition('/')[2]}"
        if any(re.search(rf"{re.escape(path)}(?![\w-])", cell) for cell in subject.cells):
            yield Found(f"the code counts on {path}", "look in both layouts, as the bootstrap cell does", _file(subject))


@check("walks-input", SHOULD, "one recursive walk of /kaggle/input was measured at 144 s with large inputs")
def walks_input(subject: Subject) -> Iterator[Found]:
    pattern = re.compile(r"(?:os\.walk|glob(?:\.glob)?|rglob)\(\s*(?:r?f?)['\"]/kaggle/input/?(?:\*\*[^'\"]*)?['\"]")
    for number, cell in enumerate(subject.cells, 1):
        if pattern.search(cell):
            yield Found(f"code cell {number} walks through all of /kaggle/input", "name the folder", _file(subject))


@check("outputs-stored", NOTE, "the client clears outputs before it sends them (kernels_push)")
def outputs_stored(subject: Subject) -> Iterator[Found]:
    cells = (subject.notebook or {}).get("cells", [])
    if any(cell.get("outputs") for cell in cells):
        yield Found("the notebook holds outputs, which are not sent", RENDER, _file(subject))
