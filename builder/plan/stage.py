"""kkb plan: `kernels/<name>/plan.json` from the exports of the members.

Expects: finished exports of every version that `[inference] members` names; versions join on row ids, which must be equal.
Produces: plan.json, small and readable, as `runtime/contract.py` defines it.
Never: trains, exports, or runs a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import competition, machines, metrics
from builder.errors import UserError, did_you_mean
from builder.export import record as exported
from builder.export.record import Export
from builder.plan import order as ordering
from builder.runtime.contract import Answer, Plan, Prefix, Source, Unit
from builder.train import record as trained
from builder.train.record import TrainedModel, Version
from builder.workspace import canonical_json, read_json, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config

FILE = "plan.json"
BATCH = 32


@dataclass(frozen=True)
class Member:
    """One model of one version that the plan may use."""

    version: Version
    export: Export
    model: TrainedModel

    @property
    def name(self) -> str:
        return f"{self.version.version}:{self.model.name}"


@dataclass(frozen=True)
class Planned:
    """A plan, and what a person wants to know of it. `gains` has one number per unit."""

    plan: Plan
    path: Path
    gains: tuple[float, ...]
    rows: int
    predicted: tuple[dict[str, float], ...]


def versions_of(config: Config, weights: Path, default: str | None = None) -> dict[str, list[str]]:
    """Version -> models that `[inference] members` asks for; all models of `default` (else the newest) when it asks for none."""
    done = {version.version: version for version in trained.finished(weights)}
    if not done:
        raise UserError("no finished version to plan with", file=weights, remedy=f"kkb train {weights.name}")
    if not config.inference.members:
        chosen = done.get(default or "", list(done.values())[-1])
        return {chosen.version: [model.name for model in chosen.models]}
    wanted: dict[str, list[str]] = {}
    for member in config.inference.members:
        number, _, pattern = member.partition(":")
        if number not in done:
            raise UserError(
                f"[inference] members names version {number}", found=", ".join(done), remedy=did_you_mean(number, done)
            )
        models = [model.name for model in done[number].models] if pattern == "*" else [done[number].model(pattern).name]
        wanted.setdefault(number, [])
        wanted[number] += [model for model in models if model not in wanted[number]]
    return wanted


def members(config: Config, weights: Path, exports: dict[str, Export], default: str | None = None) -> list[Member]:
    """The members, given the current export of each version that they come from; `default` as in `versions_of`."""
    return [
        Member(version, exports[number], version.model(name))
        for number, names in versions_of(config, weights, default).items()
        for version in [trained.load(weights / number)]
        for name in names
    ]


def plan(config: Config, name: str, folder: Path, root: Path, joined: list[Member]) -> tuple[Planned, bool]:
    """Write plan.json for `joined` into `folder`; False when the one that is there says the same already."""
    _refuse_strangers(joined)
    first = joined[0].version
    ids, folds, labels = trained.read_folds(first.folder / trained.FOLDS)
    number = {label: code for code, label in enumerate(first.classes)}
    unknown = sorted(set(labels) - set(number))
    if unknown:
        raise UserError(
            "folds.csv has labels that its version does not know",
            file=first.folder,
            found=unknown[:5],
            remedy="bring it back from git",
        )
    y = np.array([number[label] for label in labels], dtype=np.int64)
    families, oof, origin = _families(joined, ids, labels)
    metric = metrics.get(config.competition.metric)
    found = ordering.order(families, oof, y, folds, metric, equal=config.inference.blend == "mean")
    units = tuple(_unit(*origin[step.family], step.fold) for step in found.steps)
    low, high = ordering.interval(y, found.predicted, metric)
    test_rows = len(competition.read_table(root / config.data.test))
    made = Plan(
        kernel=name,
        task=config.data.task,
        metric=metric.name,
        accelerator=machines.load(config.competition.machine).accelerator,
        limit_s=config.competition.limit,
        reserve=config.inference.reserve,
        source=Source(config.competition.slug, config.data.test, config.data.sample_submission, config.data.test_image),
        answer=_answer(config, root, first.classes),
        units=units,
        prefixes=tuple(Prefix(step.weights, step.temperature, step.score) for step in found.steps),
        prior=first.prior,
        notes=found.dropped,
        expected={"score": found.steps[-1].score, "low": low, "high": high, "prices_from": joined[0].export.prices_from},
    )
    made.check()
    path = folder / FILE
    raw = made.to_json()
    fresh = not path.is_file() or canonical_json(read_json(path, remedy=f"kkb plan {name}")) != canonical_json(raw)
    if fresh:
        write_json(path, raw)
    rows = max(len(ids), test_rows)
    return Planned(made, path, tuple(step.gain for step in found.steps), rows, _curve(made, joined, rows, low, high)), fresh


def load(folder: Path) -> Plan:
    """The plan in `folder`. Raises UserError when it is missing or not a plan of this version of kkb."""
    from builder.runtime.contract import ContractError

    path = folder / FILE
    try:
        return Plan.from_json(read_json(path, remedy=f"kkb plan {folder.name}"))
    except (ContractError, KeyError, TypeError, AttributeError) as error:
        raise UserError("not a plan of this version of kkb", file=path, found=error, remedy=f"kkb plan {folder.name}") from None


def _refuse_strangers(joined: list[Member]) -> None:
    first = joined[0].version
    for member in joined[1:]:
        if member.version.classes != first.classes:
            raise UserError(
                f"{member.name} answers other classes than {joined[0].name}",
                found=", ".join(member.version.classes[:10]),
                expected=", ".join(first.classes[:10]),
                remedy="join versions of one target only",
            )


def _families(
    joined: list[Member], ids: tuple[str, ...], labels: tuple[str, ...]
) -> tuple[list[ordering.Family], NDArray[np.float32], list[tuple[Member, str]]]:
    """Families with their out-of-fold predictions float32 (families, rows, classes), rows in the order of `ids`."""
    families, arrays, origin = [], [], []
    truth = dict(zip(ids, labels, strict=True))
    for member in joined:
        own, _, said = trained.read_folds(member.version.folder / trained.FOLDS)
        if set(own) != set(ids):
            raise UserError(
                f"{member.name} was trained on other rows than {joined[0].name}",
                found=f"{len(set(own) ^ set(ids))} ids that only one of them has",
                remedy="join versions with equal row ids, or train one of them again",
            )
        if dict(zip(own, said, strict=True)) != truth:
            raise UserError(
                f"{member.name} was trained on other labels than {joined[0].name}",
                remedy="train one of them again: a plan needs one truth",
            )
        position = {identity: row for row, identity in enumerate(own)}
        rows = [position[identity] for identity in ids]
        models = member.export.of(member.model.name)
        seconds = float(np.mean([_seconds(model) for model in models]))
        for view in member.export.views:
            families.append(ordering.Family(f"{member.name} {view}", seconds, tuple(model.fold for model in models)))
            arrays.append(_array(member.export.oof(member.model.name, view), member)[rows])
            origin.append((member, view))
    return families, np.stack(arrays), origin


def _array(path: Path, member: Member) -> NDArray[np.float32]:
    try:
        return np.load(path)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise UserError(
            "the out-of-fold predictions cannot be read",
            file=path,
            found=error,
            remedy=f"kkb export {member.version.name} on the machine that trained",
        ) from None


def _seconds(model: exported.ExportedModel) -> float:
    return round(model.ms_per_sample[str(BATCH)] / 1e3, 7)  # a tenth of a microsecond is finer than any clock needs


def _unit(member: Member, view: str, fold: int) -> Unit:
    model = next(m for m in member.export.of(member.model.name) if m.fold == fold)
    return Unit(
        member=member.name,
        fold=fold,
        view=view,
        dataset=member.name,
        file=model.file,
        backend=model.format,
        input=member.model.input,
        batch=BATCH,
        seconds=_seconds(model),
        load_s=round(model.load_ms / 1e3, 4),
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


def _curve(made: Plan, joined: list[Member], rows: int, low: float, high: float) -> tuple[dict[str, float], ...]:
    """Seconds for `rows` samples after each unit, on one thread of the machine that was priced, with the predicted score."""
    prices: dict[str, float] = {}
    for member in joined:
        prices.update(member.export.decode_ms)
    spent, paid, curve = 0.0, set[str](), []
    for unit, prefix in zip(made.units, made.prefixes, strict=True):
        spent += unit.load_s + rows * unit.seconds
        if unit.input.key not in paid:
            paid.add(unit.input.key)
            spent += rows * prices.get(unit.input.key, 0.0) / 1e3
        score = prefix.score if prefix.score is not None else float("nan")
        last = made.prefixes[-1].score or 0.0
        curve.append({"budget_s": round(spent, 3), "score": score, "low": low + score - last, "high": high + score - last})
    return tuple(curve)


def summary(planned: Planned) -> dict[str, Any]:
    """What `kkb plan --json` prints."""
    units = [
        {"model": unit.member, "fold": unit.fold, "view": unit.view, "seconds": unit.seconds, "gain": gain}
        for unit, gain in zip(planned.plan.units, planned.gains, strict=True)
    ]
    return {"units": units, "predicted": list(planned.predicted), "rows": planned.rows, "dropped": list(planned.plan.notes)}
