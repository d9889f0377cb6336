"""kkb rehearse: the rendered notebook, run as Kaggle would run it, on a hidden set that we made.

Expects: a rendered kernel, its dataset folders, the competition's files.
Produces: `.kkb/runs/<name>/rehearsal/` with both runs and rehearsal.json: Kaggle's label, the score on rows whose labels we know,
what was enforced, and how long a test set of another size would take.
Never: lets a model answer a row that it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder import scoring
from builder.config import Config
from builder.errors import UserError
from builder.machines import Machine
from builder.progress import Report, silent
from builder.rehearse import engine, hidden
from builder.rehearse.session import COMPLETE, Outcome, Session
from builder.workspace import read_json, write_json

SCORED = "Scored"
RECORD, KEY = "rehearsal.json", "key.json"
ROWS = 400
# Ratio of real to forecast run time that 99 of 100 runs stayed under: split-conformal on recorded runs.
SPREAD = 1.57


@dataclass(frozen=True)
class Finding:
    """Something a person should know. `severity` is `must-fix`, `should-fix` or `note`."""

    severity: str
    code: str
    message: str
    remedy: str
    file: str


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found. `seconds`, `peak_mb` and `disk_mb` are of the run on the hidden set."""

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

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Stage:
    """What is rehearsed: the notebook, its datasets by mount path, the machine, and how tables are read."""

    config: Config
    notebook: Path
    datasets: Mapping[str, Path]
    machine: Machine
    folder: Path


def mount(machine: Machine, kind: str, owner: str, slug: str) -> str:
    """Path below /kaggle/input of a source: `datasets/me/effb0-1a2b`, or `effb0-1a2b` in the classic layout."""
    if machine.layout == "classic":
        return slug
    return f"{kind}/{slug}" if kind == "competitions" else f"{kind}/{owner}/{slug}"


def rehearse(
    stage: Stage, root: Path, fold_of: dict[str, int], *, rows: int = ROWS, limit_s: float | None = None, report: Report = silent
) -> Rehearsal:
    """Play the commit run on the visible files, then the rerun on `rows` hidden rows, and score it.

    Args:
        stage: What is rehearsed.
        root: The competition's files.
        fold_of: id -> fold, for rows that some unit of the plan did not see.
        rows: Size of the hidden set, at most the number of such rows.
        limit_s: Wall clock of each run; None for the competition's.
    """
    limit = limit_s or stage.config.competition.limit
    report(0, 2, "rehearsal: commit run on the visible files")
    commit = _run(stage, "commit", root, limit)
    if commit.status != COMPLETE:
        return _write(stage, _verdict(stage, commit.label or "Notebook Threw Exception", None, commit, 0, {}))
    report(1, 2, "rehearsal: rerun on hidden rows")
    made = hidden.from_training(stage.config, root, fold_of, rows, stage.folder / "hidden")
    rerun = _run(stage, "rerun", made.competition, limit, rerun=True, extra={f"/kaggle/{hidden.FOLDS}": made.folds})
    report(2, 2, "rehearsal: scored")
    label, score, why = rerun.label or SCORED, None, ""
    if rerun.status == COMPLETE:
        label, score, why = _score(stage, made)
    forecast = _forecast(commit, rerun, made.rows)
    return _write(stage, _verdict(stage, label, score, rerun, made.rows, forecast, why))


def _run(
    stage: Stage, name: str, competition: Path, limit_s: float, *, rerun: bool = False, extra: Mapping[str, Path] | None = None
) -> Outcome:
    slug = stage.config.competition.slug
    session = Session(
        notebook=stage.notebook,
        folder=stage.folder / name,
        inputs={**stage.datasets, mount(stage.machine, "competitions", "", slug): competition},
        limit_s=limit_s,
        cores=stage.machine.cores,
        memory=stage.machine.memory,
        working=stage.machine.working,
        rerun=rerun,
        environment={"KKB_ALLOW_CPU": "1"} if stage.machine.accelerator == "cuda" else {},
        extra=extra or {},
    )
    return engine.run(session)


def _score(stage: Stage, made: hidden.Hidden) -> tuple[str, float | None, str]:
    """Kaggle's label, the score, and the reason when there is none."""
    submission = stage.folder / "rerun" / "working" / stage.config.competition.file
    sample = made.competition / stage.config.data.sample_submission
    try:
        scores = scoring.score(submission, made.solution, sample, stage.config.competition.metric)
    except scoring.Rejected as rejected:
        return rejected.label, None, rejected.reason
    return SCORED, float(scores.public), ""


def _forecast(commit: Outcome, rerun: Outcome, rows: int) -> dict[str, float]:
    """Seconds for ten times the rehearsed rows: what the two runs differ by is what rows cost, the rest is paid once."""
    per_row = max(0.0, rerun.seconds - commit.seconds) / max(1, rows)
    wanted = 10 * rows
    seconds = rerun.seconds + per_row * (wanted - rows)
    return {"rows": wanted, "low_s": round(seconds / SPREAD, 2), "high_s": round(seconds * SPREAD, 2)}


def _verdict(
    stage: Stage, label: str, score: float | None, outcome: Outcome, rows: int, forecast: dict[str, float], why: str = ""
) -> Rehearsal:
    findings = []
    if label != SCORED:
        remedy = f"read the log: {stage.folder}"
        findings.append(Finding("must-fix", label.lower().replace(" ", "-"), why or outcome.failure, remedy, str(stage.notebook)))
    findings += [
        Finding("note", "not-enforced", f"not enforced here: {what}", "rehearse on Linux with bubblewrap installed", "")
        for what in outcome.not_enforced
    ]
    if forecast and forecast["high_s"] > stage.config.competition.limit:
        message = (
            f"{forecast['rows']} rows may take {forecast['high_s']:.0f} s, the limit is {stage.config.competition.limit:.0f} s"
        )
        findings.append(
            Finding("note", "forecast", message, "the plan degrades by itself; fewer units leave more room", str(stage.notebook))
        )
    return Rehearsal(
        label=label,
        score=score,
        rows=rows,
        seconds=outcome.seconds,
        peak_mb=outcome.peak_mb,
        disk_mb=outcome.disk_mb,
        findings=tuple(findings),
        enforced=outcome.enforced,
        not_enforced=outcome.not_enforced,
        forecast=forecast,
        folder=str(stage.folder),
    )


def _write(stage: Stage, rehearsal: Rehearsal) -> Rehearsal:
    write_json(stage.folder / RECORD, rehearsal.record())
    return rehearsal


def known(folder: Path, key: str) -> Rehearsal | None:
    """The rehearsal in `folder` when it was made of `key` and can be read."""
    try:
        return load(folder) if json.loads((folder / KEY).read_text("utf-8")) == key else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None


def load(folder: Path) -> Rehearsal:
    """The rehearsal that was written to `folder`."""
    raw = read_json(folder / RECORD, remedy="kkb rehearse NAME")
    findings = tuple(Finding(**finding) for finding in raw.pop("findings"))
    raw.update({key: tuple(raw[key]) for key in ("enforced", "not_enforced")})
    return Rehearsal(findings=findings, **raw)


def log_tail(folder: Path, lines: int = 30) -> str:
    """The last lines of the log of the last run below `folder`, for a person."""
    logs = (folder / name / "log.json" for name in ("rerun", "commit"))
    path = next((log for log in logs if log.is_file()), None)
    if path is None:
        return ""
    text = "".join(entry["data"] for entry in json.loads(path.read_text("utf-8")))
    return "\n".join(text.splitlines()[-lines:])
