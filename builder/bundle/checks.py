"""What Kaggle or its client would refuse, rename, unpack or leave out: found before anything is written.

Expects: the datasets of a kernel, and `[bundle]`.
Produces: findings; `refuse` raises the first of them.
Never: reads a file's content, or touches the disk beyond looking at links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.bundle.record import (
    MANIFEST,
    METADATA,
    MODEL,
    MODEL_METADATA,
    MOST_BYTES,
    MOST_FILES,
    SLUG_LENGTH,
    UNPACKED,
    VARIATION_METADATA,
    Dataset,
)
from builder.config import Bundle
from builder.errors import UserError, did_you_mean

MUST = "must-fix"
# Never uploaded by the official client, or ours.
RESERVED = (MANIFEST, METADATA, MODEL_METADATA, VARIATION_METADATA, "datapackage.json", "kernel-metadata.json")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]*")
# Licence names of Kaggle datasets (kaggle-cli, docs/datasets_metadata.md), and what models call the same.
LICENCES = {
    "CC0-1.0": "CC0: Public Domain",
    "CC-BY-SA-3.0": "CC BY-SA 3.0",
    "CC-BY-SA-4.0": "CC BY-SA 4.0",
    "CC-BY-NC-SA-4.0": "CC BY-NC-SA 4.0",
    "CC-BY-4.0": "Attribution 4.0 International (CC BY 4.0)",
    "CC-BY-NC-4.0": "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
    "CC-BY-ND-4.0": "Attribution-NoDerivatives 4.0 International (CC BY-ND 4.0)",
    "CC-BY-NC-ND-4.0": "Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)",
    "CC-BY-3.0": "Attribution 3.0 Unported (CC BY 3.0)",
    "CC-BY-3.0-IGO": "Attribution 3.0 IGO (CC BY 3.0 IGO)",
    "CC-BY-NC-SA-3.0-IGO": "Attribution-NonCommercial-ShareAlike 3.0 IGO (CC BY-NC-SA 3.0 IGO)",
    "GPL-2.0": "GPL 2",
    "GPL-3.0": "GPL 3",
    "LGPL-3.0": "GNU Lesser General Public License 3.0",
    "AGPL-3.0": "GNU Affero General Public License 3.0",
    "FDL-1.3": "GNU Free Documentation License 1.3",
    "PDDL": "ODC Public Domain Dedication and Licence (PDDL)",
    "ODC-BY-1.0": "ODC Attribution License (ODC-By)",
    "CDLA-Permissive-1.0": "Community Data License Agreement - Permissive - Version 1.0",
    "CDLA-Sharing-1.0": "Community Data License Agreement - Sharing - Version 1.0",
    "apache-2.0": "Apache 2.0",
    "ODbL-1.0": "",
    "DbCL-1.0": "",
    "copyright-authors": "",
    "other": "",
    "unknown": "",
    "US-Government-Works": "",
    "EU-ODP-Legal-Notice": "",
}


@dataclass(frozen=True)
class Finding:
    """One reason why a dataset can't be made. The fields are those of every finding of kkb."""

    code: str
    message: str
    found: str
    expected: str
    remedy: str
    file: Path | None = None
    severity: str = MUST

    def record(self) -> dict[str, Any]:
        message = f"{self.message}: {self.found}, expected {self.expected}"
        file = None if self.file is None else str(self.file)
        return {"severity": self.severity, "code": self.code, "message": message, "remedy": self.remedy, "file": file}


def refuse(datasets: Iterable[Dataset], settings: Bundle) -> None:
    """Raise UserError for the first finding, and say how many more there are."""
    found = findings(datasets, settings)
    if not found:
        return
    first, more = found[0], len(found) - 1
    what = f"{first.message} ({more} more such reason{'s' if more > 1 else ''})" if more else first.message
    raise UserError(what, file=first.file, found=first.found, expected=first.expected, remedy=first.remedy)


