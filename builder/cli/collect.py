"""Bringing home what was launched: the runs of `kkb push --no-wait`, scores that were pending, and what nobody remembers.

A run is found by its digest, in the ledger or in the committed notebook, so any machine can collect what another one launched.
What was collected is not asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.cli import completion, context
from builder.cli.app import Json, Standin, app
from builder.cli.screen import Screen, number
from builder.workspace import Workspace

if TYPE_CHECKING:
    from builder.ledger.store import Ledger
    from builder.remote.client import Client

STAGE = "collect"
GONE = "GONE"  # the server knows no such version any more
MARK = re.compile(r"kkb digest `([0-9a-f]{64})`")
MOST_LOOKS = 50  # kernels of ours that may be orphans, newest first: each costs a request


@dataclass(frozen=True)
class Launched:
    """A run that somebody started, and how it is.

    Attributes:
        kernel: `owner/slug`.
        state: Of the run, as the server says it; `GONE` when there is no such version.
        failure: What a failed run means, in words; empty otherwise.
        remedy: What to do about it.
        folder: Where its output is; empty before it ended.
        fresh: Whether this call brought it home.
    """

    kernel: str
    version: int
    digest: str
    state: str = ""
    failure: str = ""
    remedy: str = ""
    folder: str = ""
    fresh: bool = False

    @property
    def name(self) -> str:
        """The kernel's folder in the workspace, if it is there."""
        return self.kernel.rpartition("/")[2]


