"""kkb rehearse: the rendered notebook, run as Kaggle would run it, on hidden sets that we made.

Expects: a rendered kernel, its dataset folders, the competition's files.
Produces: `.kkb/runs/<name>/rehearsal/`: rehearsal.json with Kaggle's label, the score on rows whose labels we know, what was
enforced, and how long a test set of another size would take; page.html to look at; logs and outputs of the runs.
Never: lets a model answer a row that it was trained on; changes the user's files.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from builder import competition
from builder.errors import UserError
from builder.progress import Report, silent
from builder.rehearse import benchmark, draft, findings, hidden, outlook, page, record
from builder.rehearse.findings import MUST, NOTE, SCORED, SHOULD, Finding
from builder.rehearse.outlook import Outlook, Pace
from builder.rehearse.playing import Played, Stage, in_clean, mount, play
from builder.rehearse.record import COMMIT, KEY, RERUN, Rehearsal, known, load, log_tail
from builder.rehearse.variants import VARIANTS, Variant
from builder.scoring import forms
from builder.workspace import locked, write_text

__all__ = ["KEY", "SCORED", "Rehearsal", "Stage", "Wanted", "in_clean", "known", "load", "log_tail", "mount", "rehearse"]

ROWS = 400  # of the hidden set, when nobody knows its size and the visible one is small
TIMES = 10  # the visible rows
MOST_ROWS = 10_000_000
EXTRA_S = 120.0  # that the usual odd sets may take together
PLAIN, USUAL, ALL = "plain", "usual", "all"
ODD, LOCK = "odd", ".lock"
WORST_FIRST = (MUST, SHOULD, NOTE)


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        rows: Size of the hidden set; None: the competition's own, else ten times the visible one and at least ROWS.
        limit_s: Wall clock of each run; None: the competition's, scaled to this machine's speed where that is known.
        sets: `plain` (the hidden set alone), `usual` (with the odd ones that fit into two minutes) or `all`.
        given: A hidden set of the user's own.
        keep: Whether hidden sets and the outputs of odd ones stay.
    """

    rows: int | None = None
    limit_s: float | None = None
    sets: str = PLAIN
    given: Path | None = None
    keep: bool = False

    def check(self) -> None:
        """Raise UserError for what makes no sense."""
        if self.rows is not None and not 1 <= self.rows <= MOST_ROWS:
            raise UserError("--rows makes no sense", found=self.rows, expected=f"1 to {MOST_ROWS}", remedy="kkb rehearse --help")
        if self.limit_s is not None and not 1 <= self.limit_s < 1e7:
            raise UserError(
                "--limit makes no sense", found=self.limit_s, expected="a second or more", remedy="such as --limit 20min"
            )
        if self.given is not None and not self.given.is_dir():
            remedy = "kkb rehearse --help"
            raise UserError("--hidden is no folder", file=self.given, expected="a folder with a test set", remedy=remedy)
        if self.rows is not None and self.given is not None:
            raise UserError(
                "--rows and --hidden exclude each other", expected="one of them", remedy="a given set has the rows that it has"
            )


def rehearse(
    stage: Stage, root: Path, fold_of: Mapping[str, int], wanted: Wanted = Wanted(), *, report: Report = silent
) -> Rehearsal:
    """Play the commit run on the visible files, then reruns on hidden sets, and say how each would end.

    Args:
        stage: What is rehearsed.
        root: The competition's files.
        fold_of: id -> fold, for rows that some unit of the plan did not see.
        wanted: What was asked for.
    """
    visible = _visible(stage, root)
    if wanted.given and wanted.given.resolve().is_relative_to(stage.folder.resolve()):
        raise UserError("--hidden lies where the rehearsal is written", file=wanted.given, remedy="copy it elsewhere first")
    report(0, None, "rehearsal: how fast this machine is")
    pace = outlook.pace(stage.machine, partial(benchmark.here, stage.cache))
    limit = wanted.limit_s or pace.limit(stage.config.competition.limit)
    with locked(stage.folder / LOCK):
        _clear(stage.folder)
        course = _Course(stage, root, fold_of, wanted, limit, report)
        try:
            played = list(course.runs(visible))
            return _conclude(stage, played, course.skipped, pace, limit)
        finally:
            if not wanted.keep:
                _tidy(stage.folder)


def _visible(stage: Stage, root: Path) -> int:
    """Rows of the visible test set. Raises UserError for files that no submission can be judged by."""
    data, answer = stage.config.data, stage.plan.answer
    sample, _ = forms.read(root / data.sample_submission)
    expected = [answer.key_column or answer.id, *answer.columns]
    if sorted(map(str, sample.columns)) != sorted(expected):
        raise UserError(
            "the sample submission is not in the form that the plan answers in",
            file=root / data.sample_submission,
            found=", ".join(map(str, sample.columns)) or "no columns",
            expected=", ".join(expected),
            remedy=f"kkb plan {stage.name}",
        )
    return len(competition.read_table(root / data.test))


