"""What a session is given and what comes out of it: the two records of the rehearsal engine.

The engine (`engine.run`) turns a Session into an Outcome. The stand-in uses it for pushed kernels and for reruns on the
hidden test; `kkb rehearse` uses it at home.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROCESSES = 500
COMPLETE, ERROR, TIMEOUT, CANCELLED = "complete", "error", "timeout", "cancelled"


@dataclass(frozen=True)
class Session:
    """One run of one notebook.

    Attributes:
        notebook: The .ipynb file to execute, or a script kernel's .py; it is never changed.
        folder: Where the run keeps its things; made by the engine. `folder/working` becomes the output (not the notebook itself),
            `folder/log.json` the log in Kaggle's form, `folder/executed.ipynb` the executed notebook (a script has none),
            `folder/timeline.json` what was used when (limits.py).
        inputs: Path below /kaggle/input -> folder at home, mounted read-only (`datasets/me/effb0-1a2b` -> ...).
        limit_s: Wall clock for the whole run, in seconds.
        cores: CPU cores that the run may use (at most those that there are).
        memory: Bytes for the whole process tree.
        working: Bytes that /kaggle/working may hold.
        rerun: True for the scored rerun: sets KAGGLE_IS_COMPETITION_RERUN.
        environment: Further variables for the notebook.
        extra: Path inside the sandbox -> file or folder at home, read-only: what only a rehearsal has.
        scratch: Bytes that the notebook may write outside /kaggle/working; 0: as much as this disk has.
        processes: Processes at a time. Kaggle has no such limit, but what passes this one takes the machine down.
        python: Interpreter to run with, of a virtual environment; None: this one.
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
    scratch: int = 0
    processes: int = PROCESSES
    python: Path | None = None


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
        place: The cell that ran when it failed, for a person (`code cell 2 of 3: train(...)`); empty when complete.
        quiet_s: Seconds without output before the end.
        exceeded: What was exceeded: `time`, `memory`, `processes`, `working`, `scratch`; empty when nothing was.
        left: Processes that the notebook left behind and that were ended, as command lines, at most ten.
        log_cut: Bytes of the log that were left out because it was longer than Kaggle's.
        executed_mb: Size of the executed notebook as the notebook made it, before anything was left out, in MB.
    """

    status: str
    label: str | None
    failure: str
    seconds: float
    peak_mb: float
    disk_mb: float
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]
    place: str = ""
    quiet_s: float = 0.0
    exceeded: str = ""
    left: tuple[str, ...] = ()
    log_cut: int = 0
    executed_mb: float = 0.0

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
