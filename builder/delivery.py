"""The road from a rehearsed notebook to a score: preflight, push, watch, fetch the output, submit.

Everything is recognised by the notebook's digest: a version that was pushed is not pushed again, a submission that was made is
not made again, whatever machine did it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import machines, pipeline
from builder.bundle.record import DATASET, MODEL
from builder.errors import GateError, RunError, UserError
from builder.ledger.store import Ledger
from builder.pipeline import Kernel
from builder.workspace import read_json, write_json

if TYPE_CHECKING:
    from builder.bundle.changes import Change
    from builder.remote.client import Client
    from builder.remote.preflight import Finding
    from builder.remote.pushing import Pushed
    from builder.remote.runs import Status
    from builder.remote.submissions import Scored

SUBMISSION_WAIT_S = 12 * 3600.0
KAGGLE, LOCALHOST = "kaggle.com", "localhost"  # servers, as the ledger calls them
GRACE_S = 900.0  # beyond its limit, before a run that says RUNNING is not believed
QUEUE_S = 6 * 3600.0  # a run may wait for a machine before its own clock starts


def server_of(client: Client) -> str:
    """What the ledger calls the server that `client` talks to."""
    return KAGGLE if client.environment.get("KAGGLE_API_ENVIRONMENT") != "LOCALHOST" else LOCALHOST


def upload(kernel: Kernel, client: Client) -> list[dict[str, Any]]:
    """Every dataset of the kernel on the server, each ready; per dataset its `slug` and `uploaded_bytes`."""
    from builder.remote import datasets as remote_datasets
    from builder.remote import models as remote_models

    sent = []
    for dataset in {one.slug: one for one in pipeline.datasets(kernel)}.values():  # two members may have equal content
        ensure = {DATASET: remote_datasets.ensure, MODEL: remote_models.ensure}[dataset.carrier]
        uploaded = ensure(client, pipeline.folder_of(kernel, dataset.slug), on_progress=kernel.report)
        sent.append({"slug": uploaded.slug, "uploaded_bytes": uploaded.uploaded_bytes})
    return sent


def push(kernel: Kernel, client: Client, *, wait: bool, again: bool = False) -> tuple[Pushed, list[dict[str, Any]]]:
    """Datasets first, each ready, then the kernel, then (with `wait`) the end of its run. What is there is not saved again.

    Returns the saved version, and per dataset its `slug` and `uploaded_bytes`.
    """
    from builder.remote import kernels
    from builder.render.stage import digest_in

    started = time.perf_counter()
    # What is pushed must be what plan.json and the bundle say now: a stale notebook would run without its datasets.
    pipeline.render(kernel, pipeline.owner_in(kernel), check=True)
    digest = digest_in(kernel.folder)
    slugs = upload(kernel, client)
    pushed = kernels.push(client, kernel.folder, digest=digest, again=again)
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.add_push(
            server_of(client), pushed.kernel, pushed.version, digest, [one["slug"] for one in slugs], predicted_score(kernel)
        )
    record = {"kernel": pushed.kernel, "kernel_version": pushed.version, "datasets": slugs}
    if wait:
        end = wait_for(kernel, client, pushed.kernel, pushed.version)
        record["status"] = end
    kernel.done("push", started, fresh=pushed.created, digest=digest, record=record)
    return pushed, slugs


def changes(kernel: Kernel, handle: str, server: str) -> tuple[int | None, list[Change]]:
    """The version of `handle` that was pushed last from here (None for none), and how the bundle differs from its datasets."""
    from builder.bundle import changes as changing

    with Ledger(kernel.workspace.ledger) as ledger:
        last = next(iter(ledger.pushes(server, handle)), None)
    pushed = json.loads(last["datasets"]) if last else []
    return last["version"] if last else None, changing.diff(pipeline.datasets(kernel), pushed, kernel.workspace.datasets)


def wait_for(kernel: Kernel, client: Client, handle: str, version: int) -> str:
    """Wait for the end of a run, showing the last line of its log. Raises RunError with a diagnosis when it failed."""
    from builder.remote import kernels

    last = ""

    def told(entries: Sequence[Mapping[str, Any]]) -> None:
        nonlocal last
        lines = "".join(str(entry["data"]) for entry in entries).split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), last)

    def waited(done: float, total: float | None, text: str) -> None:
        kernel.report(done, total, f"{text}, {last}" if last else text)

    limit = kernel.config.competition.limit
    end = kernels.wait(
        client, handle, version, limit_s=limit + QUEUE_S, run_limit_s=limit + GRACE_S, on_progress=waited, on_log=told
    )
    if not end.ok:
        raise _diagnosed(kernel, client, handle, version, end)
    return end.state


def _diagnosed(kernel: Kernel, client: Client, handle: str, version: int, end: Status) -> RunError:
    """A failed run as an error that shows the failing cell, the end of the log, and what it means."""
    from builder.remote import diagnosis, kernels

    error = kernels.failed(handle, version, end)
    found = diagnosis.of_log(kernels.logs(client, handle, version))
    parts = [found.error or error.found or end.state]
    parts += [f"in the cell:\n{found.cell}"] if found.cell else []
    parts += [f"the log ends:\n{found.tail}"] if found.tail else []
    shown = "\n".join(parts).replace("\n", "\n    ")
    return RunError(
        error.what, found=shown, expected=f"COMPLETE; {found.meaning}", remedy=f"{found.remedy}; kkb logs {kernel.name}"
    )


def latest_push(kernel: Kernel, client: Client) -> tuple[str, int, str]:
    """(`owner/slug`, version, digest) of the rendered notebook on the server: asked there, because memories can be wrong.

    The server tells only its newest version's source, so an older one is found in the ledger.
    """
    from builder.remote import kernels
    from builder.render.stage import digest_in

    digest, handle = digest_in(kernel.folder), f"{pipeline.owner_in(kernel)}/{kernel.name}"
    found = kernels.find(client, handle, digest)
    if found is None:
        with Ledger(kernel.workspace.ledger) as ledger:
            pushes = ledger.pushes(server_of(client), handle)
        found = next((int(row["version"]) for row in pushes if row["digest"] == digest), None)
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
    keep_prices(kernel, into, real=server_of(client) == KAGGLE)
    kernel.done("output", started, fresh=fresh, digest=digest, record={"folder": str(into)})
    return into


def keep_prices(kernel: Kernel, folder: Path, *, real: bool) -> None:
    """Store what the commit run measured (`run.json` in `folder`) beside the exports: the next `kkb plan` counts with it.

    Args:
        real: It ran on Kaggle's machine, not on what stands in for it.
    """
    from builder.export import record
    from builder.export.record import Prices, UnitPrice
    from builder.plan.members import STANDIN
    from builder.shown import size_of
    from builder.train import record as trained

    path = folder / "run.json"
    if not path.is_file():  # a run that failed early, or a notebook that is not ours
        return
    machine = kernel.config.competition.machine if real else STANDIN
    run = read_json(path, remedy=f"kkb output {kernel.name}")
    kernel.notes += [str(note) for note in run.get("notes", ())]
    measured: dict[str, dict[str, UnitPrice]] = {}
    for price in run.get("prices", ()):
        version, _, model = str(price["member"]).partition(":")
        base = trained.load(kernel.workspace.weights(kernel.name) / version).model(model).input
        key = record.priced_as(price["file"], size_of(price["view"], base))
        measured.setdefault(version, {})[key] = UnitPrice(
            backend=price["backend"],
            batch=price["batch"],
            ms_per_sample=price["seconds_per_sample"] * 1e3,
            load_ms=price["load_s"] * 1e3,
            first_batch_ms=price["first_batch_s"] * 1e3,
            peak_mb=price["peak_mb"],
        )
    decode = {key: seconds * 1e3 for key, seconds in run.get("decode", {}).items()}
    try:
        exports = pipeline.current_exports(kernel)
    except UserError:  # kernel.toml has moved on since the push: nobody will ask for these prices
        return
    for version, export in exports.items():
        if version in measured:
            found = Prices(machine, run.get("machine", {}), measured[version], decode)
            before = record.load_prices(export.folder, machine)
            found.write(export.folder)
            if before is None or before.units != found.units:
                kernel.notes.append(f"prices of {machine} are stored; `kkb plan {kernel.name}` counts with them from now on")


def _signed(folder: Path) -> str:
    path = folder / "kkb.json"
    return path.read_text("utf-8") if path.is_file() else ""


def submit(
    kernel: Kernel,
    client: Client,
    *,
    wait: bool,
    message: str = "",
    again: bool = False,
    reserve: int = 0,
    only_if_better: bool = False,
) -> Scored:
    """Submit the pushed version, once; with `wait`, until it is scored. A submission with this digest is not repeated.

    Args:
        message: Shown in the list of submissions; default: kernel, version and CV.
        again: Submit even when this notebook was submitted.
        reserve: Submissions of today to keep.
        only_if_better: Refuse (GateError) unless the CV is better than that of every scored submission in the ledger.
    """
    from builder.remote import submissions

    started, config = time.perf_counter(), kernel.config
    handle, version, digest = latest_push(kernel, client)
    server, slug, cv = server_of(client), config.competition.slug, predicted_score(kernel)
    if only_if_better:
        if cv is None:
            raise GateError(
                "the CV of this plan is unknown: no row was left out by its models",
                expected="a CV to compare",
                remedy="say in kernel.toml which rows they did not see (folds or holdout), or leave --only-if-better out",
            )
        _refuse_worse(kernel, server, digest, cv)
    made = submissions.submit(
        client,
        competition=slug,
        kernel=handle,
        version=version,
        file=config.competition.file,
        message=message or f"{kernel.name} version {version}, CV {'unknown' if cv is None else f'{cv:.5f}'}",
        digest=digest,
        again=again,
        reserve=reserve,
        sample=kernel.root / config.data.sample_submission,
    )
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.add_submission(server, slug, made.ref, handle, version, digest, cv)
    if wait:
        scored = submissions.wait(client, slug, made.ref, limit_s=SUBMISSION_WAIT_S, on_progress=kernel.report)
    else:
        scored = submissions.get(client, slug, made.ref) or submissions.Scored(
            made.ref, made.status, None, None, "", "", "", None
        )
    with Ledger(kernel.workspace.ledger) as ledger:
        ledger.set_score(
            server, slug, scored.ref, scored.status, public=scored.public, private=scored.private, error=scored.error
        )
    kernel.done("submit", started, fresh=made.created, digest=digest, record=scored.record())
    return scored


def predicted_score(kernel: Kernel) -> float | None:
    """The cross-fitted out-of-fold score of the whole plan; None when no row was left out by its models."""
    from builder.plan.stage import load

    score = load(kernel.folder).expected["score"]
    return None if score is None else float(score)


def _refuse_worse(kernel: Kernel, server: str, digest: str, cv: float) -> None:
    """Raise GateError unless `cv` is better than that of every other scored submission that the ledger knows."""
    from builder import metrics
    from builder.plan.stage import load

    metric = metrics.of(kernel.config.competition.metric, load(kernel.folder).answer.parts, kernel.folder)
    with Ledger(kernel.workspace.ledger) as ledger:
        rows = ledger.submissions(server, kernel.config.competition.slug)
    known = [row for row in rows if row["status"] == "COMPLETE" and row["cv"] is not None and row["digest"] != digest]
    if not known:
        return
    best = max(known, key=lambda row: metric.gain(row["cv"], 0.0))
    if metric.gain(cv, best["cv"]) <= 0:
        raise GateError(
            "the CV is not better than that of an earlier submission",
            found=f"{metric.name} {cv:.5f}",
            expected=f"better than {best['cv']:.5f} of submission {best['ref']} (public score {best['public']})",
            remedy="leave --only-if-better out to submit all the same",
        )


def refuse_unscored(scored: Scored) -> None:
    """Raise RunError when a submission ended without a score, with what its label means."""
    from builder.remote import diagnosis

    if scored.status == "ERROR":
        found = diagnosis.of_submission(scored.error)
        raise RunError(
            f"submission {scored.ref} failed",
            found=scored.error or "no reason given: Kaggle shows no log of a hidden rerun",
            expected="a score",
            remedy=f"{found.remedy}; `kkb rehearse` plays it here (it means: {found.meaning})",
        )


def preflight(kernel: Kernel, client: Client | None) -> list[Finding]:
    """What would make the push or the rerun fail, worst first; without a `client`, only what can be seen at home."""
    from datetime import UTC, datetime

    from builder.remote import preflight as checks
    from builder.train import record

    config = kernel.config
    weights = kernel.workspace.weights(kernel.name)
    licences = {m.backbone: m.licence for v in record.finished(weights) for m in v.models if m.licence}
    bundled = pipeline.datasets(kernel)
    subject = checks.gather(
        kernel.folder,
        competition=config.competition.slug,
        file=config.competition.file,
        machine=machines.load(config.competition.machine),
        limit_s=config.competition.limit,
        bundles=[kernel.workspace.datasets / one.slug for one in bundled],
        keys=[one.key for one in bundled],
        client=client,
        now=datetime.now(UTC).replace(tzinfo=None),
        licences=licences,
    )
    return checks.run(subject)
