"""`kkb rehearse`: a kernel, or any notebook, run as Kaggle would run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from builder.cli import context
from builder.cli.app import Json, app
from builder.cli.screen import Screen, number
from builder.cli.stages import _seconds
from builder.errors import GateError, RunError, UserError

if TYPE_CHECKING:
    from builder.rehearse.record import Rehearsal, Run

FOREIGN = "With --notebook"


@app.command()
def rehearse(
    name: Annotated[str, typer.Argument(help="The kernel: a folder in kernels/.", show_default=False)] = "",
    rows: Annotated[
        int | None,
        typer.Option(min=1, help="Size of the hidden set; default: competition.test_rows, else ten times the visible one."),
    ] = None,
    limit: Annotated[str, typer.Option(help="Wall clock of each run, such as 20min; default: the competition's.")] = "",
    hidden: Annotated[Path | None, typer.Option(help="A hidden set of your own: a folder like the competition's.")] = None,
    all_sets: Annotated[bool, typer.Option("--all", help="Every odd hidden set, each by itself.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the hidden sets and all outputs.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="In an environment that holds only what the image holds.")] = False,
    notebook: Annotated[Path | None, typer.Option(help="Instead of a kernel: any notebook or script.")] = None,
    competition: Annotated[list[str] | None, typer.Option(help=f"{FOREIGN}: SLUG=DIR, its files.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help=f"{FOREIGN}: OWNER/SLUG=DIR, mounted.")] = None,
    memory: Annotated[str, typer.Option(help=f"{FOREIGN}: such as 2GB.")] = "",
    cpus: Annotated[int | None, typer.Option(min=1, help=f"{FOREIGN}: cores.")] = None,
    machine: Annotated[str, typer.Option(help=f"{FOREIGN}: a machine's name; default cpu.")] = "",
    file: Annotated[str, typer.Option(help=f"{FOREIGN}: the submission's name; default submission.csv.")] = "",
    layout: Annotated[str, typer.Option(help=f"{FOREIGN}: typed or classic mount paths.")] = "",
    json: Json = False,
) -> None:
    """Run the rendered notebook as Kaggle would, on hidden sets made from training rows, and score it.

    Each row is answered only by models that did not see it. Odd sets follow: no rows, one row, broken files.

    Example: kkb rehearse digits --rows 200 --limit 20min

    Any notebook: kkb rehearse --notebook F.ipynb --competition SLUG=DIR --limit 25s
    """
    screen = Screen(as_json=json)
    foreign = Foreign(competition or [], dataset or [], memory, cpus, machine, file, layout)
    _refuse_mixture(name, notebook, foreign, all_sets=all_sets)
    if notebook is not None:
        from builder.cli.rehearsing import rehearse_foreign

        chosen = foreign.machine or "cpu", foreign.file or "submission.csv"
        places = foreign.competition, foreign.dataset
        code = rehearse_foreign(
            *(screen, notebook, *places, limit, memory, cpus, *chosen, keep, json),
            hidden=hidden,
            rows=rows,
            layout=layout,
            clean=clean,
        )
        raise typer.Exit(code)
    from builder import pipeline
    from builder.cli.rehearsing import terminable

    sets, seconds = "all" if all_sets else "usual", _seconds(limit)
    with terminable(), context.working(screen, name) as kernel:
        found = pipeline.rehearse(kernel, rows=rows, limit_s=seconds, sets=sets, given=hidden, keep=keep, clean=clean)
    show(screen, found)
    screen.result(found.record())
    _refuse(screen, found)


class Foreign(NamedTuple):
    """The options that only a foreign notebook needs, under their own names."""

    competition: list[str]
    dataset: list[str]
    memory: str
    cpus: int | None
    machine: str
    file: str
    layout: str


def _refuse_mixture(name: str, notebook: Path | None, foreign: Foreign, *, all_sets: bool) -> None:
    """Raise UserError when it is not plain what shall be rehearsed."""
    if not name and notebook is None:
        raise UserError("nothing to rehearse", expected="a kernel, or --notebook FILE", remedy="kkb rehearse --help")
    if name and notebook is not None:
        raise UserError("a kernel and --notebook exclude each other", found=f"{name}, {notebook}", remedy="kkb rehearse --help")
    lone = next((option for option, value in foreign._asdict().items() if value not in (None, "", [])), None)
    if name and lone:
        remedy = "set it in kernel.toml: a kernel's own settings are rehearsed"
        raise UserError(f"--{lone} goes with --notebook only", found=f"kernel {name}", remedy=remedy)
    if notebook is not None and all_sets:
        remedy = "give one with --hidden DIR"
        raise UserError("--all goes with a kernel only", found="no training rows to make odd sets from", remedy=remedy)


def show(screen: Screen, found: Rehearsal) -> None:
    """What was enforced, how each run ended, the verdict, and what to do."""
    for what in found.not_enforced:
        screen.say(f"NOT enforced here: {what}")
    screen.say(f"enforced: {', '.join(found.enforced)}")
    columns = ("run", "what", "rows", "fallback", "rows per prefix", "s", "MB", "ends")
    screen.table("", columns, [_cells(run) for run in found.runs], right=(2, 3, 5, 6))
    score = number(found.score) + (f" ({found.difference:+.5f} against CV)" if found.difference is not None else "")
    screen.say(
        f"rehearse: {found.label}, score {score} on {found.rows} rows, {found.seconds:.1f} s, "
        f"{found.peak_mb:.0f} MB memory, {found.disk_mb:.1f} MB output"
    )
    if found.forecast_text:
        screen.say(f"forecast: {found.forecast_text} ({found.forecast_basis})")
    for finding in found.findings:
        if finding.code != "not-enforced":  # they stand at the top
            screen.say(f"{finding.severity} [{finding.code}] {finding.message}\n  to do: {finding.remedy}")
    screen.say(f"page: {found.page}")


def _cells(run: Run) -> tuple[object, ...]:
    prefixes = ", ".join(f"{length}: {count}" for length, count in run.rows_per_prefix.items())
    ends = run.label if run.ok else f"{run.label}!"
    name = Path(run.name).name
    return name, run.words, run.rows, run.fallback or "", prefixes, f"{run.seconds:.1f}", f"{run.peak_mb:.0f}", ends


def _refuse(screen: Screen, found: Rehearsal) -> None:
    """End with 5 when a run ended badly, with 3 when the forecast is over the limit."""
    first = next((finding for finding in found.findings if finding.severity == "must-fix"), None)
    if first is None:
        return
    if found.ok:
        screen.refuse(GateError("the forecast is over the limit", found=first.message, remedy=first.remedy))
    lines = "".join(f"\n    {line}" for line in found.evidence.get("log", ()))
    what = f"the rehearsal ended in '{found.label}'" if found.label != "Scored" else "a hidden set was not answered"
    screen.refuse(RunError(what, found=first.message + lines, remedy=first.remedy))
