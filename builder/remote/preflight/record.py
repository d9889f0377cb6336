"""What is looked at, what is found, and the list of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from builder.machines import Machine
from builder.remote.account import Quota
from builder.remote.competitions import Competition, Limits
from builder.remote.runs import Latest
from builder.runtime.contract import Plan

MUST, SHOULD, NOTE = "must-fix", "should-fix", "note"
SEVERITIES = (MUST, SHOULD, NOTE)


@dataclass(frozen=True)
class Finding:
    """One reason to worry.

    Attributes:
        severity: `must-fix`, `should-fix` or `note`.
        code: Its name, stable.
        message: What was found, with the evidence.
        remedy: What to do.
        file: Where the fault lies; None when it is not in a file.
        fact: What of Kaggle this rests on, and where that is written.
    """

    severity: str
    code: str
    message: str
    remedy: str
    file: str | None
    fact: str

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """What a check reports; the check's own name, severity and fact are added to it."""

    message: str
    remedy: str
    file: Path | str | None = None


@dataclass(frozen=True)
class LocalBundle:
    """A dataset folder at home, read without judging it.

    Attributes:
        folder: Where it is.
        name: `owner/slug`, of a model `owner/slug/framework/variation`, as its metadata say; empty when they don't.
        title: Its title.
        key: What the plan's units call it.
        files: Name -> bytes of everything in it, metadata and manifest left out; -1 for a folder.
        manifest: Name -> bytes as the manifest says.
        problem: Why it is not a dataset folder; empty when it is one.
    """

    folder: Path
    name: str = ""
    title: str = ""
    key: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    manifest: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Online:
    """What Kaggle says. None means that it did not say.

    Attributes:
        username: Owner of the credentials.
        credentials: Why they are refused; empty when they are not.
        datasets: `owner/slug` -> status, None when there is none.
        different: `owner/slug` -> how its files differ from those at home; empty when they don't.
        competition: What it tells about the competition.
        refused: Why it does not let us into the competition; empty when it does.
        limits: Submissions.
        quota: Accelerator hours.
        latest: The newest version of this kernel.
        latest_state: How that version is doing.
        kernel_type: Type of the kernel that is there.
        name_taken: Whether one of our datasets has the kernel's name.
        stored: Bytes of all our datasets.
    """

    username: str | None = None
    credentials: str = ""
    datasets: Mapping[str, str | None] = field(default_factory=dict)
    different: Mapping[str, str] = field(default_factory=dict)
    competition: Competition | None = None
    refused: str = ""
    limits: Limits | None = None
    quota: Quota | None = None
    latest: Latest | None = None
    latest_state: str | None = None
    kernel_type: str | None = None
    name_taken: bool = False
    stored: int | None = None


@dataclass(frozen=True)
class Subject:
    """A kernel about to be pushed.

    Attributes:
        folder: Its folder.
        metadata: kernel-metadata.json; None when it cannot be read.
        notebook: The notebook; None when it cannot be read.
        plan: plan.json; None when there is none, or it cannot be read.
        plan_problem: Why it cannot be read.
        competition: The competition's slug, as kernel.toml says.
        file: The submission file, as kernel.toml says.
        machine: The machine, as kernel.toml says.
        limit_s: The competition's time limit, as kernel.toml says.
        bundles: Its dataset folders.
        rows: Samples in the hidden test, when somebody knows.
        licences: Licence of each pretrained backbone, by name.
        secrets: Texts that must not be in the notebook.
        online: What Kaggle says; None when nobody asked.
        now: The time, in UTC, without a zone, as Kaggle writes it.
    """

    folder: Path
    metadata: Mapping[str, Any] | None
    notebook: Mapping[str, Any] | None
    plan: Plan | None
    plan_problem: str
    competition: str
    file: str
    machine: Machine
    limit_s: float
    bundles: tuple[LocalBundle, ...]
    rows: int | None
    licences: Mapping[str, str]
    secrets: tuple[str, ...]
    online: Online | None
    now: datetime

    @property
    def meta(self) -> Mapping[str, Any]:
        """kernel-metadata.json, empty when it cannot be read: that is one finding, and should not make twenty."""
        return self.metadata or {}

    @property
    def cells(self) -> list[str]:
        """The source of each code cell."""
        cells = (self.notebook or {}).get("cells", [])
        return ["".join(cell.get("source", "")) for cell in cells if cell.get("cell_type") == "code"]

    @property
    def gpu(self) -> bool:
        """Whether the metadata ask for a GPU."""
        shape = str(self.meta.get("machine_shape") or "")
        return self.meta.get("enable_gpu") in (True, "true") or shape.lower().startswith("nvidia")

    def sources(self, kind: str) -> list[str]:
        """`dataset_sources` and its like."""
        return [str(source) for source in self.meta.get(f"{kind}_sources") or []]


Check = Callable[[Subject], Iterable[Found]]


@dataclass(frozen=True)
class Registered:
    """A check with its name, severity and the fact that it rests on."""

    code: str
    severity: str
    fact: str
    check: Check

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """What it finds. Without another file it is about kernel-metadata.json."""
        for found in self.check(subject):
            file = str(found.file) if found.file is not None else None
            yield Finding(self.severity, self.code, found.message, found.remedy, file, self.fact)


CHECKS: dict[str, Registered] = {}


def check(code: str, severity: str, fact: str) -> Callable[[Check], Check]:
    """Put a function on the list of checks."""

    def register(function: Check) -> Check:
        CHECKS[code] = Registered(code, severity, fact, function)
        return function

    return register


def run(subject: Subject) -> list[Finding]:
    """Everything that the checks find, the worst first, otherwise in the order of the list."""
    found = [finding for registered in CHECKS.values() for finding in registered.findings(subject)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
