"""From what a rehearsal on Kaggle left behind to its verdict, in the words of a rehearsal at home.

Expects: the output of the run as it was fetched, its log beside it; the hidden set's truth, which stayed here.
Produces: a Rehearsal with Kaggle's label, the score, the forecast from that machine's own seconds; its page.
Never: talks to anybody; takes the stand-in for Kaggle.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import scoring
from builder.afar import scenery
from builder.rehearse import findings, outlook, page, record, timeline
from builder.rehearse import forecast as counting
from builder.rehearse.engine import LABEL_COMPUTE, LABEL_EXCEPTION, LABEL_TIMEOUT
from builder.rehearse.findings import MUST, NOTE, SCORED, SHOULD, Finding
from builder.rehearse.hidden import Hidden
from builder.rehearse.outlook import TIMES, Outlook, bound
from builder.rehearse.record import COMMIT, RERUN, Rehearsal, Run
from builder.rehearse.session import COMPLETE, ERROR, Outcome
from builder.remote import diagnosis
from builder.render.stage import HOOKS
from builder.workspace import write_text

if TYPE_CHECKING:
    from builder.config import Config
    from builder.machines import Machine
    from builder.remote.runs import Status
    from builder.runtime.contract import Plan

OUTPUT, MOUNTED = "output", "/kaggle/input"
ENFORCED = "Kaggle's own machine and image: cores, memory, disk, no internet"
WORST_FIRST = (MUST, SHOULD, NOTE)
# How a run is told to have ended -> Kaggle's label, and what was exceeded.
ENDS = (
    (re.compile(r"did not end within|time limit|timed? ?out|execution duration", re.IGNORECASE), LABEL_TIMEOUT, "time"),
    (re.compile(r"MB of memory|more memory|out of memory", re.IGNORECASE), LABEL_COMPUTE, "memory"),
    (re.compile(r"MB of /kaggle/working|out of disk|disk (usage|space|is full)", re.IGNORECASE), LABEL_COMPUTE, "working"),
)
PLACE = re.compile(r"\((?:in )?(code cell \d+ of \d+: .*)\)$")


@dataclass(frozen=True)
class Stage:
    """What was rehearsed, and where its things are.

    Attributes:
        name: The kernel's.
        kernel: Its folder, where a metric of its own lies.
        folder: Holds the fetched output; the verdict goes there, too.
        real: Whether it ran on Kaggle's machine, not on what stands in for it.
    """

    name: str
    config: Config
    plan: Plan
    machine: Machine
    kernel: Path
    folder: Path
    hidden: Hidden
    real: bool

    @property
    def notebook(self) -> str:
        """For findings."""
        return str(self.kernel / "notebook.ipynb")


def conclude(stage: Stage, end: Status, log: list[dict[str, Any]]) -> Rehearsal:
    """The verdict on a run that is over, written to the stage's folder.

    Args:
        stage: What was rehearsed.
        end: How the run ended.
        log: Its log.
    """
    output = stage.folder / OUTPUT
    write_text(output / RERUN / "log.json", json.dumps(log))
    told = _told(output / scenery.FILE)
    outcome = _outcome(stage, end, log, told)
    rerun, score = _rerun(stage, outcome)
    runs = [*_commit(stage, end, told), rerun]
    failed = next((run for run in runs if not run.ok), None)
    cast = forecast(stage, outcome) if rerun.ok else outlook.NONE
    cv = stage.plan.expected.get("score")
    lines = findings.last_lines(output / RERUN)
    rehearsal = Rehearsal(
        label=failed.label if failed else SCORED,
        score=score,
        rows=rerun.rows,
        seconds=rerun.seconds,
        peak_mb=rerun.peak_mb,
        disk_mb=rerun.disk_mb,
        findings=tuple(sorted(_findings(stage, runs, outcome, cast, lines), key=lambda one: WORST_FIRST.index(one.severity))),
        enforced=outcome.enforced,
        not_enforced=outcome.not_enforced,
        forecast=cast.record(),
        folder=str(stage.folder),
        cv=cv,
        difference=None if score is None or cv is None else round(score - cv, 6),
        rows_per_prefix=rerun.rows_per_prefix,
        stages=rerun.stages,
        forecast_text=cast.text,
        forecast_basis=cast.basis,
        evidence=record.evidence(failed, output / failed.name, outcome, lines) if failed else {},
        runs=tuple(runs),
        page=str(stage.folder / page.FILE),
    )
    timelines = [timeline.read(output / run.name, record.own_record(output / run.name), run.seconds, 0.0) for run in runs]
    limit, memory = stage.config.competition.limit, stage.machine.memory / 1e6
    write_text(stage.folder / page.FILE, page.html(stage.name, rehearsal, timelines, limit, memory))
    return record.write(stage.folder, rehearsal)


def _told(path: Path) -> dict[str, Any]:
    """What the cells around the notebook wrote; empty when they came to nothing, or something else wrote it."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict) or not isinstance(found.setdefault("commit", {}), dict):
        return {}
    numbers = [found.get(key, 0.0) for key in ("seconds", "built_s", "bytes")] + [found["commit"].get("seconds", 0.0)]
    return found if all(isinstance(number, float | int) and math.isfinite(number) for number in numbers) else {}


