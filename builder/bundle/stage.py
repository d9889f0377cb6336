"""kkb bundle: the dataset folders that a plan needs, named by their content.

Expects: a plan, and the exports that it names.
Produces: `.kkb/datasets/<slug>/` for each model and for the runtime; hard links where the disk allows: nothing is stored twice.
Never: includes what the plan does not use; changes a folder whose content is right.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from builder import __version__
from builder.bundle import runtime_wheel, wheels
from builder.bundle.record import MANIFEST, METADATA, MOST_FILES, SLUG_LENGTH, UNPACKED, Bundled, Content, Dataset
from builder.bundle.wheels import Lock
from builder.config import Bundle
from builder.errors import UserError
from builder.export.record import Export
from builder.runtime.contract import Plan
from builder.workspace import Workspace, pretty_json, replacing_folder, sha256_file, write_text

RUNTIME = "runtime"


def datasets(plan: Plan, exports: dict[str, Export], workspace: Workspace, lock: Lock | None = None) -> list[Dataset]:
    """The datasets of `plan`, from the records alone: no weights are read, so a machine without them comes to the same slugs.

    Args:
        lock: The wheels that travel along; None for none.
    """
    found = [_of_member(member, plan, exports) for member in dict.fromkeys(unit.dataset for unit in plan.units)]
    packages = wheels.datasets(lock, wheel_cache(workspace)) if lock else []
    return [*found, *packages, _of_runtime(workspace.cache / "runtime")]


def wheel_cache(workspace: Workspace) -> Path:
    """Where downloaded wheels lie."""
    return workspace.cache / "wheels"


def _of_member(member: str, plan: Plan, exports: dict[str, Export]) -> Dataset:
    version, _, model = member.partition(":")
    export = exports[version]
    used = {unit.file for unit in plan.units if unit.dataset == member}
    kept = [m for m in export.of(model) if m.file in used]
    if len(kept) != len(used):
        raise UserError(f"the plan uses files that the export of {member} has not", found=sorted(used), remedy="kkb plan NAME")
    files = tuple(Content(m.file, export.folder / m.file, m.bytes, m.sha256) for m in sorted(kept, key=lambda m: m.file))
    folds = _span([m.fold for m in kept])
    return Dataset(member, model, f"{model} {version} {folds} {export.precision}", files)


def _span(folds: list[int]) -> str:
    """`fold 2`, `folds 0-4`, `folds 0 2 3`."""
    if len(folds) == 1:
        return f"fold {folds[0]}"
    whole = folds == list(range(folds[0], folds[-1] + 1))
    return f"folds {folds[0]}-{folds[-1]}" if whole else "folds " + " ".join(map(str, folds))


def _of_runtime(cache: Path) -> Dataset:
    wheel = runtime_wheel.build(cache)
    return Dataset(
        RUNTIME,
        "kkb-runtime",
        f"kkb runtime {__version__}",
        (Content(wheel.name, wheel, wheel.stat().st_size, sha256_file(wheel)),),
    )


def write(wanted: Iterable[Dataset], workspace: Workspace, owner: str, settings: Bundle) -> list[Bundled]:
    """Make the folders of `wanted`. Raises UserError when a file is missing, is not what its record says, or can't travel."""
    return [_write(dataset, workspace.datasets / dataset.slug, owner, settings) for dataset in wanted]


def _write(dataset: Dataset, folder: Path, owner: str, settings: Bundle) -> Bundled:
    _refuse(dataset)
    manifest = pretty_json(dataset.manifest(__version__))
    changed = not _is_whole(folder, manifest, dataset)
    if changed:
        with replacing_folder(folder) as temporary:
            for file in dataset.files:
                _place(file, temporary / file.name)
            write_text(temporary / MANIFEST, manifest)
    metadata = {
        "title": dataset.title,
        "id": f"{owner}/{dataset.slug}",
        "licenses": [{"name": settings.licence}],
        "isPrivate": settings.private,
    }
    if not (folder / METADATA).is_file() or (folder / METADATA).read_text("utf-8") != pretty_json(metadata):
        write_text(folder / METADATA, pretty_json(metadata))
    return Bundled(dataset.slug, dataset.digest, dataset.bytes, len(dataset.files), changed, str(folder))


def _is_whole(folder: Path, manifest: str, dataset: Dataset) -> bool:
    """True when the folder holds this manifest and each file with its size; contents were checked when they were put there."""
    present = folder / MANIFEST
    if not present.is_file() or present.read_text("utf-8") != manifest:
        return False
    if {path.name for path in folder.iterdir()} - {METADATA} != {MANIFEST, *(f.name for f in dataset.files)}:
        return False  # the plain client would upload whatever else lies here
    return all((folder / f.name).is_file() and (folder / f.name).stat().st_size == f.bytes for f in dataset.files)


def _place(file: Content, target: Path) -> None:
    if not file.path.is_file():
        raise UserError(
            "a file of the bundle is missing", file=file.path, remedy="kkb export NAME on the machine that has the weights"
        )
    found = sha256_file(file.path)
    if found != file.sha256:
        raise UserError(
            "a file of the bundle is not what its record says",
            file=file.path,
            found=found,
            expected=file.sha256,
            remedy="kkb export NAME",
        )
    try:
        os.link(file.path, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(file.path, target)


def _refuse(dataset: Dataset) -> None:
    shortest, longest = SLUG_LENGTH
    if not shortest <= len(dataset.slug) <= longest:
        raise UserError(
            "a dataset's slug is too long or too short",
            found=dataset.slug,
            expected=f"{shortest} to {longest} characters",
            remedy="shorten model.name",
        )
    if len(dataset.files) + 1 > MOST_FILES:
        raise UserError(
            "a dataset has too many files",
            found=len(dataset.files) + 1,
            expected=f"at most {MOST_FILES}",
            remedy="use fewer folds",
        )
    for file in dataset.files:
        if file.name.endswith(UNPACKED):
            raise UserError(
                "Kaggle would unpack this file", file=file.path, found=file.name, remedy="export it under another suffix"
            )
