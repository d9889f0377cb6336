"""kkb standin ...: the local Kaggle."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, app
from builder.cli.screen import Screen, print_json
from builder.workspace import Workspace

standin = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The stand-in: a local Kaggle that the official client talks to.",
    pretty_exceptions_enable=False,
)
app.add_typer(standin, name="standin")


def _home() -> Path:
    return Workspace.find().standin


@standin.command()
def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: the last one, or a free one.")
    ] = None,
    json: Json = False,
) -> None:
    """Start the stand-in in the background.

    Example: kkb standin up --port 8090
    """
    from builder.standin import control

    screen = Screen(as_json=json)
    running = control.up(_home(), port)
    screen.say(f"stand-in: {running.pages} (user {running.username}, process {running.pid}); stop it with: kkb standin down")
    screen.result({name: getattr(running, name) for name in ("url", "pages", "port", "pid", "username")})


@standin.command()
def down(json: Json = False) -> None:
    """Stop the stand-in; what it holds stays on disk.

    Example: kkb standin down
    """
    from builder.standin import control

    screen = Screen(as_json=json)
    stopped = control.down(_home())
    screen.say("stand-in: stopped" if stopped else "stand-in: it did not run")
    screen.result({"stopped": stopped})


@standin.command()
def status(json: Json = False) -> None:
    """Say whether the stand-in runs, and what it holds.

    Example: kkb standin status
    """
    from builder.standin import control

    screen = Screen(as_json=json)
    found = control.status(_home())
    server = found["server"]
    screen.say(
        f"stand-in: {server['pages']} (user {server['username']})"
        if server
        else "stand-in: not running; start it with: kkb standin up"
    )
    rows = [(c["slug"], c["metric"], f"{c['limit_s'] / 60:.0f} min", c["daily"]) for c in found["competitions"]]
    screen.table("", ("competition", "metric", "limit", "submissions a day"), rows, right=(2, 3))
    held = {"datasets": found["datasets"], **{f"kernels {k}": v for k, v in found["kernels"].items()}}
    held.update({f"submissions {k}": v for k, v in found["submissions"].items()})
    screen.say("  " + ", ".join(f"{key.lower()}: {value}" for key, value in held.items()))
    screen.result(found)


@standin.command("env")
def environment(json: Json = False) -> None:
    """Print the variables that lead programs to the stand-in.

    As shell lines, for `eval`.

    Example: env $(kkb standin env | sed 's/^export //') kaggle competitions list
    """
    from builder.standin import control

    found = control.environment(_home())
    if json:
        print_json(found)
        return
    for key, value in found.items():
        typer.echo(f"export {key}={shlex.quote(value)}")


@standin.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def execute(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.", show_default=False)],
) -> None:
    """Run one command that talks to the stand-in.

    The exit code is the command's own.

    Example: kkb standin exec -- kaggle kernels status local/digits
    """
    from builder.errors import UserError

    workspace = Workspace.find()
    environment = context.environment(workspace, standin=True)
    # A `kaggle` beside this very kkb counts, even when its virtual environment is not active.
    environment["PATH"] = os.pathsep.join([str(Path(os.sys.executable).parent), environment.get("PATH", "")])  # type: ignore[attr-defined]
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    except FileNotFoundError:
        raise UserError("no such command", found=command[0], remedy="check the spelling, or give its full path") from None
    raise typer.Exit(code if code >= 0 else 128 - code)


@standin.command("add-competition")
def add_competition(
    slug: Annotated[str, typer.Argument(help="The competition's slug.", show_default=False)],
    data: Annotated[Path, typer.Option(help="Zip or folder with what competitors see.")],
    hidden: Annotated[Path, typer.Option(help="Zip or folder with the full test set and solution.csv.")],
    metric: Annotated[str, typer.Option(help="A metric of builder/metrics.py.")] = "accuracy",
    limit: Annotated[str, typer.Option(help="Run time limit, such as 9h or 20min.")] = "9h",
    daily: Annotated[int, typer.Option(min=1, help="Submissions a day.")] = 5,
    title: Annotated[str, typer.Option(help="Its title; default: from the slug.")] = "",
    kind: Annotated[str, typer.Option(help="What it takes: notebook, csv or any.")] = "notebook",
    machine: Annotated[str, typer.Option(help="Where its reruns run: kkb machine list.")] = "cpu",
    file: Annotated[str, typer.Option(help="Name of the submission file.")] = "submission.csv",
    json: Json = False,
) -> None:
    """Add a code competition, or replace its data.

    Example: kkb standin add-competition photos --data X.zip --hidden Y.zip --metric accuracy --limit 20min --daily 5
    """
    from builder.cli.stages import _seconds
    from builder.standin import control

    screen = Screen(as_json=json)
    limit_s = _seconds(limit) or 9 * 3600.0
    added = control.add_competition(
        _home(),
        slug,
        data=data,
        hidden=hidden,
        metric=metric,
        limit_s=limit_s,
        daily=daily,
        title=title or None,
        machine=machine,
        submission_file=file,
        kind=kind,
    )
    screen.say(f"stand-in: competition {slug} is there; next: kkb new NAME --competition {slug}")
    screen.result(added)


@standin.command()
def fault(
    target: Annotated[
        str, typer.Argument(help="An API method (SaveKernel, ...), upload, download, dataset, kernel, submission.")
    ] = "",
    kind: Annotated[
        str, typer.Argument(help="429, 500, 503, html, error, drop-before, drop-after, slow, cut, failed, stuck.")
    ] = "",
    times: Annotated[int, typer.Option(help="How often; -1 for always.")] = 1,
    skip: Annotated[int, typer.Option(min=0, help="Good calls before it strikes.")] = 0,
    file: Annotated[Path | None, typer.Option(help="A JSON list of faults instead.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget all faults that wait.")] = False,
    json: Json = False,
) -> None:
    """Make the stand-in misbehave, to test your pipeline.

    Example: kkb standin fault SaveKernel drop-after --times 1
    """
    from builder.errors import UserError
    from builder.standin import control

    screen, home = Screen(as_json=json), _home()
    if clear:
        count = control.clear_faults(home)
        screen.say(f"stand-in: {count} faults forgotten")
        screen.result({"cleared": count})
        return
    if not file and not (target and kind):
        raise UserError("which fault?", expected="TARGET and KIND, or --file, or --clear", remedy="kkb standin fault --help")
    numbers = control.load_faults(home, file) if file else [control.set_fault(home, target, kind, times=times, skip=skip)]
    screen.say(f"stand-in: {len(numbers)} faults wait; forget them with: kkb standin fault --clear")
    screen.result({"faults": numbers})
