"""One run of a rehearsal: the notebook on one set of files, its label, its score, and what it left behind.

Expects: a rendered kernel, its dataset folders, a competition's folder.
Produces: `<folder>/<name>/` as the engine leaves it (log, executed notebook, output, timeline); a Played.
Never: changes the notebook. A limit shorter than the plan's is kept from outside, and told to the notebook's clock by the age of
    its session.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder import scoring
from builder.config import Config
from builder.machines import Machine
from builder.progress import Report, silent
from builder.rehearse import engine, hidden, judge, timeline
from builder.rehearse.findings import SCORED
from builder.rehearse.hidden import Hidden
from builder.rehearse.record import Run, own_record
from builder.rehearse.session import COMPLETE, Outcome, Session
from builder.rehearse.timeline import Timeline
from builder.runtime.clock import STARTED
from builder.runtime.contract import Plan


@dataclass(frozen=True)
class Stage:
    """What is rehearsed, and where.

    Attributes:
        name: The kernel's, for messages.
        notebook: The rendered file.
        datasets: Path below /kaggle/input -> folder.
        machine: The one that it will run on.
        folder: Where the rehearsal keeps its things.
        plan: Of the notebook.
        cache: Where this machine's speed is remembered, and environments are made.
        python: Interpreter to rehearse with; None: this one.
        notes: What is different from the machine's image, for a person.
    """

    name: str
    config: Config
    notebook: Path
    datasets: Mapping[str, Path]
    machine: Machine
    folder: Path
    plan: Plan
    cache: Path
    python: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Played:
    """A run that was played.

    Attributes:
        run: What there is to tell.
        outcome: As the engine saw it.
        record: Its run.json; empty when it left none.
        score: None when it has none.
        timeline: How it went over time.
    """

    run: Run
    outcome: Outcome
    record: Mapping[str, Any]
    score: float | None
    timeline: Timeline


def in_clean(stage: Stage, report: Report = silent) -> Stage:
    """The stage in an environment that holds only what the machine's image holds."""
    from builder.rehearse import clean

    made = clean.environment(stage.machine, stage.cache / "clean", report=report)
    return replace(stage, python=made.python, notes=made.notes)


def mount(machine: Machine, kind: str, owner: str, slug: str) -> str:
    """Path below /kaggle/input of a source: `datasets/me/effb0-1a2b`, or `effb0-1a2b` in the classic layout."""
    if machine.layout == "classic":
        return slug
    return f"{kind}/{slug}" if kind == "competitions" else f"{kind}/{owner}/{slug}"


def play(stage: Stage, name: str, words: str, files: Path | Hidden, limit_s: float) -> Played:
    """Run the notebook on the visible files (a folder: the commit run) or on a hidden set (a rerun).

    `name` and `words` say which run this is; its folder is named after it.
    """
    made = files if isinstance(files, Hidden) else None
    shift = _shift(stage.plan, limit_s)
    session = _session(stage, name, files, limit_s, shift)
    outcome = engine.run(session)
    record = own_record(session.folder)
    label, score, why = outcome.label or "Notebook Threw Exception", None, outcome.failure
    if outcome.status == COMPLETE:
        label, score, why = _scored(stage, session.folder / "working", made)
    run = _run(name, words, label, why, made, outcome, record)
    return Played(run, outcome, record, score, timeline.read(session.folder, record, outcome.seconds, shift))


def _session(stage: Stage, name: str, files: Path | Hidden, limit_s: float, shift: float) -> Session:
    made = files if isinstance(files, Hidden) else None
    competition = files.competition if isinstance(files, Hidden) else files
    environment = {"KKB_ALLOW_CPU": "1"} if stage.machine.accelerator == "cuda" else {}
    if shift:
        environment[STARTED] = f"{time.time() - shift:.3f}"
    return Session(
        notebook=stage.notebook,
        folder=stage.folder / name,
        inputs={**stage.datasets, mount(stage.machine, "competitions", "", stage.config.competition.slug): competition},
        limit_s=limit_s,
        cores=stage.machine.cores,
        memory=stage.machine.memory,
        working=stage.machine.working,
        rerun=made is not None,
        python=stage.python,
        environment=environment,
        extra={f"/kaggle/{hidden.FOLDS}": made.folds} if made and made.folds else {},
    )


def _shift(plan: Plan, limit_s: float) -> float:
    """Seconds by which a session must look older for the plan's clock to end its work within `limit_s`, reserve included.

    The notebook knows the plan's limit only. Work ends at limit less reserve; both shrink in proportion.
    """
    reserve = plan.reserve * plan.limit_s if plan.reserve < 1 else min(plan.reserve, plan.limit_s)
    return max(0.0, (plan.limit_s - reserve) * (1 - limit_s / plan.limit_s))


def _scored(stage: Stage, working: Path, made: Hidden | None) -> tuple[str, float | None, str]:
    """Kaggle's label, the score, and the reason when there is none. A commit run only has to leave a file."""
    competition = stage.config.competition
    if made is None:
        found = (working / competition.file).is_file()
        return (SCORED, None, "") if found else (scoring.NOT_FOUND, None, f"the commit run left no {competition.file}")
    try:
        if made.solution is None:
            judge.judge(working, competition.file, judge.form_of(made.competition))
            return SCORED, None, ""
        sample = made.competition / stage.config.data.sample_submission
        # A metric of the user's own lies beside the notebook.
        own, heads = stage.notebook.parent, [head.name for head in stage.plan.answer.heads if head.name]
        public = scoring.score(working / competition.file, made.solution, sample, competition.metric, own, heads=heads).public
    except scoring.Rejected as rejected:
        return rejected.label, None, rejected.reason
    return SCORED, float(public) if public else None, ""


def _run(
    name: str,
    words: str,
    label: str,
    why: str,
    made: Hidden | None,
    outcome: Outcome,
    record: Mapping[str, Any],
) -> Run:
    prefixes = {str(length): int(count) for length, count in record.get("samples_per_prefix", {}).items()}
    fallback, changed = prefixes.get("0", 0), len(made.changed) if made else 0
    ok = label == SCORED
    if made and made.gone and label == "Notebook Threw Exception":  # a good end for a table that lacks what is needed
        ok = made.gone in why
        why = f"refused: {why}" if ok else f"fails without naming the missing column {made.gone!r}: {why}"
    if ok and changed and fallback > changed:
        ok, why = False, f"{fallback} rows have no answer of the models, but only {changed} were changed"
    return Run(
        name=name,
        words=words,
        label=label,
        ok=ok,
        why=why,
        rows=made.rows if made else int(record.get("rows", 0)),
        changed=changed,
        fallback=fallback,
        rows_per_prefix=prefixes,
        seconds=outcome.seconds,
        peak_mb=outcome.peak_mb,
        disk_mb=outcome.disk_mb,
        stages={stage: float(seconds) for stage, seconds in record.get("stages", {}).items()},
    )
