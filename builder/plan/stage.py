"""kkb plan: `kernels/<name>/plan.json` from the exports of the members.

Expects: finished exports of every version that `[inference] members` names; versions join on row ids, which must be equal.
Produces: plan.json, small and readable, as `runtime/contract.py` defines it.
Never: trains, exports, or runs a model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import competition, machines, metrics
from builder.errors import UserError
from builder.export import record as exported
from builder.plan import blind
from builder.plan import order as ordering
from builder.plan.members import BATCH, Joined, Member, join, members, versions_of
from builder.runtime.contract import SCHEMA, Answer, Plan, Prefix, Probe, Source, Unit
from builder.workspace import canonical_json, digest_of, read_json, short, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config
    from builder.metrics import Metric

__all__ = ["Member", "Planned", "inputs", "load", "members", "plan", "planned", "summary", "versions_of"]

FILE = "plan.json"


@dataclass(frozen=True)
class Planned:
    """A plan, and what a person wants to know of it. `gains` has one number per unit."""

    plan: Plan
    path: Path
    gains: tuple[float, ...]
    rows: int
    predicted: tuple[dict[str, float | None], ...]


def plan(config: Config, name: str, folder: Path, root: Path, joined: list[Member]) -> tuple[Planned, bool]:
    """Write plan.json for `joined` into `folder`; False when the one that is there says the same already."""
    together = join(joined)
    metric = metrics.get(config.competition.metric)
    found, y = _ordered(config, together, metric)
    units = tuple(_unit(*together.origin[step.family], step.fold) for step in found.steps)
    low, high = ordering.interval(y, found.predicted, metric) if len(y) else (None, None)
    made = Plan(
        kernel=name,
        task=config.data.task,
        metric=metric.name,
        accelerator=machines.load(config.competition.machine).accelerator,
        limit_s=config.competition.limit,
        reserve=config.inference.reserve,
        source=Source(config.competition.slug, config.data.test, config.data.sample_submission, config.data.test_image),
        answer=_answer(config, root, joined[0].version.classes),
        units=units,
        prefixes=tuple(Prefix(step.weights, step.temperature, _known(step.score)) for step in found.steps),
        prior=joined[0].version.prior,
        notes=found.dropped,
        expected={
            "score": _known(found.steps[-1].score),
            "low": low,
            "high": high,
            "prices_from": prices_from(joined),
            "inputs": inputs(config, joined),
        },
        probes=tuple(_probes(joined, units)),
    )
    made.check()
    path = folder / FILE
    raw = made.to_json()
    fresh = not path.is_file() or canonical_json(read_json(path, remedy=f"kkb plan {name}")) != canonical_json(raw)
    if fresh:
        write_json(path, raw)
    return planned(config, made, path, root, [step.gain for step in found.steps]), fresh


def planned(config: Config, made: Plan, path: Path, root: Path, gains: list[float] | None = None) -> Planned:
    """`made` with what a person wants to know of it; `gains` are told from the scores when nobody measured them just now."""
    if gains is None:
        scores = [prefix.score for prefix in made.prefixes]
        metric = metrics.get(made.metric)
        gains = [0.0] + [
            metric.gain(now, before) if now is not None and before is not None else 0.0
            for before, now in itertools.pairwise(scores)
        ]
    rows = len(competition.read_table(root / config.data.test))
    return Planned(made, path, tuple(gains), rows, _curve(made, rows))


def _known(score: float | None) -> float | None:
    """`score`, or None for one that is not a number."""
    return score if score is not None and np.isfinite(score) else None


def _ordered(config: Config, together: Joined, metric: Metric) -> tuple[ordering.Order, NDArray[np.int64]]:
    """The order of units, and the true classes of the rows that it was found on."""
    if not np.isfinite(together.oof).any():
        return blind.order(together.families), together.y[:0]
    honest = np.asarray(np.isfinite(together.oof).all(axis=(0, 2)))
    if not honest.any():
        strangers = [f.name for f, oof in zip(together.families, together.oof, strict=True) if not np.isfinite(oof).any()]
        raise UserError(
            "no row was left out by all models of the plan, so they cannot be compared",
            found=f"no out-of-fold predictions of {', '.join(strangers)}" if strangers else "hold-outs without a common row",
            remedy="say in kernel.toml which rows they did not see (folds or holdout), or take them out of [inference] members",
        )
    y, equal = together.y[honest], config.inference.blend == "mean"
    found = ordering.order(together.families, together.oof[:, honest], y, together.folds[honest], metric, equal=equal)
    if honest.all():
        return found, y
    note = f"planned on the {int(honest.sum())} of {len(honest)} rows that every model left out"
    return replace(found, dropped=(*found.dropped, note)), y


def inputs(config: Config, joined: list[Member]) -> str:
    """Names what a plan is made from, prices left out: a measurement repeated must not make another plan of itself."""
    made_from = [[member.name, member.export.digest, member.backend] for member in joined]
    settings = [config.competition.model_dump(mode="json"), config.data.model_dump(mode="json")]
    return short(digest_of([SCHEMA, made_from, settings, config.inference.model_dump(mode="json")]))


def kept(config: Config, folder: Path, joined: list[Member]) -> Plan | None:
    """The plan in `folder` when it was made from these inputs, whatever prices it counted with; else None."""
    try:
        made = load(folder)
    except UserError:
        return None
    return made if made.expected.get("inputs") == inputs(config, joined) else None


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
    from builder.runtime.contract import ContractError

    path = folder / FILE
    try:
        return Plan.from_json(read_json(path, remedy=f"kkb plan {folder.name}"))
    except (ContractError, KeyError, TypeError, AttributeError) as error:
        raise UserError("not a plan of this version of kkb", file=path, found=error, remedy=f"kkb plan {folder.name}") from None


def _unit(member: Member, view: str, fold: int) -> Unit:
    model = next(m for m in member.export.of(member.model.name) if m.fold == fold)
    return Unit(
        member=member.name,
        fold=fold,
        view=view,
        dataset=member.name,
        file=model.file,
        backend=member.backend,
        input=member.model.input,
        batch=BATCH,
        seconds=round(member.price(model).ms_per_sample / 1e3, 7),  # a tenth of a microsecond is finer than any clock needs
        load_s=round(member.price(model).load_ms / 1e3, 4),
        decode_s=round(member.decode_s, 7),
    )


def _answer(config: Config, root: Path, classes: tuple[str, ...]) -> Answer:
    path = root / config.data.sample_submission
    sample = competition.read_table(path)
    if sample.columns[0] != config.data.id:
        raise UserError(
            "the sample submission has another id column",
            file=path,
            found=sample.columns[0],
            expected=config.data.id,
            remedy="mend data.id",
        )
    form, columns = competition.submission_form(sample, file=path, target=config.data.target, classes=classes)
    return Answer(config.competition.file, config.data.id, form, columns, classes)


def _curve(made: Plan, rows: int) -> tuple[dict[str, float | None], ...]:
    """Seconds for `rows` samples after each unit, on one thread of the machine that was priced, with the predicted score."""
    spent, paid, curve = 0.0, set[str](), []
    low, high, last = (made.expected.get(key) for key in ("low", "high", "score"))
    for unit, prefix in zip(made.units, made.prefixes, strict=True):
        spent += unit.load_s + rows * unit.seconds
        if unit.input.key not in paid:
            paid.add(unit.input.key)
            spent += rows * unit.decode_s
        shift = None if prefix.score is None or last is None else prefix.score - last
        bounds = [None if shift is None or bound is None else bound + shift for bound in (low, high)]
        curve.append({"budget_s": round(spent, 3), "score": prefix.score, "low": bounds[0], "high": bounds[1]})
    return tuple(curve)


def summary(planned: Planned) -> dict[str, Any]:
    """What `kkb plan --json` prints."""
    units = [
        {"model": unit.member, "fold": unit.fold, "view": unit.view, "seconds": unit.seconds, "gain": gain}
        for unit, gain in zip(planned.plan.units, planned.gains, strict=True)
    ]
    return {"units": units, "predicted": list(planned.predicted), "rows": planned.rows, "dropped": list(planned.plan.notes)}
