"""kkb machine ...: what is known about the machines that kernels run on."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Owner, Standin, app
from builder.cli.screen import Screen
from builder.workspace import Workspace

machine = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The machines that a kernel can run on.", pretty_exceptions_enable=False
)
app.add_typer(machine, name="machine")
SHOWN_PACKAGES = 30


@machine.command("list")
def machine_list(json: Json = False) -> None:
    """List the machines that are known.

    Those of the workspace's own machines/ come before the built-in ones.

    Example: kkb machine list
    """
    from builder import machines

    screen, workspace = Screen(as_json=json), Workspace.find()
    found = [machines.load(name) for name in machines.names()]
    rows = [
        (
            *(m.name, m.shape or "CPU", m.devices, m.cores, f"{m.memory >> 30} GiB", ", ".join(m.python)),
            *("pinned" if m.docker_image else "newest", m.checked, _where(workspace, m.file)),
        )
        for m in found
    ]
    columns = ("machine", "shape", "GPUs", "cores", "memory", "python", "image", "checked", "from")
    screen.table("", columns, rows, right=(2, 3, 4))
    screen.result({"machines": [vars(m) for m in found]})


@machine.command("show")
def machine_show(name: Annotated[str, typer.Argument(show_default=False)], json: Json = False) -> None:
    """Show one machine, with the date and source of each fact.

    Example: kkb machine show t4x2
    """
    from builder import machines

    screen = Screen(as_json=json)
    found = machines.load(name)
    facts = [(fact, value) for fact, value in vars(found).items() if fact not in {"packages", "sources"}]
    screen.table("", ("fact", "value"), facts)
    shown = list(found.packages.items())[:SHOWN_PACKAGES]
    more = len(found.packages) - len(shown)
    screen.table(
        "the image has", ("package", "version"), [*shown, *([(f"and {more} more", "(--json shows all)")] if more > 0 else [])]
    )
    screen.table("sources", ("fact", "date and source"), list(found.sources.items()))
    screen.result(vars(found))


@machine.command("capture")
def machine_capture(
    name: Annotated[str, typer.Option("--machine", help="The machine to look at.")] = "cpu",
    owner: Owner = "",
    limit: Annotated[float, typer.Option("--limit", min=1, help="Longest wait, in minutes; the queue counts.")] = 60.0,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Ask a tiny private kernel on Kaggle what its machine is.

    What it saw is kept as machines/NAME.toml, to be committed. Versions, packages, processor, speed, memory, GPUs, disk and
    mounts come from the run; kernels are then pinned to its image. On a GPU machine this takes a minute of your quota.

    Example: kkb machine capture --machine t4x2
    """
    from builder.capture import stage
    from builder.remote.account import username

    screen, workspace = Screen(as_json=json), Workspace.find()
    with screen.working() as report, context.door(workspace, standin=standin) as client:
        chosen = owner or ("" if standin else os.environ.get("KAGGLE_USERNAME", "")) or username(client)
        captured = stage.capture(client, workspace, name, chosen, wait_s=limit * 60, standin=standin, report=report)
    found = captured.machine
    screen.say(f"machine: {_where(workspace, found.file)} (Python {', '.join(found.python)}, {len(found.packages)} packages)")
    screen.say(f"  image: {found.docker_image or 'Kaggle does not tell its digest, so kernels are not pinned'}")
    for change in captured.changes:
        screen.say(f"  {change}")
    screen.result(captured.record())


def _where(workspace: Workspace, file: str) -> str:
    from pathlib import Path

    from builder import machines

    return "built in" if Path(file).parent == machines.BUILT_IN else workspace.show(Path(file))
