"""kkb rehearse NAME --on kaggle: the rehearsal as a private kernel, from the push to the verdict.

Expects: a rendered kernel, its dataset folders, the competition's tables, a door to Kaggle.
Produces: a version of the private kernel `<name>-rehearsal`; `.kkb/runs/<name>/afar/` with its output, the verdict and its page;
    the machine's prices beside the exports, which the next plan counts with.
Never: pushes the same rehearsal twice unasked: the same command takes up the run that is there, from whatever machine it was
    started; touches a kernel of another purpose; submits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import competition, delivery, machines, pipeline
from builder.afar import parcel, verdict
from builder.afar.parcel import Parcel
from builder.errors import RunError, UserError
from builder.pipeline import fold_of
from builder.rehearse import record
from builder.rehearse.record import COMMIT
from builder.rehearse.stage import ROWS, TIMES, Wanted
from builder.runtime.backends import ALLOW_CPU
from builder.workspace import digest_of, locked, write_json

if TYPE_CHECKING:
    from builder.pipeline import Kernel
    from builder.rehearse.record import Rehearsal
    from builder.remote.client import Client
    from builder.remote.pushing import Pushed
    from builder.remote.runs import Status

FOLDER = "afar"
EXTRA_S = 600.0  # beyond the competition's limit, for the scenery and the probe


@dataclass(frozen=True)
class Afar:
    """A rehearsal on Kaggle.

    Attributes:
        kernel: `owner/slug`.
        version: Its number.
        url: Its page.
        state: Of the run, as Kaggle tells it.
        verdict: None while the run goes on.
    """

    kernel: str
    version: int
    url: str
    state: str
    verdict: Rehearsal | None

    def record(self) -> dict[str, Any]:
        """As JSON: the verdict, and where it comes from."""
        told = self.verdict.record() if self.verdict else {}
        return {**told, "kernel": self.kernel, "kernel_version": self.version, "status": self.state}


def rehearse(kernel: Kernel, client: Client, *, rows: int | None = None, wait: bool = True, again: bool = False) -> Afar:
    """Rehearse the rendered notebook of `kernel` on the machine that it will run on.

    Args:
        kernel: What is rehearsed.
        client: The door: of Kaggle, or of the stand-in.
        rows: Of the hidden set; None: the competition's own size, else ten times the visible one.
        wait: Whether to stay until the run is over. A run that is over gives its verdict in any case.
        again: Push even when this very rehearsal is there.

    Raises:
        UserError, GateError: Something is missing or stale at home, or `<name>-rehearsal` is another kernel.
        WaitError: It took too long; the run goes on.
    """
    from builder.plan.stage import load
    from builder.remote import kernels

    started = time.perf_counter()
    Wanted(rows=rows).check()
    # What is rehearsed must be what plan.json and the bundle say now, as it must be when it is pushed.
    pipeline.render(kernel, pipeline.owner_in(kernel), check=True)
    plan, machine = load(kernel.folder), machines.load(kernel.config.competition.machine)
    real = delivery.server_of(client) == delivery.KAGGLE
    honest = fold_of(kernel, plan)
    wanted = rows or kernel.config.competition.test_rows or _usual_rows(kernel, honest)
    environment = {ALLOW_CPU: "1"} if machine.accelerator == "cuda" and not real else {}
    kernel.report(0, None, f"rehearsal: {wanted:,} hidden rows")
    with locked(kernel.workspace.private / FOLDER / f"{kernel.name}.lock"):
        sent = parcel.pack(kernel, plan, honest, wanted, environment=environment)
        pushed = _push(kernel, client, sent, again=again)
    state = _state(kernel, client, pushed, wait=wait)
    if not state.over:
        return Afar(pushed.kernel, pushed.version, pushed.url, state.state, None)
    folder, key = kernel.workspace.runs(kernel.name) / FOLDER, digest_of([sent.digest, pushed.url, pushed.version])
    known = record.known(folder, key)
    if known:
        return Afar(pushed.kernel, pushed.version, pushed.url, state.state, known)
    (folder / record.KEY).unlink(missing_ok=True)
    output = kernels.output(client, pushed.kernel, pushed.version, folder / verdict.OUTPUT, on_progress=kernel.report)
    stage = verdict.Stage(kernel.name, kernel.config, plan, machine, kernel.folder, folder, sent.hidden, real)
    found = verdict.conclude(stage, state, list(output.log))
    delivery.keep_prices(kernel, folder / verdict.OUTPUT / COMMIT / "working", real=real)
    write_json(folder / record.KEY, key)
    kernel.done("rehearse", started, fresh=True, digest=sent.digest, record=found.record())
    return Afar(pushed.kernel, pushed.version, pushed.url, state.state, found)


def _usual_rows(kernel: Kernel, fold_of: Mapping[str, int]) -> int:
    visible = len(competition.read_table(kernel.root / kernel.config.data.test))
    return max(TIMES * visible, min(ROWS, len(fold_of)))


def _push(kernel: Kernel, client: Client, sent: Parcel, *, again: bool) -> Pushed:
    """The version with this rehearsal: the one that is there, else a new one, after the datasets."""
    from builder.remote import kernels

    newest = kernels.latest(client, sent.handle)
    if newest and newest.version and parcel.MARK not in newest.source:
        raise UserError(
            f"'{sent.handle}' is a kernel of yours, and no rehearsal",
            expected="no kernel of that name, or an earlier rehearsal",
            remedy="give it another name on its page, or rename the folder of this kernel",
        )
    if again or newest is None or sent.digest not in newest.source:
        delivery.upload(kernel, client)
    limit = kernel.config.competition.limit + EXTRA_S
    pushed = kernels.push(client, sent.folder, timeout_s=limit, digest=sent.digest, again=again)
    if not pushed.created:
        kernel.notes.append(f"this rehearsal is version {pushed.version} of {pushed.kernel} already; --again runs it anew")
    return pushed


def _state(kernel: Kernel, client: Client, pushed: Pushed, *, wait: bool) -> Status:
    """How the run is doing; with `wait`, its end. One that failed is a verdict, too."""
    from builder.remote import kernels

    if pushed.created and not wait:
        return kernels.Status("QUEUED", "")  # the server may not show yet what it has just saved
    if wait:
        with contextlib.suppress(RunError):
            delivery.wait_for(kernel, client, pushed.kernel, pushed.version)
    return kernels.status(client, pushed.kernel, pushed.version)