def _outcome(stage: Stage, end: Status, log: list[dict[str, Any]], told: Mapping[str, Any]) -> Outcome:
    """The rerun as the engine would have told it."""
    # After its last cell only the probe is left to fail, and that is told by itself.
    complete = told.get("status") == "complete" and (end.ok or _probing(stage, told))
    label, failure, exceeded = (None, "", "") if complete else _failure(end, log)
    limit, seconds = stage.config.competition.limit, float(told.get("seconds") or _last(log) - told.get("built_s", 0.0))
    if complete and seconds > limit:
        label, exceeded, failure = LABEL_TIMEOUT, "time", f"it took {seconds:.0f} s, the competition allows {limit:.0f} s"
    place = PLACE.search(failure)
    own = record.own_record(stage.folder / OUTPUT / RERUN)
    return Outcome(
        status=ERROR if label else COMPLETE,
        label=label,
        failure=failure,
        seconds=round(max(0.0, seconds), 3),
        peak_mb=_peak(own),
        disk_mb=round(float(told.get("bytes", 0)) / 1e6, 3),
        enforced=(ENFORCED,) if stage.real else ("the limits of a run on the stand-in",),
        not_enforced=() if stage.real else (f"the machine {stage.machine.name}: this was the stand-in, which is this computer",),
        place=place[1] if place else "",
        exceeded=exceeded,
    )


def _probing(stage: Stage, told: Mapping[str, Any]) -> bool:
    """Whether the run was ended while the probe ran."""
    return bool(stage.plan.probes) and not told["commit"]


def _failure(end: Status, log: list[dict[str, Any]]) -> tuple[str, str, str]:
    """(label, what happened, what was exceeded) of a run that did not reach its last cell."""
    found = diagnosis.of_log(log)
    why = end.failure or found.error or f"the run ended in {end.state}: {found.meaning}"
    # An exception that speaks of memory or time is an exception; that a session was ended is told by Kaggle alone.
    raised = bool(found.error) and found.error in end.failure
    told = end.failure if found.error else f"{end.failure}; {found.meaning}"
    for pattern, label, exceeded in ENDS:
        if not raised and pattern.search(told):
            return label, why, exceeded
    return LABEL_EXCEPTION, why, ""


def _last(log: list[dict[str, Any]]) -> float:
    try:
        return float(log[-1]["time"]) if log else 0.0
    except (KeyError, TypeError, ValueError):
        return 0.0


def _peak(own: Mapping[str, Any]) -> float:
    """MB: the notebook's own process, and each worker as if all had their largest size at once."""
    peak, workers = own.get("peak_mb") or {}, int((own.get("accelerator") or {}).get("workers") or 0)
    return round(float(peak.get("supervisor") or 0.0) + workers * float(peak.get("worker") or 0.0), 1)


def _rerun(stage: Stage, outcome: Outcome) -> tuple[Run, float | None]:
    """The run on hidden rows, and its score."""
    folder = stage.folder / OUTPUT / RERUN
    own = record.own_record(folder)
    label, why, score = outcome.label or SCORED, outcome.failure, None
    if not outcome.label:
        label, why, score = _scored(stage, folder / "working")
    prefixes = {str(length): int(count) for length, count in own.get("samples_per_prefix", {}).items()}
    run = Run(
        name=RERUN,
        words=f"{stage.hidden.rows:,} hidden rows",
        label=label,
        ok=label == SCORED,
        why=why,
        rows=stage.hidden.rows,
        changed=0,
        fallback=prefixes.get("0", 0),
        rows_per_prefix=prefixes,
        seconds=outcome.seconds,
        peak_mb=outcome.peak_mb,
        disk_mb=outcome.disk_mb,
        stages={name: float(seconds) for name, seconds in own.get("stages", {}).items()},
    )
    return run, score


