"""What a kernel is saved with: its sources, its machine, its time limit; and where the sources lie in a session."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import machines
from builder.standin import datasets, models
from builder.standin.home import Home
from builder.standin.wire import Call

METADATA_FIELDS = {
    "dataset": "dataset_data_sources",
    "competition": "competition_data_sources",
    "kernel": "kernel_data_sources",
    "model": "model_data_sources",
}
# What the server makes of shapes that are gone.
RETIRED = {"nvidiateslap100": "NvidiaTeslaT4", "tpuv38": "TpuV5E8", "tpu1vmv38": "TpuV5E8", "tpuv232": "", "tpuv2256": ""}
DEFAULT_GPU = "NvidiaTeslaT4"


@dataclass(frozen=True)
class Sources:
    """What can be mounted, and what was dropped.

    Attributes:
        mounts: `{kind, ref, slug, version}` of every source that exists.
        invalid: Kind -> names that do not exist.
    """

    mounts: list[dict[str, Any]]
    invalid: dict[str, list[str]]

    def report(self, response: Any) -> None:
        """Write the dropped names into a SaveKernel answer."""
        response.invalid_dataset_sources = self.invalid["dataset"]
        response.invalid_competition_sources = self.invalid["competition"]
        response.invalid_kernel_sources = self.invalid["kernel"]
        response.invalid_model_sources = self.invalid["model"]


def resolve(call: Call, request: Any) -> Sources:
    """Look up every source of a SaveKernel request."""
    finders = {"dataset": _dataset, "competition": _competition, "kernel": _kernel, "model": _model}
    mounts: list[dict[str, Any]] = []
    invalid: dict[str, list[str]] = {kind: [] for kind in finders}
    for kind, finder in finders.items():
        for ref in getattr(request, METADATA_FIELDS[kind]) or []:
            found = finder(call, ref)
            if found is None:
                invalid[kind].append(ref)
            else:
                mounts.append({"kind": kind, "ref": ref, **found})
    return Sources(mounts, invalid)


def _dataset(call: Call, ref: str) -> dict[str, Any] | None:
    owner, _, rest = ref.partition("/")
    slug, _, number = rest.partition("/")
    row = call.store.one("SELECT * FROM datasets WHERE slug = ?", slug)
    if owner.lower() != call.owner or row is None or (number and not number.isdigit()):
        return None
    # A pinned version is accepted and ignored: old versions cannot be attached through the API.
    version = datasets.newest_ready(call, row)
    return None if version is None else {"slug": slug, "version": version["number"]}


def _competition(call: Call, ref: str) -> dict[str, Any] | None:
    row = call.store.one("SELECT slug FROM competitions WHERE slug = ?", ref)
    return None if row is None else {"slug": row["slug"], "version": 1}


def _kernel(call: Call, ref: str) -> dict[str, Any] | None:
    owner, _, rest = ref.partition("/")
    slug = rest.partition("/")[0]
    sql = (
        "SELECT k.folder, max(v.number) AS number FROM kernels k JOIN kernel_versions v ON v.kernel = k.id"
        " WHERE k.slug = ? AND v.status = 'COMPLETE'"
    )
    row = call.store.one(sql, slug)
    if owner.lower() != call.owner or row is None or row["number"] is None:
        return None
    return {"slug": slug, "folder": row["folder"], "version": row["number"]}


def _model(call: Call, ref: str) -> dict[str, Any] | None:
    return models.attachable(call, ref)


def inputs(home: Home, owner: str, mounts: Sequence[dict[str, Any]], layout: str, *, rerun: bool) -> dict[str, Path]:
    """Path below /kaggle/input -> folder at home. A rerun gets the hidden data instead of the visible."""
    placed: dict[str, Path] = {}
    for mount in mounts:
        slug = mount["slug"]
        if mount["kind"] == "dataset":
            folder, typed = home.dataset(slug, mount["version"]), f"datasets/{owner}/{slug}"
        elif mount["kind"] == "competition":
            folder, typed = (home.hidden if rerun else home.visible)(slug), f"competitions/{slug}"
        elif mount["kind"] == "kernel":
            folder, typed = home.kernel(mount.get("folder", slug), mount["version"]) / "output", f"notebooks/{owner}/{slug}"
        else:
            folder, typed = home.model(slug, mount["version"]), f"models/{owner}/{slug}/{mount['version']}"
        name = typed if layout == "typed" else _classic(mount, owner, placed)
        placed[name] = folder
    return placed


def _classic(mount: dict[str, Any], owner: str, placed: dict[str, Path]) -> str:
    """`<slug>`; on a clash `d/<owner>/<slug>`. Models keep their version."""
    if mount["kind"] == "model":
        return f"{mount['slug']}/{mount['version']}"
    slug: str = mount["slug"]
    return f"d/{owner}/{slug}" if slug in placed else slug


def shape_of(request: Any) -> str:
    """The machine shape that the session really gets; empty for CPU."""
    shape = request.machine_shape or ""
    if not shape:
        return DEFAULT_GPU if request.enable_gpu else ("TpuV5E8" if request.enable_tpu else "")
    return RETIRED.get(shape.lower(), shape)


def machine_for(request: Any) -> tuple[str, bool]:
    """(machine, whether it counts as a GPU session). Shapes that we have no machine for run on the CPU machine's hardware."""
    shape = shape_of(request)
    # Of several machines of one shape the first: others are named after it, or captured from a stand-in.
    known = {machines.load(name).shape.lower(): name for name in reversed(machines.names())}
    return known.get(shape.lower(), "cpu"), shape.lower().startswith("nvidia")


def limit_of(call: Call, resolved: Sources, machine: str, asked: int | None) -> float:
    """Seconds a commit run may take: the competition's limit when one is attached, else the machine's; `asked` only lowers it."""
    slugs = [mount["slug"] for mount in resolved.mounts if mount["kind"] == "competition"]
    rows = [call.store.one("SELECT limit_s FROM competitions WHERE slug = ?", slug) for slug in slugs]
    limits = [row["limit_s"] for row in rows if row is not None] or [machines.load(machine).session_limit_s]
    return float(min([*limits, *([asked] if asked else [])]))


def as_notebook(request: Any) -> str:
    """The notebook to execute; a script becomes a notebook of one cell."""
    if request.kernel_type == "notebook":
        return str(request.text)
    cell = {"cell_type": "code", "id": "script", "metadata": {}, "execution_count": None, "outputs": [], "source": request.text}
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": [cell], "metadata": spec, "nbformat": 4, "nbformat_minor": 5})
