"""Dataset folders on their way out: checked against their manifest, and staged so that no old bytes can be sent.

The official client remembers unfinished uploads by path, size and time, not by content. So a folder is uploaded from a staging
folder whose path names its content and its destination: what the client finds there from an earlier try is this content, half
sent, and can be continued; anything else has another path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import UserError
from builder.runtime.reading import value
from builder.workspace import digest_of, read_json, sha256_file

METADATA = "dataset-metadata.json"
MODEL_METADATA, VARIATION_METADATA = "model-metadata.json", "model-instance-metadata.json"
MANIFEST = "manifest.json"
# What the official client silently leaves out of an upload.
RESERVED = re.compile(r"(datapackage|kernel-metadata|model-metadata|model-instance-metadata)\.json|dataset-cover-image\..*")
SLUG = re.compile(r"[a-z0-9][a-z0-9-]{5,49}")
REMEDY = "run `kkb bundle` again"


@dataclass(frozen=True)
class Bundle:
    """A dataset folder that agrees with its manifest.

    Attributes:
        folder: Where it is.
        owner: The user it belongs to.
        slug: Its name, which contains digits of its digest.
        digest: Digest of its content.
        files: Name -> bytes of everything that is uploaded, the manifest included.
        sha256: Name -> sha256 of everything but the manifest.
        public: Whether everybody may see it.
        collaborators: Users who may see it all the same.
        variation: `framework/variation` of a Kaggle Model; empty for a dataset.
    """

    folder: Path
    owner: str
    slug: str
    digest: str
    files: Mapping[str, int]
    sha256: Mapping[str, str]
    public: bool
    collaborators: tuple[str, ...] = ()
    variation: str = ""

    @property
    def name(self) -> str:
        """`owner/slug`; of a model `owner/slug/framework/variation`."""
        return f"{self.owner}/{self.slug}/{self.variation}" if self.variation else f"{self.owner}/{self.slug}"

    @property
    def metadata(self) -> tuple[str, ...]:
        """What lies beside its files and tells the official client what to make of them."""
        return (MODEL_METADATA, VARIATION_METADATA) if self.variation else (METADATA,)

    @property
    def bytes(self) -> int:
        """Size of everything that is uploaded."""
        return sum(self.files.values())


def read(folder: Path) -> Bundle:
    """The dataset folder `folder`, with names and sizes checked.

    Raises:
        UserError: Its metadata is not one that Kaggle takes, or its files are not those of the manifest.
    """
    metadata = read_json(folder / METADATA, remedy=REMEDY)
    try:
        owner, slug = metadata["id"].split("/")
        told = (owner, slug, metadata["title"], not metadata.get("isPrivate", True))
        collaborators = tuple(one["username"] for one in metadata.get("collaborators") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("not a dataset folder of ours", file=folder, found=repr(error), remedy=REMEDY) from None
    return _bundle(folder, *told, collaborators=collaborators)


def read_model(folder: Path) -> Bundle:
    """The folder of a Kaggle Model, checked like a dataset's."""
    model = read_json(folder / MODEL_METADATA, remedy=REMEDY)
    variation = read_json(folder / VARIATION_METADATA, remedy=REMEDY)
    try:
        owner, slug = model["ownerSlug"], model["slug"]
        place = f"{variation['framework']}/{variation['instanceSlug']}"
        if (variation["ownerSlug"], variation["modelSlug"]) != (owner, slug):
            raise ValueError(f"{VARIATION_METADATA} is about another model")
        told = (owner, slug, model["title"], not model["isPrivate"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("not a model folder of ours", file=folder, found=repr(error), remedy=REMEDY) from None
    return _bundle(folder, *told, variation=place)


def _bundle(folder: Path, owner: str, slug: str, title: Any, public: bool, **more: Any) -> Bundle:
    """What metadata and manifest say, when the folder agrees."""
    manifest = read_json(folder / MANIFEST, remedy=REMEDY)
    try:
        files = {value(str, entry["name"], "name"): value(int, entry["bytes"], "bytes") for entry in manifest["files"]}
        sha256 = {entry["name"]: value(str, entry["sha256"], "sha256") for entry in manifest["files"]}
        digest = value(str, manifest["digest"], "digest")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("not a dataset folder of ours", file=folder, found=repr(error), remedy=REMEDY) from None
    _check_names(folder, slug, title, files)
    files[MANIFEST] = (folder / MANIFEST).stat().st_size
    bundle = Bundle(folder, owner, slug, digest, files, sha256, public, **more)
    _check_files(bundle)
    return bundle


def _check_names(folder: Path, slug: str, title: Any, files: Mapping[str, int]) -> None:
    if not SLUG.fullmatch(slug):
        raise UserError(
            "Kaggle takes no such dataset slug",
            file=folder,
            found=slug,
            expected="6 to 50 of a-z, 0-9 and '-'",
            remedy=REMEDY,
        )
    if not isinstance(title, str) or not 6 <= len(title) <= 50:
        raise UserError(
            "Kaggle takes no such dataset title",
            file=folder,
            found=title,
            expected="6 to 50 characters",
            remedy=REMEDY,
        )
    for name in files:
        if RESERVED.fullmatch(name) or "/" in name or "\\" in name:
            raise UserError("the official client would leave this file out", file=folder / name, remedy="give it another name")


def _check_files(bundle: Bundle) -> None:
    paths = [path for path in bundle.folder.iterdir() if path.name not in bundle.metadata]
    found = {path.name: path.stat().st_size if path.is_file() else -1 for path in paths}
    if found != bundle.files:
        what = difference(found, bundle.files)
        raise UserError("the folder does not hold what its manifest says", file=bundle.folder, found=what, remedy=REMEDY)


def check_content(bundle: Bundle) -> None:
    """Raises UserError when a file is not the one that the manifest describes. Reads every byte, on all cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        digests = pool.map(sha256_file, [bundle.folder / name for name in bundle.sha256])
        pairs = dict(zip(bundle.sha256, digests, strict=True))
    for name, expected in bundle.sha256.items():
        found = pairs[name]
        if found != expected:
            raise UserError(
                "the file is not the one in the manifest",
                file=bundle.folder / name,
                found=f"sha256 {found}",
                expected=f"sha256 {expected}",
                remedy=REMEDY,
            )


@contextlib.contextmanager
def stage(bundle: Bundle, destination: str) -> Iterator[Path]:
    """A private folder beside the bundle with `files/` (links to its files) and `state/` (the client's upload state).

    The same content for the same destination gets the same folder again, as it was left by an interrupted upload. When another
    process is at it, this one gets a folder of its own.
    """
    key = digest_of([bundle.digest, dict(bundle.files), bundle.name, destination])[:16]
    beside = bundle.folder.resolve().parent
    staging = beside / f".{bundle.slug}.upload-{key}"
    staging.mkdir(mode=0o700, exist_ok=True)
    with (staging / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(prefix=f".{bundle.slug}.upload-", dir=beside) as private:
                yield _fill(bundle, Path(private))
            return
        yield _fill(bundle, staging)


def _fill(bundle: Bundle, staging: Path) -> Path:
    (staging / "state").mkdir(mode=0o700, exist_ok=True)
    files = staging / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    for name in (*bundle.files, *bundle.metadata):
        _link(bundle.folder / name, files / name)
    return staging


def clear(staging: Path) -> None:
    """Forget an upload."""
    shutil.rmtree(staging, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)


def unlike(found: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """How a dataset that was there before differs from ours; empty when it does not.

    Its manifest may have another size: beside the digests it says which kkb made it from which version.
    """
    same = {MANIFEST: expected[MANIFEST]} if MANIFEST in found and MANIFEST in expected else {}
    return difference({**found, **same}, expected)


def difference(found: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """How two file lists (name -> bytes) differ, in words; empty when they do not."""
    lines = [f"{name} missing" for name in sorted(expected.keys() - found.keys())]
    lines += [f"{name} unexpected" for name in sorted(found.keys() - expected.keys())]
    both = sorted(found.keys() & expected.keys())
    lines += [f"{name} has {found[name]} bytes, not {expected[name]}" for name in both if found[name] != expected[name]]
    return "; ".join(lines[:8]) + (f"; and {len(lines) - 8} more" if len(lines) > 8 else "")
