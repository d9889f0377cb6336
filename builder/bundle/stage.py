"""kkb bundle: the datasets that a plan needs, named by their content, and their folders.

Expects: a plan, and the exports that it names.
Produces: one dataset for each member (more when it is larger than `[bundle] split`), for the runtime, and for the wheels of each
    Python; `.kkb/datasets/<slug>/` for each (`folders`).
Never: includes what the plan does not use.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from builder import __version__
from builder.bundle import runtime_wheel, wheels
from builder.bundle.folders import write
from builder.bundle.record import Content, Dataset, renamed, split
from builder.bundle.wheels import Lock
from builder.config import Bundle
from builder.errors import UserError
from builder.export.record import Export, ExportedModel
from builder.runtime.contract import Plan
from builder.workspace import Workspace, sha256_file

__all__ = ["RUNTIME", "datasets", "wheel_cache", "write"]

RUNTIME = "runtime"
DEFAULTS = Bundle()


def datasets(
    plan: Plan,
    exports: dict[str, Export],
    workspace: Workspace,
    lock: Lock | None = None,
    settings: Bundle = DEFAULTS,
    taken: Collection[str] = (),
) -> list[Dataset]:
    """The datasets of `plan`, from the records alone: no weights are read, so a machine without them comes to the same slugs.

    Args:
        lock: The wheels that travel along; None for none.
        settings: `[bundle]`: says from which size on a member is split, and whether weights go as Kaggle Models.
        taken: Slugs that are taken on Kaggle by other content; a dataset avoids them.
    """
    found: list[Dataset] = []
    for member in dict.fromkeys(unit.dataset for unit in plan.units):
        found += split(_of_member(member, plan, exports, settings.carrier), settings.split)
    packages = wheels.datasets(lock, wheel_cache(workspace)) if lock else []
    return [renamed(one, taken) for one in (*found, *packages, _of_runtime(workspace))]


def wheel_cache(workspace: Workspace) -> Path:
    """Where downloaded wheels lie."""
    return workspace.cache / "wheels"


def _of_member(member: str, plan: Plan, exports: dict[str, Export], carrier: str) -> Dataset:
    version, _, model = member.partition(":")
    export = exports.get(version)
    used = {unit.file for unit in plan.units if unit.dataset == member}
    kept = [m for m in export.of(model) if m.file in used] if export else []
    if export is None or len(kept) != len(used):
        raise UserError(f"the plan uses files that the export of {member} has not", found=sorted(used), remedy="kkb plan NAME")
    return Dataset(
        key=member,
        stem=model,
        about=f"{model} {version} {_span([m.fold for m in kept])} {export.precision}",
        files=tuple(_files(export, kept)),
        source={"version": version, "export": export.digest},
        carrier=carrier,
    )


def _files(export: Export, models: Iterable[ExportedModel]) -> list[Content]:
    """The files of some folds of one model: what they need beside them, and the rows by which a run is probed, included."""
    models = list(models)
    files = list(dict.fromkeys(file for model in models for file in model.files))  # all folds share one recipe
    probe = export.probe(models[0].name)
    files += [probe.table, probe.values] if probe else []
    return sorted((Content(f.file, export.folder / f.file, f.bytes, f.sha256) for f in files), key=lambda file: file.name)


def _span(folds: list[int]) -> str:
    """`fold 2`, `folds 0-4`, `folds 0 2 3`; `all rows` for a model that left none out."""
    if folds == [-1]:
        return "all rows"
    if len(folds) == 1:
        return f"fold {folds[0]}"
    whole = folds == list(range(folds[0], folds[-1] + 1))
    return f"folds {folds[0]}-{folds[-1]}" if whole else "folds " + " ".join(map(str, folds))


def _of_runtime(workspace: Workspace) -> Dataset:
    wheel = runtime_wheel.build(workspace.cache / "runtime")
    content = Content(wheel.name, wheel, wheel.stat().st_size, sha256_file(wheel))
    return Dataset(RUNTIME, "kkb-runtime", f"kkb runtime {__version__}", (content,))
