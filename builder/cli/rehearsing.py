"""`kkb rehearse --notebook`: the rehearsal of any notebook or script; `kkb rehearse NAME --on kaggle`: a kernel's, over there.

Produces: the verdict on stderr (what was enforced first), with --json one object on stdout; an exit code.
Never: leaves its scratch folder behind, unless asked to keep it; leaves a process behind.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import RunError, UserError

if TYPE_CHECKING:
    from builder.cli.screen import Screen
    from builder.machines import Machine
    from builder.progress import Report
    from builder.rehearse.foreign import Foreign, Verdict
    from builder.rehearse.record import Rehearsal

SHOWN = ("must-fix", "should-fix", "note")
LINES = 20  # of the log
TERMINATED = 128 + signal.SIGTERM


def rehearse_foreign(
    screen: Screen,
    notebook: Path,
    competitions: list[str],
    datasets: list[str],
    limit: str = "",
    memory: str = "",
    cpus: int | None = None,
    machine: str = "cpu",
    file: str = "submission.csv",
    keep: bool = False,
    json: bool = False,
    *,
    hidden: Path | None = None,
    rows: int | None = None,
    layout: str = "",
    clean: bool = False,
) -> int:
    """Rehearse `notebook` (.ipynb or .py) and show how it would end. Returns the exit code: 0 or 5.

    Args:
        screen: Made with as_json=json.
        notebook: The file.
        competitions: `SLUG=DIR` each; the first one's sample submission is the judge.
        datasets: `OWNER/SLUG=DIR` each.
        limit: Wall clock of each run, such as 25s; empty: the machine's session.
        memory: Such as 2GB; empty: the machine's.
        cpus: Cores; None: the machine's.
        machine: A name in builder/machines.
        file: The submission's name.
        keep: Leave the scratch folder, and say where it is.
        hidden: The competition's folder as the rerun sees it; None: made from the visible one, with other ids and more rows.
        rows: Rows of the hidden set that is made; None: ten times the visible ones as long as they are few.
        layout: `typed`, `classic` or empty: the machine's.
        clean: In an environment that holds only the image's packages.

    Raises:
        UserError: Something that was named does not exist or makes no sense.
        RunError: The rehearsal itself could not be done here.
    """
    from builder.rehearse import foreign
    from builder.rehearse.scratch import scratch

    chosen = _machine(machine, cpus, memory, layout)
    job = foreign.Foreign(
        notebook=notebook,
        competitions=_pairs("--competition", "SLUG=DIR", competitions),
        datasets=_pairs("--dataset", "OWNER/SLUG=DIR", datasets),
        machine=chosen,
        limit_s=_value("--limit", limit, "seconds", "9h, 90min or 45s") if limit else chosen.session_limit_s,
        file=file,
        hidden=hidden,
        rows=rows,
    )
    foreign.check(job)
    with terminable(), scratch(keep=keep) as folder, screen.working() as report:
        job = _in_clean(job, report) if clean else job
        verdict = foreign.rehearse(job, folder, report=report)
    _show(screen, verdict)
    if keep:
        screen.say(f"kept: {folder}")
    if json:
        screen.result(verdict.record() | {"folder": str(folder) if keep else ""})
    return 0 if verdict.label == "Scored" else RunError.exit_code


def rehearse_afar(screen: Screen, name: str, *, rows: int | None, wait: bool, again: bool, standin: bool) -> Rehearsal | None:
    """Rehearse the kernel `name` on Kaggle, or with `standin` on the stand-in. Returns the verdict; None while it runs."""
    from builder.afar import stage
    from builder.cli import context
    from builder.cli.rehearse import show

    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        found = stage.rehearse(kernel, client, rows=rows, wait=wait, again=again)
    screen.say(f"rehearsed as {found.kernel} version {found.version}, private: {found.state}")
    if not standin:
        screen.say(f"  {found.url}")
    if found.verdict:
        show(screen, found.verdict)
    else:
        screen.say("  come back with the same command: it takes this run up")
    screen.result(found.record())
    return found.verdict


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, so that what it began is cleared away; elsewhere it ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: Any) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _machine(name: str, cpus: int | None, memory: str, layout: str) -> Machine:
    from builder import machines
    from builder.rehearse import foreign

    if "tpu" in name.lower():
        raise UserError("TPUs cannot be rehearsed", found=name, expected="a CPU or GPU machine", remedy="kkb machine list")
    size = int(_value("--memory", memory, "size", "2GB or 500MB")) if memory else None
    return foreign.machine_for(machines.load(name), cores=cpus, memory=size, layout=layout)


def _value(option: str, text: str, kind: str, examples: str) -> float:
    from builder import config

    read: Callable[[str], float] = getattr(config, kind)
    try:
        return read(text)
    except ValueError:
        raise UserError(f"{option} makes no sense", found=repr(text), expected=examples, remedy="write it like that") from None


def _pairs(option: str, form: str, given: list[str]) -> dict[str, Path]:
    """Slug or path below /kaggle/input -> folder: `me/weights` is a dataset, longer ones say what they are."""
    found: dict[str, Path] = {}
    for text in given:
        key, _, path = text.partition("=")
        parts = key.split("/")
        if not path or not all(parts) or (len(parts) == 1) != (form.count("/") == 0):
            raise UserError(f"{option} names no source", found=repr(text), expected=form, remedy=f"{option} {form}")
        if len(parts) == 2:
            key = f"datasets/{key}"
        if key in found:
            raise UserError(f"{option} names the same source twice", found=text, expected="each one once")
        found[key] = Path(path)
    return found


def _in_clean(job: Foreign, report: Report) -> Foreign:
    import dataclasses

    from builder.rehearse import clean
    from builder.workspace import Workspace

    made = clean.environment(job.machine, Workspace.find().cache / "clean", report=report)
    return dataclasses.replace(job, python=made.python, notes=made.notes)


def _show(screen: Screen, verdict: Verdict) -> None:
    """What was enforced, then the verdict, then why."""
    for what in verdict.not_enforced:
        screen.say(f"NOT enforced here: {what}")
    screen.say(f"enforced: {', '.join(verdict.enforced)}")
    for name, run in verdict.runs.items():
        used = f"{run['peak_mb']:.0f} MB memory, {run['disk_mb']:.1f} MB output"
        screen.say(f"{name} run: {run['status']}, {run['seconds']:.1f} s, {used}")
    screen.say(f"rehearse: {verdict.label}" + (f", {verdict.rows} rows" if verdict.label == "Scored" else ""))
    for finding in sorted(verdict.findings, key=lambda finding: SHOWN.index(finding.severity)):
        if finding.code != "not-enforced":  # they stand at the top
            screen.say(f"{finding.severity} [{finding.code}] {finding.message}")
            screen.say(f"  to do: {finding.remedy}") if finding.remedy else None
    if verdict.evidence:
        screen.say(f"  where: {verdict.evidence.run} run{verdict.evidence.place and f', {verdict.evidence.place}'}")
        for line in verdict.evidence.log[-LINES:]:
            screen.say(f"  | {line}")
