"""kkb ci ...: what a workflow calls beside the stages (`kkb init` writes one that does)."""

from __future__ import annotations

import json as jsons
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from builder.cli import context
from builder.cli.app import Json, Name, app
from builder.cli.screen import Screen, number, print_json
from builder.workspace import Workspace

ci = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What a CI workflow calls; `kkb init` writes one.",
    pretty_exceptions_enable=False,
)
app.add_typer(ci, name="ci")

SUMMARY = "GITHUB_STEP_SUMMARY"
LIMIT_S = 20 * 60.0  # of a run with tiny weights


@ci.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(help="A kkb command and its arguments, after --.", show_default=False)],
    json: Json = False,
) -> None:
    """Run one kkb command, and say whose turn it is when it fails.

    That is yours, kkb's, or the infrastructure's; the exit code is the command's own. The verdict goes to the job's summary
    ($GITHUB_STEP_SUMMARY) when there is one.

    Example: kkb ci run -- push digits --no-wait
    """
    from builder.ci import verdict

    screen = Screen(as_json=json)
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *command, "--json"], stdout=subprocess.PIPE, check=False, encoding="utf-8"
    )
    record = _object(done.stdout)
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    if path := os.environ.get(SUMMARY):
        with Path(path).open("a", encoding="utf-8") as sink:
            sink.write(verdict.summary(command, code, record) + "\n")
    screen.say(f"ci: {verdict.verdict(code)}: {verdict.MEANINGS[verdict.verdict(code)]} (exit code {code})")
    if json:
        print_json({"command": command, "exit_code": code, "verdict": verdict.verdict(code), "result": record})
    elif line := verdict.annotation(command, code, record):
        typer.echo(line)
    raise typer.Exit(code)


def _object(text: str) -> dict[str, Any]:
    """The JSON object that a command printed; empty when it printed none."""
    try:
        found = jsons.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@ci.command()
def weights(
    name: Name,
    places: Annotated[
        list[Path] | None, typer.Argument(help="Folders or .tar files to take them from.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List datasets whose files are missing here, or restore them.

    Without places a handle a line; with places, their files are taken from there, by digest. Exit code 2 when places are given
    and some file is still missing; 0 otherwise.

    Example: kkb ci weights digits downloads
    """
    from builder import pipeline
    from builder.ci import weights as by_digest
    from builder.errors import UserError

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        datasets = pipeline.datasets(kernel)
        owner = pipeline.owner_in(kernel)
        restored = by_digest.restore(datasets, places) if places else []
        lacking = [one.handle(owner) for one in by_digest.missing(datasets)]
    if places:
        screen.say(f"ci: {len(restored)} datasets restored, {len(lacking)} still missing")
    elif not json:
        typer.echo("".join(f"{handle}\n" for handle in lacking), nl=False)
    screen.result({"restored": restored, "missing": lacking})
    if places and lacking:
        remedy = (
            "put SLUG.tar of each into the release (`tar -C .kkb/datasets -cf SLUG.tar SLUG`), or push once from where they are"
        )
        screen.refuse(
            UserError("weights are missing", found=", ".join(lacking), expected="their files, by sha256", remedy=remedy)
        )


@ci.command()
def tiny(
    name: Name,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the scratch folder, and say where it is.")] = False,
    json: Json = False,
) -> None:
    """Rehearse a kernel with tiny weights, on data made of noise.

    From training to a score, on a stand-in and in a folder of its own. Its kernel.toml and hooks.py count; its score says
    nothing. No credentials, no data and no GPU are needed.

    Example: kkb ci tiny digits
    """
    import shutil
    import tempfile

    screen, kernel = Screen(as_json=json), Workspace.find().kernel(name)
    folder = Path(tempfile.mkdtemp(prefix="kkb-tiny-"))
    try:
        record = _shipped_tiny(screen, kernel, folder)
    finally:
        if keep:
            screen.say(f"ci: kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    screen.result(record)


def _shipped_tiny(screen: Screen, kernel: Path, folder: Path) -> dict[str, Any]:
    """Every stage of the shrunk kernel, against a stand-in in `folder`, which is stopped again."""
    from builder import config as configs
    from builder import pipeline, shipping
    from builder.ci import tiny as shrinking
    from builder.standin import control

    config = configs.load(kernel)
    made = shrinking.make(kernel, folder)
    home = made.workspace.standin
    settings = config.competition
    control.add_competition(
        home,
        settings.slug,
        data=made.data,
        hidden=made.hidden,
        metric=made.metric,
        limit_s=LIMIT_S,
        submission_file=settings.file,
    )
    control.up(home)
    try:
        with screen.working() as report, context.door(made.workspace, standin=True) as client:
            small = pipeline.Kernel(made.workspace, kernel.name, report)
            _place_data(made.data, small.root)
            shipped = shipping.ship(small, client)
    finally:
        control.down(home)
    screen.say(f"ci: {kernel.name} with tiny weights: {shipped.label}, score {number(shipped.score)} (noise; it says nothing)")
    stages = [{"stage": stage, "seconds": round(spent, 1)} for stage, spent in shipped.seconds.items()]
    return {"kernel": kernel.name, "rehearsed": True, "label": shipped.label, "score": shipped.score, "stages": stages}


def _place_data(source: Path, target: Path) -> None:
    """The competition's files where the workspace has them; what `kkb fetch` would bring."""
    import shutil

    shutil.copytree(source, target, dirs_exist_ok=True)