@app.command()
def collect(
    name: Annotated[
        str, typer.Argument(help="One kernel; default: all.", show_default=False, autocompletion=completion.kernels)
    ] = "",
    orphans: Annotated[bool, typer.Option("--orphans/--no-orphans", help="Look for runs that nobody here knows.")] = True,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """Bring home the runs that were pushed with --no-wait.

    Their state, output and prices, and the scores that were pending. Runs are found by digest: in the ledger, and for the
    committed notebooks on the server, so a fresh checkout finds them, too. What was collected before is not fetched again. Exit
    code 5 when one of them failed.

    Example: kkb collect digits --standin
    """
    from builder.errors import RunError

    screen, workspace = Screen(as_json=json), Workspace.find()
    if name:
        workspace.kernel(name)
    with screen.working() as report, context.door(workspace, standin=standin) as client:
        targets = launched(workspace, client, name)
        runs = []
        for position, one in enumerate(targets):
            report(position, len(targets), f"{one.kernel} version {one.version}")
            runs.append(bring(workspace, client, one, screen))
        scores = scored(workspace, client, name)
        lost = unknown(workspace, client, targets) if orphans and not name else []
    _show(screen, runs, scores, lost)
    if lost and not standin:
        screen.say("  an orphan is stopped or deleted on its page: https://www.kaggle.com/code/OWNER/NAME")
    screen.result({"runs": [asdict(one) for one in runs], "submissions": scores, "orphans": lost})
    for one in runs:
        if one.fresh and one.failure:
            what = f"version {one.version} of '{one.kernel}' ended in {one.state}"
            screen.refuse(RunError(what, found=one.failure, expected="COMPLETE", remedy=one.remedy))
    for row in scores:
        if row["status"] == "ERROR":
            what = f"submission {row['ref']} of {row['kernel']} failed"
            screen.refuse(RunError(what, found=row["error"], expected="a score", remedy=f"kkb rehearse {name or 'NAME'}"))


def launched(workspace: Workspace, client: Client, name: str = "") -> list[Launched]:
    """Runs whose end nobody waited for: those of the ledger, and the newest versions that carry a committed notebook's digest."""
    from builder import delivery
    from builder.ledger.store import Ledger

    server = delivery.server_of(client)
    with Ledger(workspace.ledger) as ledger:
        pushes = [Launched(row["kernel"], int(row["version"]), row["digest"]) for row in ledger.pushes(server)]
        found = [one for one in pushes if not _waited_for(ledger, one)]
    known = {(one.kernel, one.version) for one in pushes}
    found += [one for one in _committed(workspace, client) if (one.kernel, one.version) not in known]
    return sorted((one for one in found if name in ("", one.name)), key=lambda one: (one.kernel, one.version))


def _waited_for(ledger: Ledger, one: Launched) -> bool:
    """Whether `kkb push --wait` told the end of this run already."""
    return any(record.get("status") for record in _records(ledger, one, "push"))


def _records(ledger: Ledger, one: Launched, stage: str) -> Iterator[dict[str, Any]]:
    """What the ledger holds about this very version, newest first."""
    import json

    for row in ledger.runs(one.name):
        if row["stage"] == stage and row["digest"] == one.digest:
            record = json.loads(row["record"])
            if (record.get("kernel"), record.get("kernel_version")) == (one.kernel, one.version):
                yield record


def _committed(workspace: Workspace, client: Client) -> Iterator[Launched]:
    """The kernels of the workspace whose rendered notebook is the newest version on the server."""
    from builder import pipeline
    from builder.errors import UserError
    from builder.remote import kernels
    from builder.render.stage import digest_in

    for folder in sorted(path.parent for path in workspace.kernels.glob("*/kernel.toml")):
        try:
            digest = digest_in(folder)
            handle = f"{pipeline.owner_in(pipeline.Kernel(workspace, folder.name))}/{folder.name}"
        except UserError:  # not rendered yet: nothing can have been pushed
            continue
        version = kernels.find(client, handle, digest)
        if version:
            yield Launched(handle, version, digest)


def bring(workspace: Workspace, client: Client, one: Launched, screen: Screen) -> Launched:
    """`one` with its state; when it is over for the first time, its output, log and prices are here and the ledger says so."""
    from builder import delivery
    from builder.errors import UserError
    from builder.ledger.store import Ledger
    from builder.remote import kernels

    server = delivery.server_of(client)
    with Ledger(workspace.ledger) as ledger:
        before = next((record for record in _records(ledger, one, STAGE) if record.get("server") == server), None)
    if before:
        told = ("state", "failure", "remedy", "folder")
        return replace(one, **{key: before[key] for key in told})
    try:
        now = kernels.status(client, one.kernel, one.version)
    except UserError:
        return replace(one, state=GONE)
    if not now.over:
        return replace(one, state=now.state)
    folder = _output(workspace, client, one, screen)
    failure, remedy = ("", "") if now.ok else _meaning(one, now.failure, folder)
    ended = replace(one, state=now.state, failure=failure, remedy=remedy, folder=workspace.show(folder), fresh=True)
    record = {"server": server, "kernel": one.kernel, "kernel_version": one.version, **asdict(ended)}
    with Ledger(workspace.ledger) as ledger:
        ledger.add_run(one.name, STAGE, one.digest, 0.0, record)
    return ended


def _output(workspace: Workspace, client: Client, one: Launched, screen: Screen) -> Path:
    """Output and log of a run that is over, where `kkb output` puts them, with the prices that it measured."""
    from builder import delivery, pipeline
    from builder.remote import kernels
    from builder.workspace import write_json

    into = workspace.runs(one.name) / f"v{one.version}"
    kernels.output(client, one.kernel, one.version, into)
    write_json(into / "kkb.json", {"digest": one.digest, "kernel": one.kernel, "version": one.version})
    if (workspace.kernels / one.name / "kernel.toml").is_file():
        kernel = pipeline.Kernel(workspace, one.name)
        delivery.keep_prices(kernel, into, real=delivery.server_of(client) == delivery.KAGGLE)
        for note in kernel.notes:
            screen.say(f"note: {note}")
    return into


def _meaning(one: Launched, failure: str, folder: Path) -> tuple[str, str]:
    """What a failed run means, by its log, and what to do about it."""
    from builder.remote import diagnosis
    from builder.workspace import read_json

    log = folder / f"{one.name}.log"
    found = diagnosis.of_log(read_json(log, remedy="kkb collect") if log.is_file() else [])
    first = next(text for text in (found.error, failure, "it did not complete") if text)
    return f"{first}; {found.meaning}", f"{found.remedy}; the log: {log}"


def scored(workspace: Workspace, client: Client, name: str = "") -> list[dict[str, Any]]:
    """The submissions that were pending in the ledger, with what the server says now."""
    from builder import delivery
    from builder.ledger.store import Ledger
    from builder.remote import submissions

    server, found = delivery.server_of(client), []
    with Ledger(workspace.ledger) as ledger:
        rows = [row for row in ledger.submissions(server) if row["status"] == submissions.PENDING]
        for row in rows:
            if name not in ("", row["kernel"].rpartition("/")[2]):
                continue
            now = submissions.get(client, row["competition"], row["ref"])
            if now is None:
                continue
            ledger.set_score(
                server, row["competition"], now.ref, now.status, public=now.public, private=now.private, error=now.error
            )
            told = {"ref": now.ref, "kernel": row["kernel"], "kernel_version": row["version"], "status": now.status}
            found.append({**told, "score": now.public, "error": now.error})
    return found


def unknown(workspace: Workspace, client: Client, targets: Iterable[Launched]) -> list[dict[str, Any]]:
    """Kernels of ours on the server whose newest version carries a digest that neither ledger nor workspace knows."""
    from builder import delivery
    from builder.ledger.store import Ledger
    from builder.remote import kernels, uses
    from builder.remote.account import username

    me = username(client).lower()
    with Ledger(workspace.ledger) as ledger:
        digests = {row["digest"] for row in ledger.pushes(delivery.server_of(client))} | {one.digest for one in targets}
    found = []
    mine = [handle for handle in uses.versions(client) if handle.partition("/")[0].lower() == me]
    for handle in mine[:MOST_LOOKS]:
        newest = kernels.latest(client, handle)
        mark = MARK.search(newest.source) if newest else None
        if newest and mark and mark[1] not in digests:
            state = kernels.status(client, handle, newest.version).state
            found.append({"kernel": handle, "kernel_version": newest.version, "digest": mark[1], "state": state})
    return found


def _show(screen: Screen, runs: list[Launched], scores: list[dict[str, Any]], lost: list[dict[str, Any]]) -> None:
    rows = [(one.kernel, one.version, one.state, one.folder, "" if one.fresh else "as before") for one in runs]
    if rows:
        screen.table("runs", ("kernel", "version", "state", "output", ""), rows, right=(1,))
    for row in scores:
        screen.say(f"submission {row['ref']} of {row['kernel']}: {row['status']}, public score {number(row['score'])}")
    for row in lost:
        screen.say(f"orphan: {row['kernel']} version {row['kernel_version']} is {row['state']}, and nobody here pushed it")
    fresh = sum(one.fresh for one in runs)
    going = sum(not one.folder and one.state != GONE for one in runs)
    screen.say(f"collect: {fresh} of {len(runs)} runs came home, {going} still running, {len(lost)} orphans")
