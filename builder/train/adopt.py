"""kkb adopt: a `weights/<name>/vNNN` from weights that were trained elsewhere, like one that was trained here.

Expects: kernel.toml whose models have `checkpoints`, and the competition's files.
Produces: what `record.py` describes: the weights as .safetensors, folds, out-of-fold predictions by the travelling preprocessing.
    The folder appears whole or not at all.
Never: changes the files it was given, or takes predictions on trust: those that came with the weights are compared with ours.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import checkpoints, competition, huggingface, metrics, models
from builder.errors import UserError
from builder.progress import Report, silent
from builder.runtime.contract import Input
from builder.runtime.heads import SIGMOID
from builder.train import comparison, folds, given, learners, naming, oof, record
from builder.train.comparison import Suspect
from builder.train.diagnosis import Setting
from builder.train.fitted import Network
from builder.train.learners import Learner
from builder.train.record import Checkpoint, Comparison, TrainedModel, Version
from builder.workspace import Workspace, digest_of, locked, replacing_folder, sha256_file, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config, Model
    from builder.metrics import Metric
    from builder.runtime.contract import Head
    from builder.train.given import Given

PREPROCESSING = {"mean", "std", "resize", "interpolation"}  # what a Hugging Face folder says, too
PACKAGES = ("torch", "timm", "transformers", "numpy", "pillow")
ENOUGH, TWICE = 32, 0.7311  # answers that tell what a network answers with; the logistic function of 1


@dataclass
class Job:
    """One adoption: what, from where, and the folder that becomes the version. `notes` are collected on the way."""

    config: Config
    workspace: Workspace
    name: str
    rows: competition.Rows
    found: dict[str, Given]
    folder: Path
    metric: Metric
    report: Report
    notes: list[str]
    done: int = 0

    @property
    def root(self) -> Path:
        return self.config.data_root(self.workspace.root)

    @property
    def heads(self) -> tuple[Head, ...]:
        """What the networks answer; numbers in their own unit."""
        return comparison.in_own_unit(self.rows.heads)

    @property
    def total(self) -> int:
        """Steps in all: each checkpoint is converted, then asked."""
        return 2 * sum(len(one.files) for one in self.found.values())

    def tell(self, text: str) -> None:
        self.report(self.done, self.total, text)
        self.done += 1


def adopt(config: Config, workspace: Workspace, name: str, *, report: Report = silent) -> tuple[Version, bool]:
    """The version that is made from the checkpoints in kernel.toml, and False when it was there already.

    Raises:
        UserError: Checkpoints, folds or predictions are not what kernel.toml says.
        GateError: The predictions that came with the weights are not those that the weights give.
    """
    _refuse_untold(config, name)
    rows = competition.train_rows(config, config.data_root(workspace.root))
    with locked(workspace.private / "locks" / f"train-{name}"):
        key = naming.digest(config, workspace, name, rows)
        if known := naming.current(workspace, name, key):
            return known, False
        weights = workspace.weights(name)
        for leftover in weights.glob(".v*"):  # of an adoption that was killed: the lock says that it is not running
            shutil.rmtree(leftover, ignore_errors=True)
        found = {model.name: given.find(model, config, rows, workspace.root) for model in config.model}
        metric = metrics.of(config.competition.metric, rows.heads, workspace.kernels / name)
        folder = naming.next_folder(weights)
        with replacing_folder(folder) as temporary:
            _write(Job(config, workspace, name, rows, found, temporary, metric, report, []), key, folder.name)
    return record.load(folder), True


def _refuse_untold(config: Config, name: str) -> None:
    untold = [model.name for model in config.model if not model.checkpoints]
    if len(untold) == len(config.model):
        raise UserError(
            "kernel.toml names no weights to adopt",
            found=f"models without checkpoints: {', '.join(untold)}",
            expected='checkpoints = "weights-dir/effb0-f{fold}.safetensors" in each [[model]]',
            remedy=f"add it, or kkb train {name}",
        )
    if untold:
        raise UserError(
            "a version is trained or adopted as a whole",
            found=f"models without checkpoints: {', '.join(untold)}",
            remedy="train them as a version of their own, and join the versions with [inference] members",
        )


def _write(job: Job, key: str, version: str) -> None:
    """Everything that a version holds, version.json last."""
    started = time.perf_counter()
    assigned = _common_folds(job)
    write_text(job.folder / record.FOLDS, folds.to_csv(job.rows.ids, assigned, job.rows.told))
    made = tuple(_adopted(job, model, assigned) for model in job.config.model)
    Version(
        name=job.name,
        version=version,
        digest=key,
        folder=job.folder,
        metric=job.config.competition.metric,
        classes=job.rows.classes,
        heads=record.told(job.rows.heads),
        prior=job.rows.prior,
        rows=len(job.rows.ids),
        folds=len(np.unique(assigned[assigned >= 0])),
        folds_sha256=sha256_file(job.folder / record.FOLDS),
        models=made,
        seconds=time.perf_counter() - started,
        device=_device(),
        packages={package: package_version(package) for package in PACKAGES},
        origin=record.ADOPTED,
        notes=tuple(dict.fromkeys(job.notes)),
    ).write()


def _common_folds(job: Job) -> NDArray[np.int64]:
    """int64 (rows,): the folds that all models share. Raises UserError when they don't: a row of a version has one fold."""
    known = {name: one.folds for name, one in job.found.items() if one.folds is not None}
    unknown = [name for name, one in job.found.items() if one.folds is None and list(one.files) != [-1]]
    first = next(iter(known.values()), None)
    if first is None:
        return np.full(len(job.rows.ids), -1, dtype=np.int64)
    different = [name for name, one in known.items() if not np.array_equal(one, first)] + unknown
    if different:
        raise UserError(
            "the models of a version share their folds",
            found=f"{', '.join(different)} with other or unknown folds than {next(iter(known))}",
            remedy="adopt them one after the other, and join the versions with [inference] members",
        )
    return first


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _adopted(job: Job, model: Model, assigned: NDArray[np.int64]) -> TrainedModel:
    """Convert one model's weights, and predict the rows that they did not see."""
    found = job.found[model.name]
    learner = learners.of(learners.Given(job.config, model, job.rows, job.root, job.workspace, job.name, job.report))
    job.notes += found.notes
    pictures = isinstance(learner.input, Input)
    if pictures and model.backbone.startswith("hf/") and not model.input.model_fields_set & PREPROCESSING:
        job.notes += models.data_config(model.backbone, learner.given.source)["notes"]
    points = [_converted(job, learner, fold) for fold in found.files]
    _refuse_twins(model, points)
    predicted = oof.empty(len(job.rows.ids), len(job.rows.classes), learner.given.names)
    scored = []
    for point in points:
        job.tell(f"{model.name} fold {point.fold}: predict the rows it did not see")
        rows = np.flatnonzero(assigned == point.fold) if found.folds is not None else np.array([], dtype=np.int64)
        started = time.perf_counter()
        if len(rows):
            oof.fill(predicted, Network(_network(job, learner, point.file), job.heads), learner.shown, rows)
        part = predicted["identity"][rows]
        score = oof.score(job.metric, job.rows.y[rows], part)
        scored.append(Checkpoint(**{**vars(point), "score": score, "seconds": time.perf_counter() - started}))
    _refuse_squashed(job, model, predicted["identity"])
    oof.save(predicted, job.folder, model.name)
    return TrainedModel(
        name=model.name,
        backbone=model.backbone,
        arguments=model.arguments,
        pretrained=False,
        input=learner.input,
        checkpoints=tuple(scored),
        views=tuple(predicted),
        score=oof.score(job.metric, job.rows.y, predicted["identity"]),
        build=model.build,
        sources=learner.keep(job.folder / "source" / model.name),
        compared=_compared(job, learner, scored, assigned, predicted["identity"]),
        **{**learner.facts(), "licence": ""},
    )


