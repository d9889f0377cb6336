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
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import competition, images, metrics, models
from builder.errors import UserError
from builder.progress import Report, silent
from builder.runtime import views
from builder.runtime.contract import Input
from builder.train import fit, folds, record
from builder.train.record import Checkpoint, TrainedModel, Version
from builder.workspace import Workspace, digest_of, locked, read_json, replacing, sha256_file, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config, Model

STARTED = "training.json"
PACKAGES = ("torch", "timm", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """One training: the config, its data, and the folder that becomes the version."""

    config: Config
    rows: competition.Rows
    folds: NDArray[np.int64]
    root: Path
    folder: Path
    cache: Path
    report: Report

    @property
    def total(self) -> int:
        """Epochs in all, the unit of progress."""
        return len(self.config.model) * self.config.cv.folds * self.config.train.epochs


def digest(config: Config, workspace: Workspace) -> str:
    """Names what a training would be made from: the keys that matter to it, the training table and the images.

    Equal inputs have equal digests on every machine, so a version that was trained elsewhere counts.
    """
    root = config.data_root(workspace.root)
    return _digest(config, root, competition.train_rows(config, root), workspace.cache)


def _digest(config: Config, root: Path, rows: competition.Rows, cache: Path) -> str:
    sections = {key: getattr(config, key).model_dump(mode="json") for key in ("cv", "train")}
    sections["data"] = config.data.model_dump(mode="json", include={"task", "train", "id", "target", "image"})
    sections["model"] = [model.model_dump(mode="json") for model in config.model]
    table = sha256_file(root / config.data.train)
    return digest_of([record.SCHEMA, sections, config.competition.metric, table, images.fingerprint(rows.paths, root, cache)])


def current(workspace: Workspace, name: str, digest: str) -> Version | None:
    """The finished version that was made from `digest`, or None."""
    return next((v for v in reversed(record.finished(workspace.weights(name))) if v.digest == digest), None)


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
    if fold is not None and not 0 <= fold < config.cv.folds:
        raise UserError("no such fold", found=fold, expected=f"0 to {config.cv.folds - 1}", remedy="choose one of them")
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    key = _digest(config, root, rows, workspace.cache)
    with locked(workspace.private / "locks" / f"train-{name}"):
        done = current(workspace, name, key)
        if done:
            return done, False
        # Whatever can be wrong with the input shows before a version's folder exists.
        assignment = folds.assign(rows.codes, config.cv)
        for model in config.model:
            _module(model, len(rows.classes), pretrained=False)
            images.decoded(rows.paths, shape_of(model)[0], root=root, cache=workspace.cache, report=report)
        folder = _folder(workspace.weights(name), key, resume=resume or fold is not None)
        job = Job(config, rows, assignment, root, folder, workspace.cache, report)
        return _trained_version(job, name, key, fold), True


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


def shape_of(model: Model) -> tuple[Input, tuple[float, ...], tuple[float, ...]]:
    """Preprocessing, mean and std of a `[[model]]`, with timm's own data config where kernel.toml is silent."""
    own = models.data_config(model.backbone)
    wanted = model.input
    height, width = (wanted.size, wanted.size) if wanted.size else own["input_size"][1:]
    shape = Input(height, width, wanted.resize, wanted.interpolation, wanted.library, wanted.color)
    return shape, tuple(wanted.mean or own["mean"]), tuple(wanted.std or own["std"])


def _module(model: Model, classes: int, *, pretrained: bool) -> Any:
    shape, mean, std = shape_of(model)
    size = (shape.height, shape.width)
    return models.portable(
        models.create(model.backbone, model.arguments, classes, pretrained=pretrained, image_size=size), mean, std
    )


def _fold_file(folder: Path, model: str, fold: int) -> Path:
    return folder / "checkpoints" / f"{model}-f{fold}.json"


def _train_fold(job: Job, position: int, model: Model, fold: int) -> str:
    """Train one fold unless it is done, and save weights, then their record. Returns the device's name."""
    import torch
    from safetensors.torch import save_file

    told = _fold_file(job.folder, model.name, fold)
    done = (position * job.config.cv.folds + fold) * job.config.train.epochs
    if told.is_file():
        job.report(done + job.config.train.epochs, job.total, f"{model.name} fold {fold}: kept")
        return str(read_json(told, remedy=f"remove {told}")["device"])
    pixels = images.decoded(job.rows.paths, shape_of(model)[0], root=job.root, cache=job.cache, report=job.report)
    recipe, held_out = job.config.train, np.flatnonzero(job.folds == fold)
    seed = recipe.seed + 1000 * position + fold
    torch.manual_seed(seed)  # the initial weights, too, must not depend on what was trained before
    module = _module(model, len(job.rows.classes), pretrained=model.pretrained)
    started = time.perf_counter()
    text = f"train {model.name} fold {fold + 1} of {job.config.cv.folds}"

    def told_epoch(epoch: int, loss: float) -> None:
        job.report(done + epoch, job.total, f"{text}, epoch {epoch} of {recipe.epochs}, loss {loss:.3f}")

    device = fit.fit(module, pixels, job.rows.codes, np.flatnonzero(job.folds != fold), recipe, seed, told_epoch)
    elapsed = time.perf_counter() - started
    metric = metrics.get(job.config.competition.metric)
    score = metric.or_none(job.rows.codes[held_out], models.probabilities(module.cpu(), pixels, held_out))
    weights = job.folder / "checkpoints" / f"{model.name}-f{fold}.safetensors"
    with replacing(weights) as temporary:
        save_file({key: value.contiguous() for key, value in module.backbone.state_dict().items()}, temporary)
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
    shape, mean, std = shape_of(model)
    pixels = images.decoded(job.rows.paths, shape, root=job.root, cache=job.cache)
    told = [read_json(_fold_file(job.folder, model.name, fold), remedy="train again") for fold in range(job.config.cv.folds)]
    for fact in told:
        fact.pop("device")
    checkpoints = tuple(Checkpoint(**fact) for fact in told)
    names = job.config.inference.views
    oof = {view: np.zeros((len(pixels), len(job.rows.classes)), dtype=np.float32) for view in names}
    for checkpoint in checkpoints:
        module = _module(model, len(job.rows.classes), pretrained=False)
        models.load_weights(module, job.folder / "checkpoints" / checkpoint.file)
        held_out = np.flatnonzero(job.folds == checkpoint.fold)
        for view in names:
            seen = views.get(view).apply(pixels[held_out])
            oof[view][held_out] = models.probabilities(module, seen, np.arange(len(held_out)))
    for view, predicted in oof.items():
        with replacing(job.folder / "oof" / f"{model.name}-{view}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, predicted)
    score = metrics.get(job.config.competition.metric)(job.rows.codes, oof["identity"])
    return TrainedModel(
        name=model.name,
        backbone=model.backbone,
        arguments=model.arguments,
        pretrained=model.pretrained,
        input=shape,
        mean=mean,
        std=std,
        checkpoints=checkpoints,
        views=tuple(names),
        score=score,
        licence=models.data_config(model.backbone)["licence"] if model.pretrained else "",
    )
