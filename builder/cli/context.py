"""What every command needs: the workspace, the kernel with its progress, the door to Kaggle, the owner."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.screen import Screen
from builder.workspace import Workspace

if TYPE_CHECKING:
    from builder.pipeline import Kernel
    from builder.remote.client import Client

STANDIN = " --standin"


@contextlib.contextmanager
def working(screen: Screen, name: str) -> Iterator[Kernel]:
    """The kernel called `name`, drawing its progress on `screen`. Unknown names fail before anything is drawn."""
    from builder.pipeline import Kernel

    workspace = Workspace.find()
    workspace.kernel(name)
    with screen.working() as report:
        kernel = Kernel(workspace, name, report)
        yield kernel
    for note in kernel.notes:
        screen.say(f"note: {note}")


@contextlib.contextmanager
def door(workspace: Workspace, *, standin: bool) -> Iterator[Client]:
    """The client: of kaggle.com, or of wherever the environment leads, or of the stand-in."""
    from builder.remote.client import Client

    with Client(environment(workspace, standin=standin)) as client:
        yield client
        notes = client.notes
    if not standin:  # the stand-in's credentials are its own affair
        for note in notes:
            Screen(as_json=False).say(f"note: {note}")


def environment(workspace: Workspace, *, standin: bool) -> dict[str, str]:
    """The caller's environment, pointed at the stand-in when asked."""
    found = dict(os.environ)
    if standin:
        from builder.standin import control

        found.update(control.environment(workspace.standin))
    return found


def toward(workspace: Workspace) -> str:
    """What a next command needs to reach whom this user can reach: ` --standin` where that runs and nothing leads to Kaggle."""
    from builder.doctor import credentials
    from builder.standin import control

    if credentials.sources(os.environ, Path.home()) or control.running(workspace.standin) is None:
        return ""
    return STANDIN


def owner(kernel: Kernel, *, standin: bool, given: str) -> str:
    """Who will own what is rendered, without asking the network where that can be avoided."""
    from builder.pipeline import owner_in
    from builder.remote.account import username
    from builder.render.stage import METADATA

    if given:
        return given
    metadata = kernel.folder / METADATA
    if not standin:
        if name := os.environ.get("KAGGLE_USERNAME"):
            return name
        if metadata.is_file():
            return owner_in(kernel)
    with door(kernel.workspace, standin=standin) as client:
        return username(client)
