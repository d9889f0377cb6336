"""Who may take part: the models of one or several versions, their predictions on equal rows, and what they cost.

Expects: finished exports. Versions join on row ids, which must be equal, with equal truth and heads.
Produces: families (one member under one view) with out-of-fold predictions in one order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import machines
from builder.competition import targets
from builder.errors import UserError, did_you_mean
from builder.export import record as exported
from builder.export.record import Export, ExportedModel, Price, Prices
from builder.export.record import prices as price_list
from builder.plan.prices import Family
from builder.runtime.contract import Cells, Input, Joint
from builder.shown import input_of, size_of, views_of
from builder.train import record as trained
from builder.train.record import TrainedModel, Version

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config
    from builder.runtime.contract import Head

STANDIN = "standin"  # what prices of a run on the stand-in are filed under


@dataclass(frozen=True)
class Member:
    """One model of one version that the plan may use.

    Attributes:
        prices: What a run on the kernel's machine measured; None before the first one.
        backend: What runs it: a name in `runtime.contract.BACKENDS`.
        batch: Samples per call in the notebook: on a CPU, of images, what the export's prices show to be fastest.
    """

    version: Version
    export: Export
    model: TrainedModel
    prices: Prices | None = None
    backend: str = "onnxruntime"
    batch: int = 32

    @property
    def name(self) -> str:
        return f"{self.version.version}:{self.model.name}"

    def input(self, view: str) -> Input | Cells | Joint:
        """How its samples are read for a view, in the notebook."""
        given = input_of(view, self.model.input)
        named = tuple(
            replace(part, recipe=exported.recipe_name(self.model.name, part)) if isinstance(part, Cells) else part
            for part in given.parts
        )
        return Joint(named) if isinstance(given, Joint) else named[0]

    def price(self, model: ExportedModel, view: str = "identity") -> Price:
        """Seconds and load time of one of its folds."""
        size = size_of(view, self.model.input)
        return exported.price(self.export, model, self.prices, self.batch, self.backend, size)

    def seconds(self, view: str) -> float:
        """Per sample, of one fold; folds differ by noise only."""
        return float(np.mean([self.price(model, view).ms_per_sample for model in self.export.of(self.model.name)])) / 1e3

    @property
    def load_s(self) -> float:
        """To load one fold."""
        return float(np.mean([self.price(model).load_ms for model in self.export.of(self.model.name)])) / 1e3

    def decode_s(self, view: str) -> float:
        """Seconds per sample to read and resize its input; 0 when nobody measured it."""
        key = self.input(view).key
        measured = self.prices.decode_ms.get(key) if self.prices else None
        return (measured if measured is not None else self.export.decode_ms.get(key, 0.0)) / 1e3


@dataclass(frozen=True)
class Joined:
    """All families of a plan.

    Attributes:
        ids, y, folds: Of the rows, in the order of the first member's version; fold -1 where no model left the row out. The truth
            is as `competition/targets.py` has it.
        heads: What all members answer.
        families: Name, price and folds of each.
        origin: Member and view of each family.
        oof: float32 (families, rows, classes), NaN where a family has no honest prediction.
        places: Of each family: where the rows are in its own version.
    """

    ids: tuple[str, ...]
    heads: tuple[Head, ...]
    y: NDArray[Any]
    folds: NDArray[np.int64]
    families: tuple[Family, ...]
    origin: tuple[tuple[Member, str], ...]
    oof: NDArray[np.float32]
    places: tuple[list[int], ...]


def versions_of(config: Config, weights: Path, default: str | None = None) -> dict[str, list[str]]:
    """Version -> models that `[inference] members` asks for; all models of `default` (else the newest) when it asks for none."""
    done = {version.version: version for version in trained.finished(weights)}
    if not done:
        verb = "adopt" if config.model[0].checkpoints else "train"
        raise UserError("no finished version to plan with", file=weights, remedy=f"kkb {verb} {weights.name}")
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
        Member(
            version,
            exports[number],
            version.model(name),
            _prices(exports[number], config.competition.machine),
            backend_of(config, exports[number].of(name)[0]),
            _batch(config, version.model(name), exports[number].of(name)[0]),
        )
        for number, names in versions_of(config, weights, default).items()
        for version in [trained.load(weights / number)]
        for name in names
    ]


def _prices(export: Export, machine: str) -> Prices | None:
    """Prices of a run on the real machine, else of one on the stand-in, where the whole notebook ran, else None."""
    return exported.load_prices(export.folder, machine) or exported.load_prices(export.folder, STANDIN)


def _batch(config: Config, model: TrainedModel, example: ExportedModel) -> int:
    """Samples per call. Texts and tables come in batches of rows of equal length, which no price has seen."""
    machine = machines.load(config.competition.machine)
    if machine.accelerator != "cpu" or not isinstance(model.input, Input):
        return machine.batch
    return price_list.batch(example, machine.batch, backend_of(config, example))


def backend_of(config: Config, model: ExportedModel) -> str:
    """What runs an exported model: kernel.toml's choice for ONNX; TorchScript has torch only."""
    own = exported.BACKENDS[model.format]
    chosen = config.inference.backend
    if own in ("lightgbm", "xgboost"):  # trees have no other
        return own
    if chosen not in ("auto", own) and model.format != "onnx":
        raise UserError(
            f"inference.backend = '{chosen}' cannot run a {model.format} export",
            found=model.file,
            expected="an ONNX export",
            remedy='set export.format = "onnx", or leave inference.backend out',
        )
    return own if chosen == "auto" else chosen