def findings(datasets: Iterable[Dataset], settings: Bundle) -> list[Finding]:
    """Everything that stands against making these datasets."""
    found = list(_licence(settings))
    for dataset in datasets:
        for check in (_name, _size, _count, _cases):
            found += check(dataset)
        for file in dataset.files:
            found += [*_file_name(file.name, file.path), *_link(file.path)]
    return found


def _licence(settings: Bundle) -> Iterator[Finding]:
    if settings.licence not in LICENCES:
        remedy = f"[bundle] licence: {did_you_mean(settings.licence, LICENCES)}"
        yield Finding("licence", "Kaggle knows no such licence", settings.licence, "one of Kaggle's licences", remedy)
    elif settings.carrier == MODEL and not LICENCES[settings.licence]:
        known = ", ".join(name for name, model in LICENCES.items() if model)
        remedy = "change [bundle] licence, or [bundle] as"
        yield Finding("licence", "Kaggle Models can't have this licence", settings.licence, known, remedy)


def _name(dataset: Dataset) -> Iterator[Finding]:
    from slugify import slugify

    shortest, longest = SLUG_LENGTH
    if not shortest <= len(dataset.slug) <= longest:
        expected = f"{shortest} to {longest} characters"
        yield Finding("slug", "a dataset's slug is too long or too short", dataset.slug, expected, "shorten model.name")
    elif slugify(dataset.slug) != dataset.slug:
        yield Finding(
            "slug",
            "a name becomes another one on Kaggle",
            dataset.slug,
            f"'{slugify(dataset.slug)}' or another name that Kaggle leaves as it is",
            "change model.name: lower-case letters and digits, with single dashes between them",
        )
    if not shortest <= len(dataset.title) <= longest:
        yield Finding(
            "title", "a dataset's title is too long or too short", dataset.title, f"{shortest} to {longest}", "change model.name"
        )


def _size(dataset: Dataset) -> Iterator[Finding]:
    if dataset.bytes > MOST_BYTES:
        yield Finding(
            "large",
            f"the dataset '{dataset.slug}' is larger than Kaggle takes",
            f"{dataset.bytes / 1e9:.1f} GB in {len(dataset.files)} files",
            f"at most {MOST_BYTES / 1e9:.0f} GB",
            "a lower [bundle] split spreads the folds of a model over several datasets; a single file must be smaller",
        )


def _count(dataset: Dataset) -> Iterator[Finding]:
    count = len(dataset.files) + 1
    if count > MOST_FILES:
        yield Finding("many", "a dataset has too many files", str(count), f"at most {MOST_FILES}", "use fewer folds")


def _cases(dataset: Dataset) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for file in dataset.files:
        other = seen.setdefault(file.name.casefold(), file.name)
        if other != file.name:
            found = f"{other} and {file.name}"
            expected = "names that differ on every file system"
            yield Finding("case", "two files differ only in case", found, expected, "rename one of them", file.path)
    if len({file.name for file in dataset.files}) < len(dataset.files):
        names = sorted(file.name for file in dataset.files)
        found = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        yield Finding("twice", f"two files of '{dataset.slug}' have one name", found, "one of them", "rename one of them")


def _file_name(name: str, path: Path) -> Iterator[Finding]:
    if not _NAME.fullmatch(name):
        expected = "letters, digits, '.', '_', '+', '!' and '-', in a flat folder"
        yield Finding("file-name", "a file's name would not survive the way to Kaggle", repr(name), expected, "rename it", path)
    elif name in RESERVED or name.startswith("dataset-cover-image."):
        yield Finding("reserved", "the official client would leave this file out", name, "another name", "rename it", path)
    elif name.lower().endswith(UNPACKED):
        remedy = "export it under another suffix"
        yield Finding("unpacked", "Kaggle would unpack this file", name, ".onnx, .bin, .safetensors or .whl", remedy, path)


def _link(path: Path) -> Iterator[Finding]:
    """A link within its folder is followed; one that leaves it would publish a file that nobody named."""
    if path.is_symlink() and path.resolve().parent != path.parent.resolve():
        remedy = "put the file itself there, not a link"
        yield Finding("link", "a link leads out of its folder", str(path.resolve()), f"a file in {path.parent}", remedy, path)