def _refuse_squashed(job: Job, model: Model, predicted: NDArray[np.float32]) -> None:
    """Raise UserError for labels that went through the logistic function twice: what it makes of 0 to 1 is 0.5 to 0.73."""
    known = predicted[np.isfinite(predicted).all(axis=1)]
    if job.rows.heads[0].link != SIGMOID or known.size < ENOUGH or known.min() < 0.5 or known.max() > TWICE:
        return
    raise UserError(
        f"{model.build or model.backbone} answers with probabilities",
        found=f"numbers from 0 to 1 for all of {len(known)} rows",
        expected="logits: the logistic function is applied once, by what runs the model",
        remedy="leave the sigmoid out of forward",
    )


def _converted(job: Job, learner: Learner, fold: int) -> Checkpoint:
    """Read one checkpoint into the network, try it, and save it as .safetensors. `score` and `seconds` come later."""
    model = learner.given.model
    path = job.found[model.name].files[fold]
    job.tell(f"{model.name}: read {path.name}")
    module: Any = learner.network(0, pretrained=False)
    notes = checkpoints.load(module.backbone, path, len(job.rows.classes))
    job.notes += [f"{model.name}: {note}" for note in notes]
    learner.try_out(module)
    file = job.folder / "checkpoints" / (f"{model.name}-f{fold}.safetensors" if fold >= 0 else f"{model.name}-all.safetensors")
    checkpoints.save(module.backbone, file)
    return Checkpoint(
        fold=fold,
        file=file.name,
        sha256=sha256_file(file),
        bytes=file.stat().st_size,
        score=None,
        seconds=0.0,
        origin=path.relative_to(job.workspace.root).as_posix(),
        origin_sha256=_sha256(path),
    )