def join(members: list[Member]) -> Joined:
    """All members on the rows of the first. Raises UserError when they answer other classes, heads, rows or labels."""
    _refuse_strangers(members)
    first = members[0].version
    ids, folds, labels = trained.read_folds(first.folder / trained.FOLDS)
    families, arrays, origin, places = [], [], [], []
    truth = dict(zip(ids, labels, strict=True))
    for member in members:
        rows = _rows_of(member, members[0].name, ids, truth)
        numbers = tuple(model.fold for model in member.export.of(member.model.name))
        for view in views_of(member.export.views, member.model.input):
            shared = {member.input(view).key: member.decode_s(view)}
            families.append(Family(f"{member.name} {view}", round(member.seconds(view), 7), numbers, member.load_s, shared))
            places.append(rows)
            arrays.append(_array(member.export.oof(member.model.name, view), member)[rows])
            origin.append((member, view))
    y = targets.parse(labels, first.parts)
    return Joined(ids, first.parts, y, folds, tuple(families), tuple(origin), np.stack(arrays), tuple(places))


def _refuse_strangers(members: list[Member]) -> None:
    first = members[0].version
    for member in members[1:]:
        if member.version.classes != first.classes:
            raise UserError(
                f"{member.name} answers other classes than {members[0].name}",
                found=", ".join(member.version.classes[:10]),
                expected=", ".join(first.classes[:10]),
                remedy="join versions of one target only",
            )
        if member.version.parts != first.parts:
            ours, theirs = (_told(version.parts) for version in (member.version, first))
            raise UserError(
                f"{member.name} has other heads than {members[0].name}",
                found=ours,
                expected=theirs,
                remedy="join versions of equal heads only: train one of them again, or leave it out of [inference] members",
            )


def _told(heads: tuple[Head, ...]) -> str:
    """Heads in words: their links, their names, and of numbers their scale."""
    each = []
    for head in heads:
        scale = f", offset {list(head.offset)}, spread {list(head.spread)}" if head.offset or head.spread else ""
        each.append(" ".join(filter(None, [head.name, f"{head.link} of {len(head.classes)} outputs"])) + scale)
    return "; ".join(each)


def _rows_of(member: Member, first: str, ids: tuple[str, ...], truth: dict[str, str]) -> list[int]:
    """Where the rows `ids` are in the member's own version."""
    own, _, said = trained.read_folds(member.version.folder / trained.FOLDS)
    if set(own) != set(ids):
        raise UserError(
            f"{member.name} was trained on other rows than {first}",
            found=f"{len(set(own) ^ set(ids))} ids that only one of them has",
            remedy="join versions with equal row ids, or train one of them again",
        )
    if dict(zip(own, said, strict=True)) != truth:
        raise UserError(
            f"{member.name} was trained on other labels than {first}",
            remedy="train one of them again: a plan needs one truth",
        )
    position = {identity: row for row, identity in enumerate(own)}
    return [position[identity] for identity in ids]


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
