"""The stages on Kaggle: fetch, push, status, logs, output, submit, ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Name, Standin, app
from builder.cli.screen import Screen, number, size

if TYPE_CHECKING:
    from builder.shipping import Shipped

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is over.")]


@app.command()
def fetch(name: Name, standin: Standin = False, json: Json = False) -> None:
    """Download the competition's files, and fill in kernel.toml.

    What it leaves open is proposed from what the files say.

    Example: kkb fetch photos --standin
    """
    from builder import config, scaffold
    from builder.remote import competitions

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        settings = config.load(kernel.folder)
        into = settings.data_root(kernel.workspace.root)
        fetched = competitions.fetch(client, settings.competition.slug, into, on_progress=kernel.report)
        proposal = scaffold.complete(kernel.folder, settings, into)
    where = kernel.workspace.show(into)
    what = f"{len(fetched.files)} files, {size(fetched.downloaded_bytes)}" if fetched.changed else "up to date"
    screen.say(f"fetch: {where} ({what})")
    if proposal:
        screen.say(f"fetch: kernels/{name}/kernel.toml now says what the files say; read it before you train:")
        show_proposal(screen, proposal)
    show_ways(screen, kernel.workspace.show(kernel.folder / config.FILE), name, context.STANDIN if standin else "")
    screen.result(fetched.record())


def show_ways(screen: Screen, path: str, name: str, reached: str) -> None:
    """How to go on from a kernel.toml that says what the files say."""
    screen.say(f"next: kkb ship {name}{reached}, which trains and goes on to a score")
    screen.say(f"  Weights of your own? In {path}, under [[model]], name the network (backbone, or in its place")
    screen.say('  build = "models.py:FUNCTION") and its files; then: kkb adopt ' + name)
    screen.say('    checkpoints = "FOLDER/effb0-f{fold}.pth"   # one file, or one for each fold')
    screen.say('    folds = "FOLDER/folds.csv"                 # columns id and fold: the rows that each did not see')


def show_proposal(screen: Screen, proposal: object) -> None:
    """What the files suggest, as a table that a person can confirm."""
    from dataclasses import asdict, is_dataclass

    if is_dataclass(proposal) and not isinstance(proposal, type):
        told = {key: ", ".join(value) if isinstance(value, tuple) else value for key, value in asdict(proposal).items()}
        screen.table("", ("key", "proposed"), [(key, value) for key, value in told.items() if value])


@app.command()
def preflight(
    name: Name,
    offline: Annotated[bool, typer.Option("--offline", help="Only what can be seen at home; needs no credentials.")] = False,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Check all that would make the push or the rerun fail.

    Each finding comes with its remedy. Exit code 3 when something must be fixed.

    Example: kkb preflight digits --offline
    """
    import contextlib

    from builder import delivery
    from builder.errors import GateError

    screen = Screen(as_json=json)
    with contextlib.ExitStack() as stack:
        kernel = stack.enter_context(context.working(screen, name))
        client = None if offline else stack.enter_context(context.door(kernel.workspace, standin=standin))
        findings = delivery.preflight(kernel, client)
    for finding in findings:
        screen.say(f"{finding.severity:10} {finding.code}: {finding.message}\n           to do: {finding.remedy}")
        screen.say(f"           why: {finding.fact}")
    urgent = [finding for finding in findings if finding.severity == "must-fix"]
    screen.say(f"preflight: {len(findings)} findings, {len(urgent)} must be fixed")
    if not urgent:
        screen.say(f"next: kkb push {name}{context.STANDIN if standin else context.toward(kernel.workspace)}")
    screen.result({"ok": not urgent, "findings": [finding.record() for finding in findings]})
    if urgent:
        error = GateError(
            f"preflight refuses {name}", found=", ".join(finding.code for finding in urgent), remedy=urgent[0].remedy
        )
        screen.refuse(error)


