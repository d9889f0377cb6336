"""The whole road, from kernel.toml to a score: every stale stage, and the record of where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import delivery, pipeline
from builder.errors import GateError
from builder.pipeline import Kernel

if TYPE_CHECKING:
    from builder.plan.stage import Planned
    from builder.remote.client import Client

SCORED = "Scored"


@dataclass(frozen=True)
class Shipped:
    """The end of the road: what `kkb ship` and `kkb demo` print."""

    kernel: str
    version: int
    cv: float | None
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
    version = pipeline.version(kernel)
    pipeline.export(kernel)
    planned = pipeline.plan(kernel, again=False)
    pipeline.bundle(kernel, owner, lenient=delivery.server_of(client) != delivery.KAGGLE)
    pipeline.render(kernel, owner)
    rehearsal = pipeline.rehearse(kernel, again=False)
    if rehearsal.label != SCORED:
        found = rehearsal.findings[0].message if rehearsal.findings else ""
        raise GateError(
            f"the rehearsal ended in '{rehearsal.label}', so nothing is pushed",
            found=found,
            file=rehearsal.folder,
            remedy=f"kkb rehearse {kernel.name}",
        )
    pushed, _ = delivery.push(kernel, client, wait=True)
    output = delivery.fetch_output(kernel, client)
    scored = delivery.submit(kernel, client, wait=True)
    delivery.refuse_unscored(scored)
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
        kernel=pushed.kernel,
        version=pushed.version,
        cv=delivery.predicted_score(kernel),
        rehearsed=rehearsal.score,
        score=scored.public,
        label=SCORED,
        seconds=kernel.seconds,
        fresh=kernel.fresh,
        paths=paths,
        plan=planned,
    )
