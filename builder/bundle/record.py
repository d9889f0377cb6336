"""manifest.json: what a dataset holds. The digest of the content is in its slug, so a dataset never changes.

`.kkb/datasets/<slug>/` is flat and is what `kaggle datasets create -p` takes: the files, manifest.json, dataset-metadata.json.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.workspace import digest_of, short

MANIFEST, METADATA = "manifest.json", "dataset-metadata.json"
SLUG_LENGTH = (6, 50)  # the official client's limits, for slug and title alike
TITLE_DIGITS = 6
MOST_FILES = 50  # top-level files that Kaggle takes
UNPACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".bz2", ".pt", ".pth")  # Kaggle explodes these, torch archives included


@dataclass(frozen=True)
class Content:
    """One file of a dataset: its name there, and its path at home."""

    name: str
    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """One dataset of a kernel.

    Attributes:
        key: What the plan's units call it: a member (`v001:effnet`), or `runtime`.
        stem: First part of the slug.
        about: What it holds, in words: `effnet v001 folds 0-2 fp32`.
        files: Sorted by name.
    """

    key: str
    stem: str
    about: str
    files: tuple[Content, ...]

    @property
    def digest(self) -> str:
        """Names the content, wherever and whenever it was made."""
        return digest_of([[file.name, file.bytes, file.sha256] for file in self.files])

    @property
    def slug(self) -> str:
        return f"{self.stem}-{short(self.digest)}"

    @property
    def title(self) -> str:
        """At most 50 characters. Kaggle wants titles, too, to be different, so they end like the slug does."""
        digits = self.digest[:TITLE_DIGITS]
        return f"{self.about[: SLUG_LENGTH[1] - TITLE_DIGITS - 1]} {digits}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def manifest(self, tool: str) -> dict[str, Any]:
        """The content of manifest.json; `tool` is the version of kkb."""
        files = [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in self.files]
        return {"digest": self.digest, "files": files, "key": self.key, "tool": tool}

    def carried(self, owner: str) -> dict[str, Any]:
        """As the notebook's dataset list names it (`runtime.contract.Carried`)."""
        return {"key": self.key, "owner": owner, "slug": self.slug, "files": {file.name: file.sha256 for file in self.files}}


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
