"""`kkb rehearse`: a kernel, or any notebook, run as Kaggle would run it, here or on Kaggle's own machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.cli import context
from builder.cli.app import Json, Name, app
from builder.cli.screen import Screen, number
from builder.cli.stages import _seconds
from builder.errors import GateError, RunError, UserError, did_you_mean

if TYPE_CHECKING:
    from builder.rehearse.record import Rehearsal, Run

KAGGLE, MUST = "kaggle", "must-fix"
# Which options go with which of the three ways to rehearse; the others go with all of them.
HERE, AFAR, FOREIGN = "a rehearsal of a kernel here", "--on kaggle", "--notebook"
GOES_WITH = {
    **dict.fromkeys(("hidden", "limit", "clean", "keep"), (HERE, FOREIGN)),
    "all": (HERE,),
    **dict.fromkeys(("standin", "no-wait", "again"), (AFAR,)),
    **dict.fromkeys(("competition", "dataset", "memory", "cpus", "machine", "file", "layout"), (FOREIGN,)),
}
REMEDIES = {
    HERE: "leave it out, or say --on kaggle, or --notebook FILE: kkb rehearse --help",
    AFAR: "leave it out: kkb rehearse {name} --on kaggle",
    FOREIGN: "leave it out: kkb rehearse --help",
}


@app.command()
def rehearse(
    typed: typer.Context,
    name: Name = "",
    rows: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the hidden set; default: its real size.")] = None,
    limit: Annotated[str, typer.Option(metavar="TIME", help="Of each run, 20min; default: the competition's.")] = "",
    hidden: Annotated[Path | None, typer.Option(metavar="DIR", help="A hidden set of your own.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Every odd hidden set, each by itself.")] = False,  # noqa: A002
    keep: Annotated[bool, typer.Option("--keep", help="Keep hidden sets and all outputs.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="With no package but those of the image.")] = False,
    on: Annotated[str, typer.Option(metavar="kaggle", help="On Kaggle itself, as a private kernel.")] = "",
    standin: Annotated[bool, typer.Option("--standin", help="With --on: on the local stand-in.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="With --on: leave; come back with the same command.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --on: run what was run before anew.")] = False,
    notebook: Annotated[Path | None, typer.Option(metavar="FILE", help="Any notebook or script, with what follows.")] = None,
    competition: Annotated[list[str] | None, typer.Option(metavar="SLUG=DIR", help="Its competition.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(metavar="O/SLUG=DIR", help="A dataset of owner O; repeat.")] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Of its machine, such as 2GB.")] = "",
    cpus: Annotated[int | None, typer.Option(min=1, metavar="N", help="Cores of its machine.")] = None,
    machine: Annotated[str, typer.Option(metavar="NAME", help="Its machine; default: cpu.")] = "",
    file: Annotated[str, typer.Option(metavar="NAME", help="Its submission; default: submission.csv.")] = "",
    layout: Annotated[str, typer.Option(metavar="NAME", help="Of its mounts: typed or classic.")] = "",
    json: Json = False,
) -> None:
    """Run the notebook as Kaggle would, on training rows held back.

    Example: kkb rehearse digits --rows 200 --limit 20min

    Any: kkb rehearse --notebook F.ipynb --competition SLUG=DIR --limit 25s
    """
    screen = Screen(as_json=json)
    _check({name.replace("_", "-"): value for name, value in typed.params.items() if value})
    if notebook is not None:
        from builder.cli.rehearsing import rehearse_foreign

        chosen = machine or "cpu", file or "submission.csv"
        code = rehearse_foreign(
            *(screen, notebook, competition or [], dataset or [], limit, memory, cpus, *chosen, keep, json),
            hidden=hidden,
            rows=rows,
            layout=layout,
            clean=clean,
        )
        raise typer.Exit(code)
    if on:
        from builder.cli.rehearsing import rehearse_afar

        found = rehearse_afar(screen, name, rows=rows, wait=not no_wait, again=again, standin=standin)
    else:
        wanted = {"limit_s": _seconds(limit), "sets": "all" if all else "usual", "given": hidden}
        found = _here(screen, name, rows=rows, keep=keep, clean=clean, **wanted)
    if found:
        _refuse(screen, found)


def _here(screen: Screen, name: str, **wanted: Any) -> Rehearsal:
    from builder import pipeline
    from builder.cli.rehearsing import terminable

    with terminable(), context.working(screen, name) as kernel:
        found = pipeline.rehearse(kernel, **wanted)
    show(screen, found)
    if not any(finding.severity == MUST for finding in found.findings):
        screen.say(f"next: kkb push {name}{context.toward(kernel.workspace)}")
    screen.result(found.record())
    return found


def _check(typed: Mapping[str, Any]) -> None:
    """Raise UserError when it is not plain what shall be rehearsed, or an option goes with another way to rehearse."""
    name, notebook, on = (typed.get(key, "") for key in ("name", "notebook", "on"))
    if not name and not notebook:
        raise UserError("nothing to rehearse", expected="a kernel, or --notebook FILE", remedy="kkb rehearse --help")
    if name and notebook:
        raise UserError("a kernel and --notebook exclude each other", found=f"{name}, {notebook}", remedy="kkb rehearse --help")
    if on and (notebook or on != KAGGLE):
        remedy = did_you_mean(on, [KAGGLE]) if on != KAGGLE else "only a kernel can be rehearsed on Kaggle"
        raise UserError("--on makes no sense", found=on, expected=f"a kernel's name, and --on {KAGGLE}", remedy=remedy)
    way = FOREIGN if notebook else AFAR if on else HERE
    for option in typed:
        if way not in GOES_WITH.get(option, (way,)):
            ways = " or ".join(GOES_WITH[option])
            raise UserError(f"--{option} goes with {ways} only", found=way, remedy=REMEDIES[way].format(name=name, option=option))


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
    first = next((finding for finding in found.findings if finding.severity == MUST), None)
    if first is None:
        return
    if found.ok:
        screen.refuse(GateError("the forecast is over the limit", found=first.message, remedy=first.remedy))
    lines = "".join(f"\n    {line}" for line in found.evidence.get("log", ()))
    what = f"the rehearsal ended in '{found.label}'" if found.label != "Scored" else "a hidden set was not answered"
    screen.refuse(RunError(what, found=first.message + lines, remedy=first.remedy))
