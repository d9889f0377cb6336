"""kkb prune: what no kernel uses any more, on Kaggle and in the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Standin, app
from builder.cli.screen import Screen, size
from builder.workspace import Workspace

if TYPE_CHECKING:
    from builder.bundle.prune import Use, Verdict
    from builder.progress import Report
    from builder.remote.client import Client

Pushed = tuple[str, int]  # `owner/slug` of a kernel, and one of its versions
Mounts = dict[Pushed, list[str]]  # to the handles of the datasets that it mounts
Slugs = Annotated[list[str] | None, typer.Argument(help="Datasets that older versions use, and that may go all the same.")]


@app.command()
def prune(
    slugs: Slugs = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed as going; without it, nothing is removed.")] = False,
    local: Annotated[bool, typer.Option("--local", help="Look at the workspace only, without network.")] = False,
    standin: Standin = False,
    json: Json = False,
) -> None:
    """List what no kernel uses any more; --yes removes it.

    Datasets on Kaggle, and folders here. What a submission to an open competition may mount always stays. What older versions
    mount stays unless it is named. Kernels of team-mates can't be seen.

    Example: kkb prune --yes
    """
    from builder.bundle import folders
    from builder.bundle import prune as pruning

    screen, workspace = Screen(as_json=json), Workspace.find()
    named, verdicts, removed = list(slugs or []), [], []
    with screen.working() as report:
        needed, notes = _needed(workspace)
        leftovers = pruning.leftovers(workspace.datasets, needed)
        if not local:
            with context.door(workspace, standin=standin) as client:
                verdicts = _remote(workspace, client, named, report)
                pruning.refuse(verdicts, named)
                if yes:
                    removed = _remove(client, [one.slug for one in verdicts if one.removable], report)
        swept = pruning.sweep(leftovers, folders.lock_of(workspace)) if yes else []
    for note in notes:
        screen.say(f"note: {note}")
    going = "removed" if yes else "would go"
    rows = [(one.slug, size(one.bytes), going if one.removable else "stays", one.why) for one in verdicts]
    for one in leftovers:
        state = going if one in swept or not yes else "stays: busy"
        rows.append((workspace.show(one.path), size(one.bytes), state, one.why))
    if rows:
        screen.table("", ("what", "size", "", "why"), rows, right=(1,))
    else:
        screen.say("prune: there is nothing of ours to look at")
    if not yes and (leftovers or any(one.removable for one in verdicts)):
        screen.say("  nothing was removed; to do it: the same command with --yes")
    local_rows = [{**one.record(), "removed": one in swept} for one in leftovers]
    remote_rows = [{**one.record(), "removed": one.slug in removed} for one in verdicts]
    screen.result({"dry_run": not yes, "remote": remote_rows, "local": local_rows})


def _needed(workspace: Workspace) -> tuple[set[str] | None, list[str]]:
    """Slugs that the plans of the workspace use; None, with a reason, when one of them can't be told."""
    from builder import pipeline
    from builder.errors import KkbError

    found: set[str] = set()
    for plan in sorted(workspace.kernels.glob("*/plan.json")):
        try:
            found |= {dataset.slug for dataset in pipeline.datasets(pipeline.Kernel(workspace, plan.parent.name))}
        except KkbError as error:
            return None, [f"dataset folders stay, as what {plan.parent.name} uses can't be told: {error.what}"]
    return found, []