def _sha256(path: Path) -> str:
    """Of a file, or of the weight files in a folder."""
    if path.is_dir():
        return digest_of([[piece.name, sha256_file(piece)] for piece in huggingface.weights_in(path)])
    return sha256_file(path)


def _refuse_twins(model: Model, points: list[Checkpoint]) -> None:
    first: dict[str, Checkpoint] = {}
    for point in points:
        twin = first.setdefault(point.sha256, point)
        if twin is not point:
            raise UserError(
                f"two folds of {model.name} have the same weights",
                file=point.origin,
                found=f"equal to {twin.origin}",
                expected="each fold's own: one model cannot have left out both",
                remedy="bring the right checkpoint",
            )


def _network(job: Job, learner: Learner, file: str) -> Any:
    module = learner.network(0, pretrained=False)
    models.load_weights(module, job.folder / "checkpoints" / file)
    return module.to(_device())


def _compared(
    job: Job, learner: Learner, points: Iterable[Checkpoint], assigned: NDArray[np.int64], ours: NDArray[np.float32]
) -> Comparison | None:
    """Our predictions beside those that kernel.toml gives, if it does. Raises GateError when they differ."""
    model = learner.given.model
    theirs, metric, allowed = job.found[model.name].oof, job.metric, job.config.export.max_score_drop
    if theirs is None:
        return None
    if isinstance(learner.input, Input):
        files, facts = {point.fold: point.file for point in points}, learner.facts()
        suspect = Suspect(
            name=model.name,
            oof=model.oof,
            setting=Setting(learner.input, facts["mean"], facts["std"]),
            network=lambda fold: _network(job, learner, files[fold]),
            tell=lambda text: job.report(job.done, job.total, text),
        )
        result, note = comparison.compare(suspect, job.rows, assigned, ours, theirs, metric, allowed)
    else:
        result, note = comparison.of_texts(model.name, model.oof, job.rows, assigned, ours, theirs, metric, allowed)
    job.notes += [note] if note else []
    return result
