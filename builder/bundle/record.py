"""manifest.json: what a dataset holds. The digest of the content is in its slug, so a dataset never changes.

`.kkb/datasets/<slug>/` is flat and is what `kaggle datasets create -p` takes: the files, manifest.json, dataset-metadata.json.
Carried as a Kaggle Model, it is what `kaggle models create -p` and `kaggle models variations create -p` take: model-metadata.json
and model-instance-metadata.json stand there instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.runtime.contract import Plan
from builder.runtime.integrity import seal
from builder.workspace import digest_of, short

MANIFEST, METADATA = "manifest.json", "dataset-metadata.json"
MODEL_METADATA, VARIATION_METADATA = "model-metadata.json", "model-instance-metadata.json"
DATASET, MODEL = "dataset", "model"
SLUG_LENGTH = (6, 50)  # the official client's limits, for slug and title alike
TITLE_DIGITS = 6
MOST_FILES = 50  # top-level files that Kaggle takes
MOST_BYTES = 200_000_000_000  # of one dataset
UNPACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".bz2", ".xz", ".rar", ".pt", ".pth")  # exploded there, torch archives too
SHARED = ".recipe.json"  # what all folds of a model need beside them
PART = "+"  # between a member and the number of a further dataset that carries it
# A model's content never changes either: it has one variation, and that one version.
VARIATION, VERSION = "weights", 1
FRAMEWORKS = {".onnx": "onnx", ".ts.bin": "pyTorch"}  # others are filed under `other`


@dataclass(frozen=True)
class Content:
    """One file of a dataset: its name there, and its path at home."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """One dataset of a kernel, or one Kaggle Model.

    Attributes:
        key: What the plan's units call it: a member (`v001:effnet`; its second part `v001:effnet+2`), or `runtime`.
        stem: First part of the slug.
        about: What it holds, in words: `effnet v001 folds 0-2 fp32`.
        files: Sorted by name.
        source: Where the content comes from, in words and digests: `version`, `export`.
        carrier: `dataset` or `model`.
        number: 2, 3, ... where the slugs before it were taken by other content.
    """

    key: str
    stem: str
    about: str
    files: tuple[Content, ...]
    source: Mapping[str, str] = field(default_factory=dict)
    carrier: str = DATASET
    number: int = 1

    @property
    def digest(self) -> str:
        """Names the content, wherever, whenever and by whichever version of kkb it was made."""
        return digest_of([[file.name, file.bytes, file.sha256] for file in self.files])

    @property
    def slug(self) -> str:
        return f"{self.stem}-{short(self.digest)}{self._suffix}"

    @property
    def title(self) -> str:
        """At most 50 characters. Kaggle wants titles, too, to be different, so they end like the slug does."""
        end = f" {self.digest[:TITLE_DIGITS]}{self._suffix}"
        return self.about[: SLUG_LENGTH[1] - len(end)].rstrip() + end

    @property
    def _suffix(self) -> str:
        return f"-{self.number}" if self.number > 1 else ""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def framework(self) -> str:
        """What a Kaggle Model with these files is filed under."""
        return next((name for end, name in FRAMEWORKS.items() if any(file.name.endswith(end) for file in self.files)), "other")

    @property
    def place(self) -> str:
        """Framework, variation and version of a Kaggle Model."""
        return f"{self.framework}/{VARIATION}/{VERSION}"

    def manifest(self, tool: str, entries: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Any]:
        """The content of manifest.json.

        Args:
            tool: The version of kkb.
            entries: File name -> entry -> sha256 of files that are archives, for when Kaggle unpacks them all the same.
        """
        files: list[dict[str, Any]] = [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in self.files]
        for file in files:
            if entries and file["name"] in entries:
                file["entries"] = dict(entries[file["name"]])
        told = {"digest": self.digest, "files": files, "key": self.key, "source": dict(self.source), "tool": tool}
        return {**told, "check": seal(told)}

    def carried(self, owner: str) -> dict[str, Any]:
        """As the notebook's dataset list names it (`runtime.contract.Carried`)."""
        files = {file.name: file.sha256 for file in self.files}
        return {"key": self.key, "owner": owner, "slug": self.name, "files": files}

    @property
    def name(self) -> str:
        """What follows the owner in handles and mounts: the slug, or `slug/framework/variation/version`."""
        return f"{self.slug}/{self.place}" if self.carrier == MODEL else self.slug

    def handle(self, owner: str) -> str:
        """As kernel-metadata.json names it."""
        return f"{owner}/{self.name}"


@dataclass(frozen=True)
class Bundled:
    """A dataset folder that is on disk. `changed` is False when it was there already."""

    slug: str
    digest: str
    bytes: int
    files: int
    changed: bool
    path: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


def sources(datasets: Iterable[Dataset], owner: str) -> tuple[list[str], list[str]]:
    """`dataset_sources` and `model_sources` of kernel-metadata.json, each once: two keys may have the same content."""
    found: dict[str, list[str]] = {DATASET: [], MODEL: []}
    for dataset in datasets:
        handle = dataset.handle(owner)
        if handle not in found[dataset.carrier]:
            found[dataset.carrier].append(handle)
    return found[DATASET], found[MODEL]


def member_of(key: str) -> str:
    """The member that a dataset's key belongs to: of `v001:effnet` and `v001:effnet+2`, `v001:effnet`."""
    return key.partition(PART)[0]


def placed(plan: Plan, datasets: Sequence[Dataset]) -> Plan:
    """The plan with the key of the very dataset that carries its file in each unit and probe; plan.json knows members only."""
    homes = {(member_of(dataset.key), file.name): dataset.key for dataset in datasets for file in dataset.files}
    units = (replace(unit, dataset=homes.get((unit.dataset, unit.file), unit.dataset)) for unit in plan.units)
    probes = (replace(probe, dataset=homes.get((probe.dataset, probe.table), probe.dataset)) for probe in plan.probes)
    return replace(plan, units=tuple(units), probes=tuple(probes))


def split(dataset: Dataset, limit: int) -> tuple[Dataset, ...]:
    """`dataset` in as many parts as `limit` bytes and Kaggle's number of files ask for, in the order of its files.

    Files whose names differ in their suffixes only stay together: a model and its weights (`x.onnx`, `x.onnx.data`), the table
    and the values of a probe. A recipe, which all folds read by, is in every part.
    """
    shared = [file for file in dataset.files if file.name.endswith(SHARED)]
    groups: dict[str, list[Content]] = {}
    for file in dataset.files:
        if file not in shared:
            groups.setdefault(file.name.partition(".")[0], []).append(file)
    parts: list[list[Content]] = [[*shared]]
    for group in groups.values():
        full = sum(file.bytes for file in [*parts[-1], *group]) > limit or len(parts[-1]) + len(group) + 1 > MOST_FILES
        if len(parts[-1]) > len(shared) and full:
            parts.append([*shared])
        parts[-1] += group
    if len(parts) == 1:
        return (dataset,)
    numbers = range(1, len(parts) + 1)
    return tuple(
        replace(
            dataset,
            key=dataset.key if number == 1 else f"{dataset.key}{PART}{number}",
            about=f"{dataset.about} part {number}",
            files=tuple(sorted(files, key=lambda file: file.name)),
        )
        for number, files in zip(numbers, parts, strict=True)
    )


def renamed(dataset: Dataset, taken: Iterable[str]) -> Dataset:
    """`dataset` under the first of its names that is not in `taken`."""
    avoided = frozenset(taken)
    while dataset.slug in avoided:
        dataset = replace(dataset, number=dataset.number + 1)
    return dataset
