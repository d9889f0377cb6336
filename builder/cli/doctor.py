"""What this machine lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Standin, app
from builder.cli.screen import Screen
from builder.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.doctor.record import Finding


@app.command()
def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask no server.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show what is fine in full, too.")] = False,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Say what this machine lacks, and the command that mends it.

    Looked at are Python, packages, GPU and driver, sandbox, disk, credentials (never shown), the official client, and whether
    Kaggle answers. Exit code 3 when something must be fixed; 4 when that is only the network.

    Example: kkb doctor --offline
    """
    from builder.doctor.record import FINE, MUST, ordered
    from builder.errors import GateError, RemoteError

    screen, workspace = Screen(as_json=json), Workspace.find()
    findings = ordered([*_at_home(workspace), *([] if offline else _asked(workspace, standin=standin))])
    _show(screen, findings, everything=everything)
    urgent = [one for one in findings if one.severity == MUST]
    told = [one.record() for one in findings if one.severity != FINE]
    screen.result({"ok": not urgent, "findings": told, "fine": [one.record() for one in findings if one.severity == FINE]})
    if urgent:
        names = ", ".join(dict.fromkeys(one.code for one in urgent))
        kind = RemoteError if {one.code for one in urgent} == {"unreachable"} else GateError
        screen.refuse(kind("this machine is not ready", found=names, remedy=urgent[0].remedy))


def _at_home(workspace: Workspace) -> list[Finding]:
    from builder.doctor import stage

    return list(stage.at_home(workspace, os.environ, Path.home()))


def _asked(workspace: Workspace, *, standin: bool) -> list[Finding]:
    """What the server says; nothing when there is nothing to ask it with, which is a finding already."""
    from builder.doctor import credentials, network
    from builder.doctor.record import MUST, Finding
    from builder.errors import UserError
    from builder.remote.client import Client

    if not standin and not credentials.sources(os.environ, Path.home()):
        return []
    try:
        environment = context.environment(workspace, standin=standin)
        local = environment.get("KAGGLE_API_ENVIRONMENT") == "LOCALHOST"
        server = "the stand-in" if standin else "the local server" if local else "kaggle.com"
        with Client(environment, timeout_s=network.SILENCE_S, retry=network.ONCE) as client:
            return list(network.network(client, server))
    except UserError as error:  # no stand-in, or a variable that leads nowhere
        return [Finding(MUST, "unreachable", error.what, "nothing can be asked", error.remedy or "kkb standin up")]


def _show(screen: Screen, findings: Sequence[Finding], *, everything: bool) -> None:
    """What is wrong with what to do, then what is fine: on one line, unless everything is asked for."""
    from builder.doctor.record import FINE

    for one in findings:
        if one.severity != FINE or everything:
            screen.say(f"{one.severity:10} {one.code}: {one.message}")
        if one.meaning:
            screen.say(f"           means: {one.meaning}")
        if one.remedy:
            screen.say(f"           to do: {one.remedy}")
    good = list(dict.fromkeys(one.code for one in findings if one.severity == FINE))
    if not everything:
        screen.say(f"{FINE:10} {', '.join(good)}  (kkb doctor --all shows them)")
    screen.say(f"doctor: {sum(one.severity != FINE for one in findings)} to look at, {len(good)} fine")