def _clear(folder: Path) -> None:
    """Remove what an earlier rehearsal left: nothing of it may pass for this one's."""
    for name in (record.FILE, KEY, page.FILE):
        (folder / name).unlink(missing_ok=True)
    for name in (COMMIT, RERUN, ODD, "hidden"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Logs, executed notebooks and the output of the two main runs stay; hidden sets and other outputs go."""
    for path in (folder / "hidden" / hidden.COMPETITION, *folder.glob(f"{ODD}/*/hidden"), *folder.glob(f"{ODD}/*/working")):
        shutil.rmtree(path, ignore_errors=True)


@dataclass
class _Course:
    """One rehearsal while it is played; `skipped` names the odd sets that two minutes had no room for."""

    stage: Stage
    root: Path
    fold_of: Mapping[str, int]
    wanted: Wanted
    limit: float
    report: Report
    skipped: list[str] = field(default_factory=list)

    def runs(self, visible: int) -> Iterator[Played]:
        """Each run when it is over; none after one of the two main runs that failed."""
        stage, sets = self.stage, [variant for variant in VARIANTS.values() if self._asked(variant)]
        self.report(0, 2 + len(sets), "rehearsal: commit run on the visible files")
        commit = play(stage, COMMIT, "the visible files", self.root, self.limit)
        yield commit
        if not commit.run.ok:
            return
        self.report(1, 2 + len(sets), "rehearsal: rerun on hidden rows")
        made = self._hidden(visible)
        rerun = play(stage, RERUN, f"{made.rows:,} hidden rows", made, self.limit)
        yield rerun
        if rerun.run.ok:
            yield from self._odd(sets, commit.run.seconds)

    def _asked(self, variant: Variant) -> bool:
        return self.wanted.sets == ALL or (self.wanted.sets == USUAL and variant.usual)

    def _hidden(self, visible: int) -> hidden.Hidden:
        """The hidden set that is scored: given, or as large as was asked for."""
        stage, wanted, folder = self.stage, self.wanted, self.stage.folder / "hidden"
        if wanted.given:
            return hidden.given(stage.config, wanted.given, folder)
        rows = wanted.rows or stage.config.competition.test_rows or max(TIMES * visible, min(ROWS, len(self.fold_of)))
        return hidden.from_training(stage.config, self.root, self.fold_of, rows, folder, answer=stage.plan.answer)

    def _odd(self, sets: list[Variant], longest: float) -> Iterator[Played]:
        """Runs on odd sets; of the usual ones those that fit, when each takes as long as the longest so far."""
        started = time.monotonic()
        for number, variant in enumerate(sets, start=2):
            if self.wanted.sets == USUAL and time.monotonic() - started + longest > EXTRA_S:
                self.skipped.append(variant.name)
                continue
            self.report(number, 2 + len(sets), f"rehearsal: hidden set '{variant.name}'")
            changed = variant.change(draft.draw(self.stage.config, self.root, self.fold_of, variant.rows))
            if changed is None:
                continue
            stage, name = self.stage, f"{ODD}/{variant.name}"
            folder, answer = stage.folder / name / "hidden", stage.plan.answer
            made = hidden.write(changed, stage.config, self.root, folder, answer=answer, scored=False)
            played = play(stage, name, variant.words, made, self.limit)
            longest = max(longest, played.run.seconds)
            yield played


def _conclude(stage: Stage, played: list[Played], skipped: list[str], pace: Pace, limit: float) -> Rehearsal:
    """The verdict on all runs, written with its page."""
    main = played[min(1, len(played) - 1)]
    failed = next((one for one in played if not one.run.ok), None)
    cast = outlook.forecast(stage, played[0], main, pace) if len(played) > 1 and main.run.ok else outlook.NONE
    cv = stage.plan.expected.get("score")
    score = main.score if len(played) > 1 else None
    told: Mapping[str, object] = {}
    if failed:
        folder = stage.folder / failed.run.name
        told = record.evidence(failed.run, folder, failed.outcome, findings.last_lines(folder))
    rehearsal = Rehearsal(
        label=failed.run.label if failed else SCORED,
        score=score,
        rows=main.run.rows if len(played) > 1 else 0,
        seconds=main.run.seconds,
        peak_mb=main.run.peak_mb,
        disk_mb=main.run.disk_mb,
        findings=tuple(sorted(_findings(stage, played, skipped, cast), key=lambda one: WORST_FIRST.index(one.severity))),
        enforced=main.outcome.enforced,
        not_enforced=main.outcome.not_enforced,
        forecast=cast.record(),
        folder=str(stage.folder),
        cv=cv,
        difference=None if score is None or cv is None else round(score - cv, 6),
        rows_per_prefix=main.run.rows_per_prefix,
        stages=main.run.stages,
        forecast_text=cast.text,
        forecast_basis=cast.basis,
        evidence=told,
        runs=tuple(one.run for one in played),
        page=str(stage.folder / page.FILE),
    )
    timelines = [one.timeline for one in played]
    write_text(stage.folder / page.FILE, page.html(stage.name, rehearsal, timelines, limit, stage.machine.memory / 1e6))
    return record.write(stage.folder, rehearsal)


def _findings(stage: Stage, played: list[Played], skipped: list[str], cast: Outlook) -> Iterator[Finding]:
    mounted = {key.rpartition("/")[2]: f"/kaggle/input/{key}" for key in stage.datasets}
    for one in played:
        folder = stage.folder / one.run.name
        if not one.run.ok:
            yield record.failure(one.run, one.outcome, findings.last_lines(folder), mounted, stage.notebook)
        elif one.run.why:
            yield record.refused(one.run, stage.notebook)
        elif one.run.fallback:
            yield record.unanswered(one.run, stage.notebook)
    for one in played[:2]:
        files = sum(path.is_file() for path in (stage.folder / one.run.name / "working").rglob("*"))
        yield from findings.remarks(one.run.name, one.outcome, files, stage.machine.output_files)
    yield from cast.findings(stage.name)
    yield from (Finding(NOTE, "environment", words, "", "") for words in stage.notes)
    if skipped:
        text = f"not played, because two minutes were over: {', '.join(skipped)}"
        yield Finding(NOTE, "not-played", text, f"kkb rehearse {stage.name} --all", "")
    elsewhere = f"kkb rehearse {stage.name} --on kaggle: on that machine itself"
    yield from findings.unenforced(played[0].outcome.not_enforced, elsewhere)
