"""kkb init: a workspace, and the workflow that checks, pushes and collects its kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli.app import Json, app
from builder.cli.screen import Screen


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The new workspace.")] = Path(),
    ci: Annotated[bool, typer.Option("--ci/--no-ci", help="Write .github/workflows/kernels.yml, too.")] = True,
    package: Annotated[str, typer.Option(help="What the workflow installs; default: this version of kkb.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a workflow that says something else.")] = False,
    json: Json = False,
) -> None:
    """Make a workspace, with a CI workflow; what is there stays.

    It has kernels/, weights/, .kkb/, and .github/workflows/kernels.yml.

    Example: kkb init my-competitions
    """
    from builder import scaffold
    from builder.ci import workflow
    from builder.errors import UserError

    screen = Screen(as_json=json)
    if folder.exists() and not folder.is_dir():
        raise UserError(
            "not a folder", file=folder, expected="a folder, or a name for a new one", remedy="kkb init my-competitions"
        )
    try:
        # The workflow first: when a person's own is in the way, nothing has been written.
        written = ci and workflow.write(folder, package or workflow.requirement(), force=force)
        made = scaffold.init(folder)
        made += [path for path in (_ignored(folder),) if path and path not in made]
        made += [folder / workflow.PATH] if written else []
    except OSError as error:
        raise UserError(
            "the workspace cannot be written", file=folder, found=error.strerror, remedy="choose a folder that is yours"
        ) from None
    for path in made:
        screen.say(f"init: wrote {path}")
    screen.say(f"init: {folder.resolve()} is a workspace" + ("" if made else " already"))
    if written:
        screen.say("  the workflow pushes with the secret KAGGLE_API_TOKEN; its first lines say what each job needs")
    screen.say("  next: kkb doctor, then: kkb new NAME --competition SLUG")
    screen.result({"folder": str(folder.resolve()), "made": [str(path) for path in made]})


def _ignored(folder: Path) -> Path | None:
    """The .gitignore, when lines that keep weights and caches out of git had to be added to it."""
    from builder import scaffold
    from builder.workspace import write_text

    path = folder / ".gitignore"
    text = path.read_text("utf-8") if path.is_file() else ""
    lacking = [line for line in scaffold.GITIGNORE.splitlines() if line not in text.splitlines()]
    if not lacking:
        return None
    write_text(path, "\n".join([*text.splitlines(), *lacking, ""]))
    return path
