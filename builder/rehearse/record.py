"""rehearsal.json: how a kernel's rehearsal ended, in Kaggle's own words, with the evidence.

Expects: what the runs left behind (logs, executed notebooks, run.json).
Produces: frozen records and their JSON.
Never: runs anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import UserError
from builder.rehearse.findings import MUST, NOTE, SCORED, SHOULD, Evidence, Finding, cause
from builder.rehearse.session import Outcome
from builder.workspace import read_json, write_json

FILE, KEY = "rehearsal.json", "key.json"
COMMIT, RERUN = "commit", "rerun"


@dataclass(frozen=True)
class Run:
    """One run of a rehearsal.

    Attributes:
        name, words: Which hidden set, and what it is; `name` is its folder, too.
        label: How it would end on Kaggle: SCORED, or one of Kaggle's labels.
        ok: Whether that is a good end: a set may allow a refusal.
        why: For a person; empty when all is well.
        rows, changed, fallback: Rows in all, rows that were made odd, rows without an answer of the models.
        rows_per_prefix: Length of a prefix -> rows that it answers.
        seconds, peak_mb, disk_mb: Of the run.
        stages: Seconds of each stage of the notebook.
    """

    name: str
    words: str
    label: str
    ok: bool
    why: str
    rows: int
    changed: int
    fallback: int
    rows_per_prefix: Mapping[str, int]
    seconds: float
    peak_mb: float
    disk_mb: float
    stages: Mapping[str, float]

    @property
    def set(self) -> str:
        """Of which odd set, for a sentence; empty for the two main runs."""
        return "" if self.name in {COMMIT, RERUN} else f"hidden set '{Path(self.name).name}' ({self.words}): "


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found. Sizes and seconds are of the run on the hidden set, or of the commit run where that failed.

    Attributes:
        label: SCORED when every run ended well, else the label of the first that did not.
        score, cv: On the hidden rows, and what the plan expects; None when unknown. `difference` is score less cv.
        forecast: `rows`, `low_s`, `high_s`; empty when nothing can be foretold. `forecast_text` says it, `forecast_basis` why.
        evidence: Of a failure: Evidence, and the `source` of the cell that raised; empty when all is well.
        runs: Each run, the commit run first.
        page: The timeline to look at.
    """

    label: str
    score: float | None
    rows: int
    seconds: float
    peak_mb: float
    disk_mb: float
    findings: tuple[Finding, ...]
    enforced: tuple[str, ...]
    not_enforced: tuple[str, ...]
    forecast: dict[str, float]
    folder: str
    cv: float | None = None
    difference: float | None = None
    rows_per_prefix: Mapping[str, int] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    forecast_text: str = ""
    forecast_basis: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[Run, ...] = ()
    page: str = ""

    @property
    def ok(self) -> bool:
        """Whether every run ended well. What a forecast says is another matter."""
        return self.label == SCORED and all(run.ok for run in self.runs)

    def record(self) -> dict[str, Any]:
        return asdict(self)


def write(folder: Path, rehearsal: Rehearsal) -> Rehearsal:
    write_json(folder / FILE, rehearsal.record())
    return rehearsal


def load(folder: Path) -> Rehearsal:
    """The rehearsal that was written to `folder`."""
    raw = read_json(folder / FILE, remedy="kkb rehearse NAME")
    findings = tuple(Finding(**finding) for finding in raw.pop("findings"))
    runs = tuple(Run(**run) for run in raw.pop("runs"))
    raw.update({key: tuple(raw[key]) for key in ("enforced", "not_enforced")})
    return Rehearsal(findings=findings, runs=runs, **raw)


def known(folder: Path, key: str) -> Rehearsal | None:
    """The rehearsal in `folder` when it was made of `key` and can be read."""
    try:
        return load(folder) if json.loads((folder / KEY).read_text("utf-8")) == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None


def own_record(folder: Path) -> dict[str, Any]:
    """run.json that the notebook in session folder `folder` left; empty when there is none, as of a broken one."""
    try:
        found = json.loads((folder / "working" / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("stages"), dict) else {}


def failing_source(folder: Path) -> str:
    """Source of the cell that raised; empty when none did."""
    try:
        cells = json.loads((folder / "executed.ipynb").read_text("utf-8"))["cells"]
        raised = (cell for cell in cells if any(out["output_type"] == "error" for out in cell.get("outputs", ())))
        return next(("".join(cell["source"]) for cell in raised), "")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def log_tail(folder: Path, lines: int = 30) -> str:
    """The last lines of the log of the run below `folder` that failed, else of the rerun, else of the commit run."""
    try:
        failed = [str(json.loads((folder / FILE).read_text("utf-8"))["evidence"]["run"])]
    except (OSError, ValueError, KeyError, TypeError):
        failed = []
    logs = (folder / name / "log.json" for name in (*failed, RERUN, COMMIT))
    path = next((log for log in logs if log.is_file()), None)
    if path is None:
        return ""
    text = "".join(entry["data"] for entry in json.loads(path.read_text("utf-8")))
    return "\n".join(text.splitlines()[-lines:])


def failure(run: Run, outcome: Outcome, lines: tuple[str, ...], mounted: Mapping[str, str], notebook: Path) -> Finding:
    """The finding of a run that ended badly; `mounted`: slug -> where its folder is."""
    if run.label == SCORED:
        return Finding(MUST, "unanswered-rows", f"{run.set}{run.why}", "run.json in the run's output says why", str(notebook))
    text = "\n".join((run.why, *lines)) if outcome.label else run.why
    code, remedy = cause(run.label, text, outcome.exceeded, mounted)
    place = f" ({outcome.place})" if outcome.place and outcome.place not in run.why else ""
    return Finding(MUST, code, f"{run.set}{run.why}{place}", remedy, str(notebook))


def unanswered(run: Run, notebook: Path) -> Finding:
    """The finding of a run that ended well although some rows have the fallback."""
    among = f" ({run.changed} rows were made odd)" if run.changed else ""
    text = f"{run.set}{run.fallback} of {run.rows} rows have the fallback, no answer of the models{among}"
    remedy = "right for files that cannot be read" if run.changed else "run.json in the run's output says why"
    return Finding(NOTE if run.changed else SHOULD, "fallback", text, remedy, str(notebook))


def refused(run: Run, notebook: Path) -> Finding:
    """The finding of a run whose exception is a good end: it names the column that the hidden table lacks."""
    remedy = "nothing, if the hidden table is sure to have it: without it there is no score"
    return Finding(NOTE, "refused", f"{run.set}{run.why}", remedy, str(notebook))


def evidence(run: Run, folder: Path, outcome: Outcome, lines: tuple[str, ...]) -> dict[str, Any]:
    """What shows why a run failed."""
    told = Evidence(run.name, outcome.place, outcome.exceeded, outcome.quiet_s, lines)
    return {**told.record(), "source": failing_source(folder)}
