"""kkb train: a new `weights/<name>/vNNN` with a checkpoint per model and fold, and out-of-fold predictions.

Expects: kernel.toml and the competition's files.
Produces: what `record.py` describes; version.json last. A kill leaves a folder without version.json, whose finished folds
`resume` takes over.
Never: touches a version that has its version.json.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import checkpoints, competition, images, metrics, models
from builder.errors import UserError
from builder.progress import Report, silent
from builder.runtime import views
from builder.train import fit, folds, naming, oof, record, sources
from builder.train.naming import current, digest
from builder.train.record import Checkpoint, TrainedModel, Version
from builder.workspace import Workspace, locked, read_json, sha256_file, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config, Model

STARTED = "training.json"
__all__ = ["current", "digest", "train"]

PACKAGES = ("torch", "timm", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """One training: the config, its data, and the folder that becomes the version."""

    config: Config
    rows: competition.Rows
    folds: NDArray[np.int64]
    root: Path
    folder: Path
    workspace: Workspace
    name: str
    report: Report

    @property
    def cache(self) -> Path:
        return self.workspace.cache

    def source(self, model: Model) -> Path | None:
        """Where the model's own code or configuration lies."""
        return sources.folder_of(model, self.workspace, self.name)

    @property
    def total(self) -> int:
        """Epochs in all, the unit of progress."""
        return len(self.config.model) * self.config.cv.folds * self.config.train.epochs


def train(
    config: Config, workspace: Workspace, name: str, *, resume: bool = False, fold: int | None = None, report: Report = silent
) -> tuple[Version | None, bool]:
    """Train what kernel.toml describes.

    Args:
        resume: Take over the finished folds of a training of the same inputs that was interrupted.
        fold: Train this fold only, and leave the version unfinished; `resume` completes it.

    Returns:
        The version (None when `fold` left it unfinished), and False when it was there already.

    Raises:
        UserError: The data or the config are wrong, or `fold` is not one of the folds.
    """
    if config.model[0].checkpoints:
        raise UserError("these weights were trained elsewhere", found="checkpoints in kernel.toml", remedy=f"kkb adopt {name}")
    if fold is not None and not 0 <= fold < config.cv.folds:
        raise UserError("no such fold", found=fold, expected=f"0 to {config.cv.folds - 1}", remedy="choose one of them")
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    key = naming.digest(config, workspace, name, rows)
    with locked(workspace.private / "locks" / f"train-{name}"):
        done = current(workspace, name, key)
        if done:
            return done, False
        # Whatever can be wrong with the input shows before a version's folder exists.
        assignment = folds.assign(rows.codes, config.cv)
        for model in config.model:
            source = sources.folder_of(model, workspace, name)
            sources.check(model, len(rows.classes), source)
            _refuse_sizes(config, model, len(rows.classes), source)
            shape, _, _ = sources.shape_of(model, source)
            images.seen(rows.paths, shape, config.inference.views, root=root, cache=workspace.cache, report=report)
        folder = _folder(workspace.weights(name), key, resume=resume or fold is not None)
        job = Job(config, rows, assignment, root, folder, workspace, name, report)
        return _trained_version(job, name, key, fold), True


def _refuse_sizes(config: Config, model: Model, classes: int, source: Path | None) -> None:
    """Raise UserError when a view shows the network a size that it cannot take: hours of training would come before that."""
    shape, _, _ = sources.shape_of(model, source)
    names = config.inference.views
    if any(views.shape_of(name, shape) != (shape.height, shape.width) for name in names):
        module = sources.network(model, classes, source, pretrained=False)
        models.check_views(module, shape, names, classes, model.build or model.backbone, source)


def _trained_version(job: Job, name: str, key: str, fold: int | None) -> Version | None:
    """Train what is missing; the version when all folds are there."""
    labels = [job.rows.classes[code] for code in job.rows.codes]
    write_text(job.folder / record.FOLDS, folds.to_csv(job.rows.ids, job.folds, labels))
    started = time.perf_counter()
    every = range(job.config.cv.folds)
    chosen = every if fold is None else [fold]
    devices = {_train_fold(job, position, model, number) for position, model in enumerate(job.config.model) for number in chosen}
    if any(not _fold_file(job.folder, model.name, number).is_file() for model in job.config.model for number in every):
        return None
    return _finish(job, name, key, time.perf_counter() - started, ", ".join(sorted(devices)))


def _folder(weights: Path, key: str, *, resume: bool) -> Path:
    """The interrupted folder of the same inputs when resuming, else a new one."""
    numbers = record.numbers(weights)
    for number in reversed(numbers):
        folder = weights / f"v{number:03d}"
        started = folder / STARTED
        unfinished = resume and started.is_file() and not (folder / record.FILE).exists()
        if unfinished and read_json(started, remedy=f"remove {folder}")["digest"] == key:
            return folder
    folder = weights / f"v{(numbers[-1] if numbers else 0) + 1:03d}"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "oof").mkdir()
    write_json(folder / STARTED, {"digest": key})
    return folder