def _remote(workspace: Workspace, client: Client, named: Sequence[str], report: Report) -> list[Verdict]:
    """A judgement of each of our datasets on Kaggle. What the ledger does not know is asked there."""
    from dataclasses import replace

    from builder.bundle import prune as pruning
    from builder.bundle.record import MANIFEST
    from builder.errors import UserError
    from builder.remote import competitions, datasets
    from builder.remote.account import username

    owner, closed = username(client), {}

    def over(competition: str) -> bool:
        if competition not in closed:
            try:
                closed[competition] = competitions.over(client, competition)
            except UserError:  # one that we can't see any more may still rerun what we submitted
                closed[competition] = False
        return closed[competition]

    held = [pruning.Held(one.slug, one.title, one.bytes) for one in datasets.list_own(client)]
    mounts, submitted = _ledger(workspace, client)
    uses = _uses(mounts, submitted)
    verdicts = pruning.judge(held, uses, over, named)
    if any(one.removable for one in verdicts):
        uses += _on_kaggle(client, mounts, report)
        if named:
            doubts = {kernel: _doubts(workspace, client, kernel) for kernel in {use.kernel for use in uses}}
            uses = [replace(use, competitions=use.competitions | doubts[use.kernel]) for use in uses]
        verdicts = pruning.judge(held, uses, over, named)
    return [
        replace(one, removable=False, why=f"holds no {MANIFEST}, so it is not ours")
        if one.removable and MANIFEST not in datasets.files(client, owner, one.slug)
        else one
        for one in verdicts
    ]


def _uses(mounts: Mounts, submitted: Mapping[Pushed, set[str]]) -> list[Use]:
    from builder.bundle.changes import slug_of
    from builder.bundle.prune import Use

    return [
        Use(kernel, version, frozenset(map(slug_of, handles)), frozenset(submitted.get((kernel, version), ())))
        for (kernel, version), handles in mounts.items()
    ]


def _ledger(workspace: Workspace, client: Client) -> tuple[Mounts, dict[Pushed, set[str]]]:
    """What the pushed versions that the ledger knows mount, and the competitions that it knows them submitted to."""
    from json import loads

    from builder.delivery import server_of
    from builder.ledger.store import Ledger

    server = server_of(client)
    with Ledger(workspace.ledger) as ledger:
        pushes, submissions = ledger.pushes(server), ledger.submissions(server)
    submitted: dict[Pushed, set[str]] = {}
    for row in submissions:
        submitted.setdefault((row["kernel"], row["version"]), set()).add(row["competition"])
    return {(row["kernel"], row["version"]): loads(row["datasets"]) for row in pushes}, submitted


def _on_kaggle(client: Client, known: Mounts, report: Report) -> list[Use]:
    """Those versions of our kernels that only Kaggle knows; where they were submitted it does not tell."""
    from builder.bundle.changes import slug_of
    from builder.bundle.prune import UNTOLD, Use
    from builder.remote import uses

    versions = uses.versions(client)
    every = [(kernel, number) for kernel, newest in versions.items() for number in range(1, newest + 1)]
    asked = [one for one in every if one not in known]
    found = []
    for done, (kernel, number) in enumerate(asked):
        report(done, len(asked), "asking what kernels mount")
        found.append(Use(kernel, number, frozenset(map(slug_of, uses.mounted(client, kernel, number))), frozenset({UNTOLD})))
    return found


def _doubts(workspace: Workspace, client: Client, kernel: str) -> frozenset[str]:
    """Competitions to which a version of `kernel` may have been submitted without the ledger's knowledge: in a browser, say."""
    from builder import config
    from builder.bundle.prune import UNTOLD
    from builder.delivery import server_of
    from builder.errors import UserError
    from builder.ledger.store import Ledger
    from builder.remote import scores

    try:
        competition = config.load(workspace.kernel(kernel.rpartition("/")[2])).competition.slug
    except UserError:
        return frozenset({UNTOLD})
    with Ledger(workspace.ledger) as ledger:
        told = {row["ref"] for row in ledger.submissions(server_of(client), competition)}
    try:
        missing = any(one.ref not in told for one in scores.listing(client, competition))
    except UserError:
        missing = True
    return frozenset({competition}) if missing else frozenset()


def _remove(client: Client, slugs: Sequence[str], report: Report) -> list[str]:
    from builder.remote import datasets
    from builder.remote.account import username

    owner = username(client)
    for done, slug in enumerate(slugs):
        report(done, len(slugs), f"removing {slug}")
        datasets.delete(client, owner, slug)
    return list(slugs)