def _scored(stage: Stage, working: Path) -> tuple[str, str, float | None]:
    """Kaggle's label for the submission that was written there, why, and the score."""
    competition, made = stage.config.competition, stage.hidden
    answers = working / f"answers{Path(competition.file).suffix}"
    if made.solution is None or not answers.is_file():
        return scoring.NOT_FOUND, f"the rerun left no {competition.file}", None
    sample = made.competition / stage.config.data.sample_submission
    try:
        heads = [head.name for head in stage.plan.answer.heads if head.name]
        public = scoring.score(answers, made.solution, sample, competition.metric, stage.kernel, heads=heads).public
    except scoring.Rejected as rejected:
        return rejected.label, rejected.reason, None
    return SCORED, "", float(public) if public else None


def _commit(stage: Stage, end: Status, told: Mapping[str, Any]) -> list[Run]:
    """The probe after the rerun, when it was begun: whether that machine answers as home does, and its prices."""
    if not stage.plan.probes or told.get("status") != "complete":
        return []
    own, ended = record.own_record(stage.folder / OUTPUT / COMMIT), told["commit"]
    error = str(ended.get("error", "")) if ended else end.failure or f"the run ended in {end.state} meanwhile"
    run = Run(
        name=COMMIT,
        words="the probe: rows whose answers are known from home",
        label=LABEL_EXCEPTION if error else SCORED,
        ok=not error,
        why=error,
        rows=sum({probe["fold"]: int(probe["rows"]) for probe in own.get("probes", ())}.values()),
        changed=0,
        fallback=0,
        rows_per_prefix={},
        seconds=float(ended.get("seconds", 0.0)),
        peak_mb=_peak(own),
        disk_mb=0.0,
        stages={name: float(seconds) for name, seconds in own.get("stages", {}).items()},
    )
    return [run]


def forecast(stage: Stage, outcome: Outcome) -> Outlook:
    """By the seconds of that very machine: for the competition's known size, else ten times the rehearsed rows."""
    limit, rows = stage.config.competition.limit, stage.config.competition.test_rows or TIMES * stage.hidden.rows
    own = record.own_record(stage.folder / OUTPUT / RERUN)
    if not own or not own.get("rows"):
        return Outlook(None, limit, "")
    seen = counting.seen(own, outcome.seconds)
    where = f"{stage.machine.name}{_processor(stage)}" if stage.real else "the stand-in, which tells nothing of Kaggle's machine"
    estimate = counting.here(seen, seen, rows).below(bound(stage.plan, limit, seen.once))
    return Outlook(estimate, limit, f"a run of {seen.rows:,} rows on {where}")


def _processor(stage: Stage) -> str:
    """What it ran on, when the probe told: a saved version may get another processor than a submission does."""
    found = record.own_record(stage.folder / OUTPUT / COMMIT).get("machine") or {}
    return f" ({found['processor']})" if found.get("processor") else ""


def _findings(stage: Stage, runs: list[Run], outcome: Outcome, cast: Outlook, lines: tuple[str, ...]) -> Iterator[Finding]:
    for run in runs:
        if not run.ok and run.name == COMMIT:
            remedy = f"compare its packages with those at home: kkb machine show {stage.machine.name}"
            yield Finding(MUST, "probe", f"the probe failed: {run.why}", remedy, stage.notebook)
        elif not run.ok:
            yield record.failure(run, outcome, lines, {}, Path(stage.notebook))
        elif run.fallback:
            yield record.unanswered(run, Path(stage.notebook))
    hooks = stage.kernel / HOOKS
    if hooks.is_file() and MOUNTED in hooks.read_text("utf-8"):
        text = f"{HOOKS} names {MOUNTED} itself, where the hidden set of this rehearsal is not"
        yield Finding(SHOULD, "fixed-path", text, "use the folders that rows and load are given", str(hooks))
    yield from cast.findings(stage.name)
    for what in outcome.not_enforced:
        yield Finding(NOTE, "not-enforced", f"not enforced: {what}", f"kkb rehearse {stage.name} --on kaggle", "")
