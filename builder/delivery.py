"""The road from a rehearsed notebook to a score: push, watch, fetch the output, submit; and `ship`, which goes the whole way.

Everything is recognised by the notebook's digest: a version that was pushed is not pushed again, a submission that was made is
not made again, whatever machine did it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import pipeline
from builder.errors import GateError, RunError, UserError
from builder.ledger.store import Ledger
from builder.pipeline import Kernel
from builder.workspace import write_json

if TYPE_CHECKING:
    from builder.plan.stage import Planned
    from builder.remote.client import Client
    from builder.remote.pushing import Pushed
    from builder.remote.submissions import Scored

SUBMISSION_WAIT_S = 12 * 3600.0
QUEUE_S = 6 * 3600.0  # a run may wait for a machine before its own clock starts


def server_of(client: Client) -> str:
    """What the ledger calls the server that `client` talks to."""
    return "kaggle.com" if client.environment.get("KAGGLE_API_ENVIRONMENT") != "LOCALHOST" else "localhost"


def push(kernel: Kernel, client: Client, *, wait: bool, cv: float | None = None, again: bool = False) -> Pushed:
    """Datasets first, each ready, then the kernel, then (with `wait`) the end of its run. What is there is not saved again."""
    from builder.remote import datasets as remote_datasets
    from builder.remote import kernels
    from builder.render.stage import digest_in

    started = time.perf_counter()
    # What is pushed must be what plan.json and the bundle say now: a stale notebook would run without its datasets.
    pipeline.render(kernel, pipeline.owner_in(kernel), check=True)
    digest = digest_in(kernel.folder)
    slugs: list[dict[str, Any]] = []
    for dataset in pipeline.datasets(kernel):
        uploaded = remote_datasets.ensure(client, pipeline.folder_of(kernel, dataset.slug), on_progress=kernel.report)
        slugs.append({"slug": uploaded.slug, "uploaded_bytes": uploaded.uploaded_bytes})
    pushed = kernels.push(client, kernel.folder, digest=digest, again=again)
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.add_push(server_of(client), pushed.kernel, pushed.version, digest, [one["slug"] for one in slugs], cv)
    record = {"kernel": pushed.kernel, "kernel_version": pushed.version, "datasets": slugs}
    if wait:
        end = wait_for(kernel, client, pushed.kernel, pushed.version)
        record["status"] = end
    kernel.done("push", started, fresh=pushed.created, digest=digest, record=record)
    return pushed


def wait_for(kernel: Kernel, client: Client, handle: str, version: int) -> str:
    """Wait for the end of a run. Raises RunError with the tail of its log when it failed."""
    from builder.remote import kernels

    limit = kernel.config.competition.limit
    end = kernels.wait(client, handle, version, limit_s=limit + QUEUE_S, run_limit_s=limit + 900, on_progress=kernel.report)
    if not end.ok:
        tail = "".join(entry["data"] for entry in kernels.logs(client, handle, version))
        error = kernels.failed(handle, version, end)
        lines = "\n    ".join(tail.splitlines()[-25:])
        raise RunError(error.what, found=f"{error.found or end.state}\n    {lines}", expected=error.expected, remedy=error.remedy)
    return end.state


def latest_push(kernel: Kernel, client: Client) -> tuple[str, int, str]:
    """(`owner/slug`, version, digest) of the rendered notebook on the server: from the ledger, else asked there."""
    from builder.remote import kernels
    from builder.render.stage import digest_in

    digest, handle = digest_in(kernel.folder), f"{pipeline.owner_in(kernel)}/{kernel.name}"
    with Ledger(kernel.workspace.ledger) as ledger:
        for row in ledger.pushes(server_of(client), handle):
            if row["digest"] == digest:
                return handle, int(row["version"]), digest
    found = kernels.find(client, handle, digest)
    if found is None:
        raise UserError(
            f"this notebook of {handle} was not pushed",
            found="no version with its digest",
            remedy=f"kkb push {kernel.name} --wait",
        )
    return handle, found, digest


def fetch_output(kernel: Kernel, client: Client) -> Path:
    """Output and log of the pushed version, in `.kkb/runs/<name>/v<N>/`."""
    from builder.remote import kernels

    started = time.perf_counter()
    handle, version, digest = latest_push(kernel, client)
    into = kernel.workspace.runs(kernel.name) / f"v{version}"
    done = into / f"{kernel.name}.log"
    fresh = not done.is_file() or digest not in _signed(into)
    if fresh:
        kernels.output(client, handle, version, into, on_progress=kernel.report)
        write_json(into / "kkb.json", {"digest": digest, "kernel": handle, "version": version})
    kernel.done("output", started, fresh=fresh, digest=digest, record={"folder": str(into)})
    return into


def _signed(folder: Path) -> str:
    path = folder / "kkb.json"
    return path.read_text("utf-8") if path.is_file() else ""


def submit(
    kernel: Kernel, client: Client, *, wait: bool, message: str = "", cv: float | None = None, again: bool = False
) -> Scored:
    """Submit the pushed version, once; with `wait`, until it is scored. A submission with this digest is not repeated."""
    from builder.remote import submissions

    started, config = time.perf_counter(), kernel.config.competition
    handle, version, digest = latest_push(kernel, client)
    server = server_of(client)
    said = message or f"{kernel.name} version {version}" + (f", CV {cv:.5f}" if cv is not None else "")
    made = submissions.submit(
        client,
        competition=config.slug,
        kernel=handle,
        version=version,
        file=config.file,
        message=said,
        digest=digest,
        again=again,
    )
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.add_submission(server, config.slug, made.ref, handle, version, digest, cv)
    scored = submissions.get(client, config.slug, made.ref)
    if wait and (scored is None or not scored.over):
        scored = submissions.wait(client, config.slug, made.ref, limit_s=SUBMISSION_WAIT_S, on_progress=kernel.report)
    scored = scored or submissions.Scored(made.ref, made.status, None, None, "", said, config.file, None)
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.set_score(
            server, config.slug, scored.ref, scored.status, public=scored.public, private=scored.private, error=scored.error
        )
    kernel.done("submit", started, fresh=made.created, digest=digest, record=scored.record())
    return scored


def refuse_unscored(scored: Scored) -> None:
    """Raise RunError when a submission ended without a score."""
    if scored.status == "ERROR":
        raise RunError(
            f"submission {scored.ref} failed",
            found=scored.error or "no reason given: Kaggle shows no log of a hidden rerun",
            expected="a score",
            remedy="rehearse it: kkb rehearse NAME shows what the rerun would have said",
        )


@dataclass(frozen=True)
class Shipped:
    """The end of the road: what `kkb ship` and `kkb demo` print."""

    kernel: str
    version: int
    cv: float
    rehearsed: float | None
    score: float | None
    label: str
    seconds: dict[str, float]
    fresh: dict[str, bool]
    paths: dict[str, str]
    plan: Planned

    def record(self) -> dict[str, Any]:
        """As `--json` prints it."""
        keys = ("kernel", "version", "cv", "rehearsed", "score", "label", "seconds", "fresh", "paths")
        return {key: getattr(self, key) for key in keys}


def ship(kernel: Kernel, client: Client) -> Shipped:
    """Every stale stage from train to score. Raises the first error on the way; the stages before it stay done."""
    from builder.remote.account import username

    owner = username(client)
    version = pipeline.train(kernel, resume=True)
    if version is None:
        raise UserError("the training is unfinished", remedy=f"kkb train {kernel.name} --resume")
    pipeline.export(kernel)
    planned = pipeline.plan(kernel)
    pipeline.bundle(kernel, owner)
    pipeline.render(kernel, owner)
    rehearsal = pipeline.rehearse(kernel, again=False)
    if rehearsal.label != "Scored":
        found = rehearsal.findings[0].message if rehearsal.findings else ""
        raise GateError(
            f"the rehearsal ended in '{rehearsal.label}', so nothing is pushed",
            found=found,
            file=rehearsal.folder,
            remedy=f"kkb rehearse {kernel.name}",
        )
    cv = float(planned.plan.expected["score"])
    pushed = push(kernel, client, wait=True, cv=cv)
    output = fetch_output(kernel, client)
    scored = submit(kernel, client, wait=True, cv=cv)
    refuse_unscored(scored)
    show = kernel.workspace.show
    paths = {
        "kernel": show(kernel.folder),
        "weights": show(version.folder),
        "plan": show(planned.path),
        "notebook": show(kernel.folder / "notebook.ipynb"),
        "datasets": show(kernel.workspace.datasets),
        "rehearsal": str(show(Path(rehearsal.folder))),
        "output": show(output),
        "log": show(output / f"{kernel.name}.log"),
        "ledger": show(kernel.workspace.ledger),
    }
    return Shipped(
        pushed.kernel, pushed.version, cv, rehearsal.score, scored.public, "Scored", kernel.seconds, kernel.fresh, paths, planned
    )
