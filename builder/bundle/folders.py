"""Dataset folders on disk: whole, flat, and made of links to what is there already.

Expects: datasets without findings (`checks.refuse`).
Produces: `.kkb/datasets/<slug>/` for each, with its manifest and the metadata of its carrier.
Never: writes one folder before all files of all were found to be what their records say; touches a folder whose content is right;
    stores a byte twice where the disk has hard links.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builder import __version__
from builder.bundle.checks import LICENCES, refuse
from builder.bundle.hashing import Hashed, Hashes, mark
from builder.bundle.record import (
    MANIFEST,
    METADATA,
    MODEL,
    MODEL_METADATA,
    VARIATION,
    VARIATION_METADATA,
    Bundled,
    Content,
    Dataset,
)
from builder.config import Bundle
from builder.errors import UserError
from builder.progress import Report, silent
from builder.runtime import mend
from builder.workspace import Workspace, locked, pretty_json, replacing_folder, write_text

CACHE = "hashes.json"
TORCHSCRIPT = ".ts.bin"  # a zip archive inside: Kaggle may unpack it all the same
ABOUT = "Weights of a Kaggle kernel, with their digests in manifest.json. Made by kaggle-kernel-builder."
Digests = Mapping[Path, Hashed]


def write(
    wanted: Iterable[Dataset],
    workspace: Workspace,
    owner: str,
    settings: Bundle,
    report: Report = silent,
    *,
    verify: bool = False,
) -> list[Bundled]:
    """Make the folders of `wanted`, each content once.

    Args:
        wanted: The datasets of a kernel.
        owner: Whose they will be on Kaggle.
        report: Told while files are hashed.
        verify: Read every file again, also those that were read before and look the same since.

    Raises:
        UserError: A dataset that Kaggle would not take, or a file that is missing or not what its record says.
    """
    datasets = list({dataset.slug: dataset for dataset in wanted}.values())
    refuse(datasets, settings)
    hashes = Hashes(workspace.cache / CACHE, verify=verify)
    folders = {dataset.slug: workspace.datasets / dataset.slug for dataset in datasets}
    with locked(lock_of(workspace)):
        stale = _stale(datasets, folders, hashes, report)
        digests = _right([file for dataset in stale for file in dataset.files], hashes, report)
        for dataset in stale:
            _make(dataset, folders[dataset.slug], digests)
        for dataset in datasets:
            _label(dataset, folders[dataset.slug], owner, settings)
    return [Bundled(one.slug, one.digest, one.bytes, len(one.files), one in stale, str(folders[one.slug])) for one in datasets]


def lock_of(workspace: Workspace) -> Path:
    """Held while dataset folders are written."""
    return workspace.private / "bundle.lock"


def _stale(datasets: Sequence[Dataset], folders: Mapping[str, Path], hashes: Hashes, report: Report) -> list[Dataset]:
    """The datasets whose folder is not there with exactly their files."""
    there = [dataset for dataset in datasets if _looks_right(folders[dataset.slug], dataset)]
    found = hashes.of([folders[dataset.slug] / file.name for dataset in there for file in dataset.files], report)
    right = [
        dataset
        for dataset in there
        if all(found[folders[dataset.slug] / file.name].sha256 == file.sha256 for file in dataset.files)
    ]
    return [dataset for dataset in datasets if dataset not in right]


def _looks_right(folder: Path, dataset: Dataset) -> bool:
    """True when the folder lists and has these files, with their sizes, and nothing else: the plain client would upload it."""
    told = _told(folder)
    if [(one.get("name"), one.get("bytes"), one.get("sha256"), "entries" in one) for one in told] != [
        (file.name, file.bytes, file.sha256, _is_archive(file.name)) for file in dataset.files
    ]:
        return False
    ours = {MANIFEST, *_metadata_names(dataset)}
    if {path.name for path in folder.iterdir()} - ours != {file.name for file in dataset.files}:
        return False
    paths = [(folder / file.name, file.bytes) for file in dataset.files]
    return all(path.is_file() and not path.is_symlink() and path.stat().st_size == size for path, size in paths)


def _told(folder: Path) -> list[dict[str, Any]]:
    """The files in the folder's manifest; none when there is no readable one."""
    try:
        return [dict(one) for one in json.loads((folder / MANIFEST).read_text("utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _is_archive(name: str) -> bool:
    return name.endswith(TORCHSCRIPT)


def _right(files: Sequence[Content], hashes: Hashes, report: Report) -> Digests:
    """What the files hold. Raises UserError unless all of them hold what their records say."""
    for file in files:
        if not file.path.is_file():
            raise UserError(
                "a file of the bundle is missing", file=file.path, remedy="kkb export NAME on the machine that has the weights"
            )
    digests = hashes.of([file.path for file in files], report)
    for file in files:
        found = digests[file.path]
        if (found.sha256, found.mark.bytes) != (file.sha256, file.bytes):
            raise UserError(
                "a file of the bundle is not what its record says",
                file=file.path,
                found=f"{found.mark.bytes} bytes, sha256 {found.sha256}",
                expected=f"{file.bytes} bytes, sha256 {file.sha256}",
                remedy="kkb export NAME",
            )
    return digests


def _make(dataset: Dataset, folder: Path, digests: Digests) -> None:
    with replacing_folder(folder) as temporary:
        for file in dataset.files:
            _place(file, temporary / file.name, digests[file.path])
        entries = {file.name: mend.entries(temporary / file.name) for file in dataset.files if _is_archive(file.name)}
        write_text(temporary / MANIFEST, pretty_json(dataset.manifest(__version__, entries)))


def _place(file: Content, target: Path, expected: Hashed) -> None:
    """Link or copy the very file that was hashed."""
    source = file.path.resolve()
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
    if mark(source) != expected.mark or target.stat().st_size != file.bytes:
        raise UserError("a file changed while it was bundled", file=file.path, remedy="let what writes it come to its end")


def _label(dataset: Dataset, folder: Path, owner: str, settings: Bundle) -> None:
    """Write what says something about the content: whose it is, what it is called, and who made it from what."""
    entries = {one["name"]: one["entries"] for one in _told(folder) if "entries" in one}
    wanted = {MANIFEST: dataset.manifest(__version__, entries), **_metadata(dataset, owner, settings)}
    for name in {METADATA, MODEL_METADATA, VARIATION_METADATA} - wanted.keys():
        (folder / name).unlink(missing_ok=True)
    for name, value in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != pretty_json(value).encode():
            write_text(path, pretty_json(value))


def _metadata_names(dataset: Dataset) -> set[str]:
    return {MODEL_METADATA, VARIATION_METADATA} if dataset.carrier == MODEL else {METADATA}


def _metadata(dataset: Dataset, owner: str, settings: Bundle) -> dict[str, dict[str, Any]]:
    """File name -> content, as the plain client takes it."""
    if dataset.carrier == MODEL:
        return _of_model(dataset, owner, settings)
    metadata: dict[str, Any] = {
        "title": dataset.title,
        "id": f"{owner}/{dataset.slug}",
        "licenses": [{"name": settings.licence}],
        "isPrivate": settings.private,
    }
    if settings.collaborators:
        metadata["collaborators"] = [{"username": name, "role": "reader"} for name in settings.collaborators]
    return {METADATA: metadata}


def _of_model(dataset: Dataset, owner: str, settings: Bundle) -> dict[str, dict[str, Any]]:
    model = {
        "ownerSlug": owner,
        "title": dataset.title,
        "slug": dataset.slug,
        "subtitle": "",
        "isPrivate": settings.private,
        "description": f"{dataset.about}. {ABOUT}",
        "publishTime": "",
        "provenanceSources": "",
    }
    variation = {
        "ownerSlug": owner,
        "modelSlug": dataset.slug,
        "instanceSlug": VARIATION,
        "framework": dataset.framework,
        "overview": dataset.about,
        "usage": ABOUT,
        "licenseName": LICENCES[settings.licence],
        "fineTunable": False,
        "trainingData": [],
        "modelInstanceType": "Unspecified",
        "baseModelInstance": "",
        "externalBaseModelUrl": "",
    }
    return {MODEL_METADATA: model, VARIATION_METADATA: variation}
