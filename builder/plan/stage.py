"""kkb plan: `kernels/<name>/plan.json` from the exports of the members.

Expects: finished exports of every version that `[inference] members` names; versions join on row ids, which must be equal.
Produces: plan.json, small and readable, as `runtime/contract.py` defines it.
Never: trains, exports, or runs a model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import competition, machines, metrics
from builder.errors import UserError
from builder.export import record as exported
from builder.plan import choosing
from builder.plan.blending import Blending, blending, known
from builder.plan.course import Course, Point
from builder.plan.deciding import decided
from builder.plan.gate import refuse_lost
from builder.plan.members import Member, join, members, versions_of
from builder.runtime.contract import SCHEMA, Answer, Plan, Probe, Source, Unit
from builder.scoring import forms
from builder.workspace import canonical_json, digest_of, read_json, sha256_file, short, write_json

if TYPE_CHECKING:
    from builder.config import Config
    from builder.metrics import Metric
    from builder.train.record import Version

__all__ = ["Member", "Planned", "inputs", "load", "members", "plan", "planned", "summary", "versions_of"]

FILE = "plan.json"


@dataclass(frozen=True)
class Planned:
    """A plan, and what a person wants to know of it.

    Attributes:
        gains: One number per unit: how much less is lost (`course.Step`), None where nobody knows.
        rows, seconds, workers: What was planned for: samples, and seconds of so many workers.
        predicted: Score against seconds; the last point is the whole plan.
        fixed_list: The same of the list that people make by hand.
        told: A sentence on every model and view.
    """

    plan: Plan
    path: Path
    gains: tuple[float | None, ...]
    rows: int
    seconds: float
    workers: int
    predicted: tuple[Point, ...] = ()
    fixed_list: tuple[Point, ...] = ()
    told: tuple[str, ...] = ()


def plan(config: Config, name: str, folder: Path, root: Path, joined: list[Member]) -> tuple[Planned, bool]:
    """Write plan.json for `joined` into `folder`; False when the one that is there says the same already.

    Raises GateError when the exports' ensemble lost more score than is allowed.
    """
    together, machine = join(joined), machines.load(config.competition.machine)
    metric = metrics.of(config.competition.metric, together.heads, folder)
    test = competition.read_table(root / config.data.test)
    ids = tuple(test[config.data.id]) if config.data.id in test else ()
    course, work = choosing.choose(config, together, metric, choosing.workload(config, machine, len(test), len(together.ids)))
    blended = blending(config.inference.blend, course, together, metric)
    units = tuple(_unit(*together.origin[step.family], step.fold, course.temperatures[step.family]) for step in course.steps)
    made = Plan(
        kernel=name,
        task=config.data.task,
        metric=metric.name,
        accelerator=machine.accelerator,
        limit_s=config.competition.limit,
        reserve=config.inference.reserve,
        source=Source(config.competition.slug, config.data.test, config.data.sample_submission, config.data.test_image),
        answer=_answer(config, root, joined[0].version, metric, ids),
        units=units,
        prefixes=blended.prefixes,
        prior=joined[0].version.prior,
        notes=(*course.notes, *([work.note] if work.note else [])),
        expected=_expected(course, work, joined, blended) | {"inputs": inputs(config, joined, folder)},
        probes=tuple(_probes(joined, units)),
        effort=blended.effort,
        blend=blended.kind,
        references=blended.references,
    )
    made = decided(made, together, metric, folder)
    made.check()
    refuse_lost(config, made, together, metric)
    path = folder / FILE
    raw = made.to_json()
    fresh = not path.is_file() or canonical_json(read_json(path, remedy=f"kkb plan {name}")) != canonical_json(raw)
    if fresh:
        write_json(path, raw)
    told = tuple(f"{one.family}: {one.text}" for one in course.told)
    gains = tuple(step.gain for step in course.steps)
    return Planned(made, path, gains, work.rows, work.seconds, work.workers, course.predicted, course.fixed_list, told), fresh


def planned(made: Plan, path: Path) -> Planned:
    """`made`, read from `path`, with what it tells about itself."""
    work = made.expected
    return Planned(made, path, (None,) * len(made.units), work["rows"], work["seconds"], work["workers"])


def _expected(course: Course, work: choosing.Workload, joined: list[Member], blended: Blending) -> dict[str, Any]:
    """What is foretold: the score in the time that there is, with its 90 % interval."""
    affordable = [point for point in course.predicted if point.budget_s <= work.seconds * (1 + 1e-9)]
    best = affordable[-1] if affordable else Point(0.0, float("nan"), float("nan"), float("nan"))
    # Another blend than the planner's moves the whole forecast by what it is better or worse at the end of the plan.
    own, other = course.steps[-1].score, blended.prefixes[-1].score
    shift = 0.0 if own is None or other is None or blended.kind == "weighted" else other - own
    return {
        "score": known(best.score + shift),
        "low": known(best.low + shift),
        "high": known(best.high + shift),
        "rows": work.rows,
        "seconds": work.seconds,
        "workers": work.workers,
        "prices_from": prices_from(joined),
    }


def inputs(config: Config, joined: list[Member], folder: Path) -> str:
    """Names what a plan is made from, prices left out: a measurement repeated must not make another plan of itself.

    In `folder` is kernel.toml, and beside it the functions that a metric of one's own names.
    """
    made_from = [[member.name, member.export.digest, member.backend] for member in joined]
    settings = [config.competition.model_dump(mode="json"), config.data.model_dump(mode="json")]
    named = [each.rpartition("=")[2].strip().partition(":")[0] for each in config.competition.metric.split(",")]
    own = [sha256_file(folder / name) for name in named if name.endswith(".py") and (folder / name).is_file()]
    return short(digest_of([SCHEMA, made_from, settings, config.inference.model_dump(mode="json"), *own]))


def kept(config: Config, folder: Path, joined: list[Member]) -> Plan | None:
    """The plan in `folder` when it was made from these inputs, whatever prices it counted with; else None."""
    try:
        made = load(folder)
    except UserError:
        return None
    return made if made.expected.get("inputs") == inputs(config, joined, folder) else None


def prices_from(joined: list[Member]) -> str:
    """Where the prices were measured, in words."""
    told = []
    for member in joined:
        price = member.price(member.export.of(member.model.name)[0])
        if price.measured_on == exported.HOME:
            told.append(member.export.prices_from)
        else:
            hardware = (member.prices.measured_on if member.prices else {}).get("processor", "")
            told.append(f"a run on {price.measured_on}" + (f" ({hardware})" if hardware else ""))
    return "; ".join(dict.fromkeys(told))


def _probes(joined: list[Member], units: tuple[Unit, ...]) -> Iterator[Probe]:
    """The rows by which each member that the plan uses is probed."""
    used = {unit.member for unit in units}
    for member in joined:
        probe = member.export.probe(member.model.name)
        if probe and member.name in used:
            yield Probe(member.name, member.name, probe.table.file, probe.values.file, probe.max_abs_diff)


def load(folder: Path) -> Plan:
    """The plan in `folder`. Raises UserError when it is missing or not a plan of this version of kkb."""
    from builder.runtime.reading import ContractError

    path = folder / FILE
    try:
        return Plan.from_json(read_json(path, remedy=f"kkb plan {folder.name}"))
    except ContractError as error:
        raise UserError("not a plan of this version of kkb", file=path, found=error, remedy=f"kkb plan {folder.name}") from None


def _unit(member: Member, view: str, fold: int, temperature: float) -> Unit:
    model = next(m for m in member.export.of(member.model.name) if m.fold == fold)
    return Unit(
        member=member.name,
        fold=fold,
        view=view,
        dataset=member.name,
        file=model.file,
        backend=member.backend,
        input=member.input(view),
        batch=member.batch,
        seconds=round(member.price(model, view).ms_per_sample / 1e3, 7),  # a tenth of a microsecond is finer than any clock needs
        load_s=round(member.price(model, view).load_ms / 1e3, 4),
        decode_s=round(member.decode_s(view), 7),
        temperature=temperature,
    )


def _answer(config: Config, root: Path, version: Version, metric: Metric, ids: tuple[str, ...]) -> Answer:
    known = forms.Known(
        root / config.data.sample_submission,
        config.data.target,
        version.classes,
        config.data.truth,
        metric.prediction == metrics.RANKING,
        ids,
        version.heads,
    )
    return forms.answer(known, config.data.id, config.competition.file)


def summary(planned: Planned) -> dict[str, Any]:
    """What `kkb plan --json` prints."""
    made = planned.plan
    units = [
        {"model": unit.member, "fold": unit.fold, "view": unit.view, "seconds": unit.seconds, "gain": gain}
        for unit, gain in zip(made.units, planned.gains, strict=True)
    ]
    effort = None if made.effort is None else {"kind": made.effort.kind, "stops": list(made.effort.stops)}
    return {
        "units": units,
        "predicted": [dataclasses.asdict(point) for point in planned.predicted],
        "rows": planned.rows,
        "seconds": planned.seconds,
        "workers": planned.workers,
        "effort": effort,
        "explained": list(planned.told),
        "notes": list(made.notes),
    }
