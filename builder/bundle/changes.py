"""What a bundle has that the last pushed one had not, and the other way round: what the next push will upload.

Expects: the datasets of now, the handles that were pushed, and the folder in which manifests of pushed datasets may still lie.
Produces: one row per dataset, by its place in the bundle.
Never: needs the pushed content: without its manifest a dataset is still known by its digest, its files are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.bundle.record import MANIFEST, Dataset
from builder.workspace import DIGEST_DIGITS

NEW, CHANGED, SAME, GONE = "new", "changed", "same", "gone"
_OURS = re.compile(rf"(?P<stem>[a-z0-9][a-z0-9-]*?)-(?P<digits>[0-9a-f]{{{DIGEST_DIGITS}}})(?:-(?:[2-9]|[1-9][0-9]+))?")


@dataclass(frozen=True)
class Change:
    """One dataset, then and now.

    Attributes:
        state: `new`, `changed`, `same` or `gone`.
        slug: Now; empty when it is gone.
        was: The slug that was pushed; empty when it is new.
        upload: Bytes that the next push sends for it.
        added, removed, altered: File names; None when what was pushed is not known here.
    """

    state: str
    slug: str
    was: str
    upload: int
    added: tuple[str, ...] | None = ()
    removed: tuple[str, ...] | None = ()
    altered: tuple[str, ...] | None = ()

    def record(self) -> dict[str, Any]:
        return asdict(self)


def slug_of(handle: str) -> str:
    """The slug in `owner/slug` or `owner/slug/framework/variation/version`; a bare slug is one already."""
    return handle.split("/")[1] if "/" in handle else handle


def stem_of(slug: str) -> str | None:
    """The first part of a slug that names its content as ours do; None for others."""
    match = _OURS.fullmatch(slug)
    return match["stem"] if match else None


def diff(current: Iterable[Dataset], pushed: Iterable[str], folders: Path) -> list[Change]:
    """How the bundle of now differs from the pushed one.

    Args:
        current: The datasets of now.
        pushed: Handles or slugs of the datasets of the last push; empty when there was none.
        folders: Where the folders of pushed datasets may still be (`.kkb/datasets`).
    """
    now = {dataset.slug: dataset for dataset in current}
    then = list(dict.fromkeys(slug_of(handle) for handle in pushed))
    left = [slug for slug in then if slug not in now]
    rows = []
    for slug, dataset in now.items():
        if slug in then:
            rows.append(Change(SAME, slug, slug, 0))
            continue
        was = next((one for one in left if stem_of(one) == dataset.stem), None)
        if was is None:
            rows.append(Change(NEW, slug, "", dataset.bytes, tuple(file.name for file in dataset.files)))
        else:
            left.remove(was)
            rows.append(_changed(dataset, was, _listed(folders / was / MANIFEST)))
    return rows + [Change(GONE, "", slug, 0) for slug in left]


def _changed(dataset: Dataset, was: str, before: Mapping[str, str] | None) -> Change:
    if before is None:
        return Change(CHANGED, dataset.slug, was, dataset.bytes, None, None, None)
    after = {file.name: file.sha256 for file in dataset.files}
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    altered = sorted(name for name in after.keys() & before.keys() if after[name] != before[name])
    return Change(CHANGED, dataset.slug, was, dataset.bytes, tuple(added), tuple(removed), tuple(altered))


def _listed(manifest: Path) -> dict[str, str] | None:
    """File name -> sha256; None when there is no readable manifest."""
    try:
        files: Sequence[Mapping[str, Any]] = json.loads(manifest.read_text("utf-8"))["files"]
        return {str(one["name"]): str(one["sha256"]) for one in files}
    except (OSError, ValueError, KeyError, TypeError):
        return None
