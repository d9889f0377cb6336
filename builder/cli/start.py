"""Where people begin: new, demo."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, app
from builder.cli.screen import Screen
from builder.workspace import Workspace


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The kernel's name; it becomes its slug on Kaggle.", show_default=False)],
    competition: Annotated[str, typer.Option(help="The competition's slug.", show_default=False)],
    task: Annotated[
        str,
        typer.Option(
            help="image-classification, text-classification or tabular-classification; left out, the competition's files tell.",
            show_default=False,
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take what is proposed without asking.")] = False,
    json: Json = False,
) -> None:
    """Write kernels/NAME/kernel.toml, the one file that you edit.

    It says what the competition's files suggest, when they are there.

    Example: kkb new reviews --competition nsmc --task text-classification
    """
    from builder import scaffold
    from builder.cli.remote import show_proposal, show_ways
    from builder.config import TASKS
    from builder.errors import UserError, did_you_mean

    if task and task not in TASKS:
        whole = next((known for known in TASKS if known.startswith(task)), task)
        raise UserError("unknown task", found=repr(task), expected=", ".join(TASKS), remedy=did_you_mean(whole, TASKS))
    screen, workspace = Screen(as_json=json), Workspace.find()
    path, proposal = scaffold.new(workspace, name, competition, task)
    if proposal:
        show_proposal(screen, proposal)
        if not (yes or json) and sys.stdin.isatty() and not typer.confirm("Is this right?", default=True, err=True):
            screen.say(f"new: mend it in {workspace.show(path)}")
    screen.say(f"new: {workspace.show(path)}")
    if proposal:
        show_ways(screen, workspace.show(path), name, context.toward(workspace))
    else:
        screen.say(f"next: kkb fetch {name}{context.toward(workspace)}, which fills in what only the files can tell")
    screen.result({"kernel_toml": str(path), "proposal": None if proposal is None else vars(proposal)})


@app.command()
def demo(json: Json = False) -> None:
    """See the whole job once, on bundled data against the stand-in.

    That is: train, export, plan, bundle, render, rehearse, push, submit, score.

    Example: kkb demo
    """
    from builder import demo as demonstration
    from builder import shipping
    from builder.cli.remote import show_shipped
    from builder.doctor import packages
    from builder.remote import competitions
    from builder.standin import control

    packages.need("torch")
    screen, workspace = Screen(as_json=json), Workspace.find()
    parts = demonstration.prepare(workspace)
    name, slug = demonstration.KERNEL, demonstration.SLUG
    started_here = control.running(workspace.standin) is None
    running = control.up(workspace.standin)
    try:
        control.add_competition(
            workspace.standin,
            slug,
            data=parts.data,
            hidden=parts.hidden,
            metric="accuracy",
            limit_s=20 * 60,
            daily=demonstration.DAILY,
        )
        screen.say(f"stand-in: {running.pages}, competition {slug}")
        with context.working(screen, name) as kernel, context.door(workspace, standin=True) as client:
            competitions.fetch(client, slug, kernel.config.data_root(workspace.root), on_progress=kernel.report)
            shipped = shipping.ship(kernel, client)
    finally:
        if started_here:
            control.down(workspace.standin)
    show_shipped(screen, shipped)
    screen.say("The same on kaggle.com, for a competition that you have joined, with KAGGLE_API_TOKEN from kaggle.com/settings:")
    for line in ("kkb new NAME --competition SLUG", "kkb fetch NAME", "kkb ship NAME"):
        screen.say(f"  {line}")
    screen.say("To look around in the stand-in: kkb standin up")
    screen.result(shipped.record())
