"""Checks of the plan against the clock, and against what is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from builder.remote.preflight.record import MUST, NOTE, SHOULD, Found, Subject, check

PLAN = "run `kkb plan` again"
SMALLEST_RESERVE_S = 300.0
TIME = "each competition's code requirements; a rerun that takes longer is a Notebook Timeout"


def _file(subject: Subject) -> Path:
    return subject.folder / "plan.json"


@check("plan-unreadable", MUST, "the notebook carries this plan, and its runtime refuses what it does not understand")
def plan_unreadable(subject: Subject) -> Iterator[Found]:
    if subject.plan is None:
        yield Found(f"there is no usable plan: {subject.plan_problem}", PLAN, _file(subject))


@check("limit-session", MUST, "kaggle.com/docs/notebooks: a session ends after 12 hours (TPU: 9)")
def limit_session(subject: Subject) -> Iterator[Found]:
    longest = subject.machine.session_limit_s
    if subject.limit_s > longest:
        ends = f"a session of '{subject.machine.name}' ends after {longest / 3600:.0f} h"
        text = f"the limit is {subject.limit_s / 3600:.1f} h, and {ends}"
        yield Found(text, "lower [competition] limit", subject.folder / "kernel.toml")


@check("limit-differs", MUST, TIME)
def limit_differs(subject: Subject) -> Iterator[Found]:
    if subject.plan and subject.plan.limit_s > subject.limit_s:
        text = f"the plan counts on {subject.plan.limit_s / 60:.0f} min, and the limit is {subject.limit_s / 60:.0f} min"
        yield Found(text, PLAN, _file(subject))


@check("reserve-small", SHOULD, "start-up counts, and run times are obfuscated by 10 to 30 minutes in some competitions")
def reserve_small(subject: Subject) -> Iterator[Found]:
    if subject.plan:
        reserve = subject.plan.limit_s * subject.plan.reserve
        if reserve < min(SMALLEST_RESERVE_S, subject.plan.limit_s * 0.05) - 1e-9:
            text = f"only {reserve:.0f} s of {subject.plan.limit_s / 60:.0f} min are kept in reserve"
            yield Found(text, "raise [inference] reserve", _file(subject))


@check("first-unit-late", MUST, TIME)
def first_unit_late(subject: Subject) -> Iterator[Found]:
    if subject.plan is None or not subject.rows:
        return
    first, usable = subject.plan.units[0], subject.plan.limit_s * (1 - subject.plan.reserve)
    needed = first.load_s + first.seconds * subject.rows
    if needed > usable:
        text = f"the first unit alone needs {needed / 60:.0f} min for {subject.rows} rows, and {usable / 60:.0f} min are usable"
        yield Found(text, "put a faster model first, or use a faster machine", _file(subject))


@check("plan-partial", NOTE, "samples that the clock does not reach keep a shorter prefix of the plan")
def plan_partial(subject: Subject) -> Iterator[Found]:
    if subject.plan is None or not subject.rows:
        return
    usable = subject.plan.limit_s * (1 - subject.plan.reserve)
    needed = sum(unit.load_s + unit.seconds * subject.rows for unit in subject.plan.units)
    first = subject.plan.units[0]
    if needed > usable >= first.load_s + first.seconds * subject.rows:
        text = f"the whole plan needs {needed / 60:.0f} min for {subject.rows} rows, and {usable / 60:.0f} min are usable"
        yield Found(text, "nothing: samples degrade, files never go missing", _file(subject))


@check("answer-file", MUST, "a submission names its file; another one is Submission CSV Not Found")
def answer_file(subject: Subject) -> Iterator[Found]:
    if subject.plan and subject.plan.answer.file != subject.file:
        text = f"the notebook writes '{subject.plan.answer.file}', and kernel.toml submits '{subject.file}'"
        yield Found(text, PLAN, _file(subject))


@check("answer-type", SHOULD, "most competitions take submission.csv or submission.parquet, by that name")
def answer_type(subject: Subject) -> Iterator[Found]:
    if Path(subject.file).suffix not in (".csv", ".parquet") or "/" in subject.file:
        yield Found(f"'{subject.file}' is an unusual submission file", "set [competition] file", subject.folder / "kernel.toml")


@check("plan-competition", MUST, "the test data lie in the folder of the competition that is attached")
def plan_competition(subject: Subject) -> Iterator[Found]:
    if subject.plan and subject.plan.source.competition != subject.competition:
        text = f"the plan is for '{subject.plan.source.competition}', and kernel.toml for '{subject.competition}'"
        yield Found(text, PLAN, _file(subject))


@check("plan-accelerator", MUST, "prices and batches of another accelerator say nothing about this one")
def plan_accelerator(subject: Subject) -> Iterator[Found]:
    if subject.plan and subject.plan.accelerator != subject.machine.accelerator:
        text = f"the plan is made for {subject.plan.accelerator}, and '{subject.machine.name}' has {subject.machine.accelerator}"
        yield Found(text, PLAN, _file(subject))
