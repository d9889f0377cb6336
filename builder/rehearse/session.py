"""What a session is given and what comes out of it: the two records of the rehearsal engine.

The engine (`engine.run`) turns a Session into an Outcome. The stand-in uses it for pushed kernels and for reruns on the
hidden test; `kkb rehearse` uses it at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COMPLETE, ERROR, TIMEOUT, CANCELLED = "complete", "error", "timeout", "cancelled"


@dataclass(frozen=True)
class Session:
    """One run of one notebook.

    Attributes:
        notebook: The .ipynb file to execute; it is copied, never changed.
        folder: Where the run keeps its things; made by the engine. `folder/working` becomes the output (not the notebook itself),
            `folder/log.json` the log in Kaggle's form, `folder/executed.ipynb` the executed notebook.
        inputs: Path below /kaggle/input -> folder at home, mounted read-only (`datasets/me/effb0-1a2b` -> ...).
        limit_s: Wall clock for the whole run, in seconds.
        cores: CPU cores that the run may use (at most those that there are).
        memory: Bytes for the whole process tree.
        working: Bytes that /kaggle/working may hold.
        rerun: True for the scored rerun: sets KAGGLE_IS_COMPETITION_RERUN.
        environment: Further variables for the notebook.
        extra: Path inside the sandbox -> file or folder at home, read-only: what only a rehearsal has.
    """

    notebook: Path
    folder: Path
    inputs: Mapping[str, Path]
    limit_s: float
    cores: int
    memory: int
    working: int
    rerun: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a session ended.

    Attributes:
        status: `complete`, `error`, `timeout` or `cancelled`.
        label: None when complete, else Kaggle's label for this failure (`Notebook Timeout`, `Notebook Threw Exception`,
            `Notebook Exceeded Allowed Compute`).
        failure: One sentence for a person; empty when complete.
        seconds: Wall clock of the run.
        peak_mb: Largest memory of the process tree that was seen, in MB.
        disk_mb: Size of /kaggle/working at the end, in MB.
        enforced: What the sandbox enforced (`no network`, `read-only inputs`, ...).
        not_enforced: What it could not enforce here, with the reason.
    """

    status: str
    label: str | None
    failure: str
    seconds: float
    peak_mb: float
    disk_mb: float
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