def _fold_file(folder: Path, model: str, fold: int) -> Path:
    return folder / "checkpoints" / f"{model}-f{fold}.json"


def _train_fold(job: Job, position: int, model: Model, fold: int) -> str:
    """Train one fold unless it is done, and save weights, then their record. Returns the device's name."""
    import torch

    told = _fold_file(job.folder, model.name, fold)
    done = (position * job.config.cv.folds + fold) * job.config.train.epochs
    if told.is_file():
        job.report(done + job.config.train.epochs, job.total, f"{model.name} fold {fold}: kept")
        return str(read_json(told, remedy=f"remove {told}")["device"])
    source = job.source(model)
    shape, _, _ = sources.shape_of(model, source)
    pixels = images.decoded(job.rows.paths, shape, root=job.root, cache=job.cache, report=job.report)
    recipe, held_out = job.config.train, np.flatnonzero(job.folds == fold)
    seed = recipe.seed + 1000 * position + fold
    torch.manual_seed(seed)  # the initial weights, too, must not depend on what was trained before
    module = sources.network(model, len(job.rows.classes), source, pretrained=model.pretrained)
    started = time.perf_counter()
    text = f"train {model.name} fold {fold + 1} of {job.config.cv.folds}"

    def told_epoch(epoch: int, loss: float) -> None:
        job.report(done + epoch, job.total, f"{text}, epoch {epoch} of {recipe.epochs}, loss {loss:.3f}")

    device = fit.fit(module, pixels, job.rows.codes, np.flatnonzero(job.folds != fold), recipe, seed, told_epoch)
    elapsed = time.perf_counter() - started
    metric = metrics.get(job.config.competition.metric)
    score = metric.or_none(job.rows.codes[held_out], models.probabilities(module.cpu(), pixels, held_out))
    weights = job.folder / "checkpoints" / f"{model.name}-f{fold}.safetensors"
    checkpoints.save(module.backbone, weights)
    size, sha256 = weights.stat().st_size, sha256_file(weights)
    write_json(
        told,
        {
            "fold": fold,
            "file": weights.name,
            "sha256": sha256,
            "bytes": size,
            "score": score,
            "seconds": elapsed,
            "device": device,
        },
    )
    return device


def _finish(job: Job, name: str, key: str, seconds: float, device: str) -> Version:
    """Out-of-fold predictions of every model and view, then version.json."""
    trained = tuple(_trained(job, model) for model in job.config.model)
    version = Version(
        name=name,
        version=job.folder.name,
        digest=key,
        folder=job.folder,
        metric=job.config.competition.metric,
        classes=job.rows.classes,
        prior=job.rows.prior,
        rows=len(job.rows.ids),
        folds=job.config.cv.folds,
        folds_sha256=sha256_file(job.folder / record.FOLDS),
        models=trained,
        seconds=seconds,
        device=device,
        packages={package: package_version(package) for package in PACKAGES},
    )
    version.write()
    (job.folder / STARTED).unlink(missing_ok=True)
    return version


def _trained(job: Job, model: Model) -> TrainedModel:
    folder = job.source(model)
    shape, mean, std = sources.shape_of(model, folder)
    names = job.config.inference.views
    pixels = images.seen(job.rows.paths, shape, names, root=job.root, cache=job.cache)
    told = [read_json(_fold_file(job.folder, model.name, fold), remedy="train again") for fold in range(job.config.cv.folds)]
    for fact in told:
        fact.pop("device")
    points = tuple(Checkpoint(**fact) for fact in told)
    found = oof.empty(len(job.rows.ids), len(job.rows.classes), names)
    for checkpoint in points:
        module = sources.network(model, len(job.rows.classes), folder, pretrained=False)
        models.load_weights(module, job.folder / "checkpoints" / checkpoint.file)
        oof.fill(found, module, pixels, np.flatnonzero(job.folds == checkpoint.fold))
    oof.save(found, job.folder, model.name)
    return TrainedModel(
        name=model.name,
        backbone=model.backbone,
        arguments=model.arguments,
        pretrained=model.pretrained,
        input=shape,
        mean=mean,
        std=std,
        checkpoints=points,
        views=tuple(found),
        score=oof.score(job.config.competition.metric, job.rows.codes, found["identity"]),
        licence=models.data_config(model.backbone, folder)["licence"] if model.pretrained else "",
        build=model.build,
        sources=sources.keep(model, folder, job.folder),
    )