@app.command()
def push(
    name: Name,
    wait: Wait = True,
    again: Annotated[bool, typer.Option("--again", help="Save a new version even when this notebook is there.")] = False,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Upload what is new, save the kernel, and watch its run.

    Example: kkb push digits --wait
    """
    from builder import delivery

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        pushed, uploads = delivery.push(kernel, client, wait=wait, again=again)
    state = "COMPLETE" if wait else "started"
    fresh = "" if kernel.fresh["push"] else " (up to date: this notebook was there)"
    screen.say(f"push: {pushed.kernel} version {pushed.version}, {state}{fresh}")
    if not standin:
        screen.say(f"  {pushed.url}")
    reached = context.STANDIN if standin else ""
    screen.say(f"next: kkb submit {name}{reached}" if wait else f"  come back with: kkb status {name}{reached}")
    record = {"kernel": pushed.kernel, "kernel_version": pushed.version, "status": state, "datasets": uploads}
    screen.result({**record, "fresh": kernel.fresh["push"]})


@app.command()
def status(name: Name, standin: Standin = False, json: Json = False) -> None:
    """Say what the pushed version is doing.

    Example: kkb status digits
    """
    from builder import delivery
    from builder.remote import kernels

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        handle, version, digest = delivery.latest_push(kernel, client)
        now = kernels.status(client, handle, version)
    screen.say(f"status: {handle} version {version} is {now.state}{': ' + now.failure if now.failure else ''}")
    screen.result({"kernel": handle, "kernel_version": version, "digest": digest, **now.record()})


@app.command()
def logs(name: Name, standin: Standin = False, json: Json = False) -> None:
    """Print the log of the pushed version.

    Example: kkb logs digits
    """
    from builder import delivery
    from builder.remote import kernels

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        handle, version, _ = delivery.latest_push(kernel, client)
        entries = kernels.logs(client, handle, version)
    if json:
        screen.result({"kernel": handle, "kernel_version": version, "log": entries})
    else:
        typer.echo("".join(entry["data"] for entry in entries), nl=False)


@app.command()
def output(name: Name, standin: Standin = False, json: Json = False) -> None:
    """Download the output and the log of the pushed version.

    Example: kkb output digits
    """
    from builder import delivery

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        folder = delivery.fetch_output(kernel, client)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    fresh = "" if kernel.fresh["output"] else "up to date, "
    screen.say(f"output: {fresh}{kernel.workspace.show(folder)}/ ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})")
    screen.result({"folder": str(folder), "files": names, "fresh": kernel.fresh["output"]})


@app.command()
def submit(
    name: Name,
    wait: Wait = True,
    message: Annotated[str, typer.Option("--message", "-m", help="What the list of submissions shows.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Submit even when this notebook was submitted.")] = False,
    only_if_better: Annotated[
        bool, typer.Option("--only-if-better", help="Refuse unless the CV beats every earlier one.")
    ] = False,
    reserve: Annotated[int, typer.Option(min=0, help="Submissions of today to keep.")] = 0,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Submit exactly the pushed version, once; wait for its score.

    Example: kkb submit digits -m "two models, three folds"
    """
    from builder import delivery
    from builder.errors import RunError

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        scored = delivery.submit(
            kernel, client, wait=wait, message=message, again=again, reserve=reserve, only_if_better=only_if_better
        )
    fresh = "" if kernel.fresh["submit"] else " (up to date: this notebook was submitted before)"
    screen.say(f"submit: {scored.ref} is {scored.status}, public score {number(scored.public)}{fresh}")
    screen.result(
        {
            "ref": scored.ref,
            "status": scored.status,
            "score": scored.public,
            "error": scored.error,
            "fresh": kernel.fresh["submit"],
        }
    )
    try:
        delivery.refuse_unscored(scored)
    except RunError as error:
        screen.refuse(error)


@app.command()
def ship(name: Name, standin: Standin = False, json: Json = False) -> None:
    """Do every stale stage, from training or adopting to a score.

    Example: kkb ship photos --standin
    """
    from builder import shipping

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel, context.door(kernel.workspace, standin=standin) as client:
        shipped = shipping.ship(kernel, client)
    show_shipped(screen, shipped)
    screen.result(shipped.record())


def show_shipped(screen: Screen, shipped: Shipped) -> None:
    """The closing tables of `ship` and `demo`."""
    rows = [(stage, f"{spent:.1f}", "" if shipped.fresh[stage] else "up to date") for stage, spent in shipped.seconds.items()]
    rows.append(("total", f"{sum(shipped.seconds.values()):.1f}", ""))
    screen.table("stages", ("stage", "seconds", ""), rows, right=(1,))
    expected = shipped.plan.plan.expected
    scores = [
        ("CV (out of fold)", number(shipped.cv), f"90% interval {number(expected['low'], 4)} to {number(expected['high'], 4)}"),
        ("rehearsed", number(shipped.rehearsed), "training rows, each by models that did not see it"),
        ("submitted", number(shipped.score), f"{shipped.kernel} version {shipped.version}, {shipped.label}"),
    ]
    screen.table("scores", (shipped.plan.plan.metric, "", ""), scores, right=(1,))
    screen.table("files", ("what", "where"), list(shipped.paths.items()))
