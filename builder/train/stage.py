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

from builder import competition, metrics
from builder.errors import UserError
from builder.progress import Report, silent
from builder.train import folds, learners, naming, oof, record
from builder.train.learners import Learner
from builder.train.naming import current, digest
from builder.train.record import Checkpoint, TrainedModel, Version
from builder.workspace import Workspace, locked, read_json, sha256_file, write_json, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config
    from builder.metrics import Metric

STARTED = "training.json"
__all__ = ["current", "digest", "train"]

TOLD = ("fold", "file", "sha256", "bytes", "score", "seconds")  # of a checkpoint, when it was trained
PACKAGES = ("torch", "timm", "lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """One training: the config, its data, who learns, and the folder that becomes the version."""

    config: Config
    rows: competition.Rows
    folds: NDArray[np.int64]
    folder: Path
    learners: tuple[Learner, ...]
    metric: Metric
    report: Report

    @property
    def total(self) -> int:
        """Steps in all, the unit of progress."""
        return self.config.cv.folds * sum(learner.steps for learner in self.learners)

    def before(self, learner: Learner, fold: int) -> int:
        """Steps that come before those of a fold."""
        earlier = self.learners[: self.learners.index(learner)]
        return self.config.cv.folds * sum(one.steps for one in earlier) + fold * learner.steps


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
        assignment = folds.of(rows, config.cv)
        metric = metrics.of(config.competition.metric, rows.heads, workspace.kernels / name)
        made = [learners.Given(config, model, rows, root, workspace, name, report) for model in config.model]
        learning = tuple(learners.of(given) for given in made)
        for learner in learning:
            learner.check()
        folder = _folder(workspace.weights(name), key, resume=resume or fold is not None)
        job = Job(config, rows, assignment, folder, learning, metric, report)
        return _trained_version(job, name, key, fold), True


def _trained_version(job: Job, name: str, key: str, fold: int | None) -> Version | None:
    """Train what is missing; the version when all folds are there."""
    write_text(job.folder / record.FOLDS, folds.to_csv(job.rows.ids, job.folds, job.rows.told))
    started = time.perf_counter()
    every = range(job.config.cv.folds)
    chosen = every if fold is None else [fold]
    devices = {_train_fold(job, learner, number) for learner in job.learners for number in chosen}
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


def _train_fold(job: Job, learner: Learner, fold: int) -> str:
    """Train one fold unless it is done, and save weights, then their record. Returns the device's name."""
    told, before = _fold_file(job.folder, learner.name, fold), job.before(learner, fold)
    if told.is_file():
        job.report(before + learner.steps, job.total, f"{learner.name} fold {fold}: kept")
        return str(read_json(told, remedy=f"remove {told}")["device"])
    learn, held_out = np.flatnonzero(folds.seen(job.folds, fold, job.config.cv.scheme)), np.flatnonzero(job.folds == fold)
    started = time.perf_counter()
    text = f"train {learner.name} fold {fold + 1} of {job.config.cv.folds}"

    def told_step(step: int, loss: float) -> None:
        epoch = f", epoch {step} of {learner.steps}, loss {loss:.3f}" if learner.steps > 1 else ""
        job.report(before + step, job.total, text + epoch)

    fitted = learner.fit(learn, job.config.train.seed + 1000 * job.learners.index(learner) + fold, told_step)
    elapsed = time.perf_counter() - started
    score = job.metric.or_none(job.rows.y[held_out], fitted.answers(learner.shown, held_out))
    weights = job.folder / "checkpoints" / f"{learner.name}-f{fold}{learner.suffix}"
    fitted.save(weights)
    fact = Checkpoint(fold, weights.name, sha256_file(weights), weights.stat().st_size, score, elapsed)
    write_json(told, {**{key: getattr(fact, key) for key in TOLD}, "device": fitted.device})
    return fitted.device


def _finish(job: Job, name: str, key: str, seconds: float, device: str) -> Version:
    """Out-of-fold predictions of every model and view, then version.json."""
    trained = tuple(_trained(job, learner) for learner in job.learners)
    version = Version(
        name=name,
        version=job.folder.name,
        digest=key,
        folder=job.folder,
        metric=job.config.competition.metric,
        classes=job.rows.classes,
        heads=record.told(job.rows.heads),
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


def _trained(job: Job, learner: Learner) -> TrainedModel:
    model, names = learner.given.model, learner.given.names
    told = [read_json(_fold_file(job.folder, model.name, fold), remedy="train again") for fold in range(job.config.cv.folds)]
    points = tuple(Checkpoint(**{key: fact[key] for key in TOLD}) for fact in told)
    found = oof.empty(len(job.rows.ids), len(job.rows.classes), names)
    for checkpoint in points:
        fitted = learner.load(job.folder / "checkpoints" / checkpoint.file)
        oof.fill(found, fitted, learner.shown, np.flatnonzero(job.folds == checkpoint.fold))
    oof.save(found, job.folder, model.name)
    return TrainedModel(
        name=model.name,
        backbone=model.backbone,
        arguments=model.arguments,
        beside=model.beside,
        pretrained=model.pretrained,
        input=learner.input,
        checkpoints=points,
        views=tuple(found),
        score=oof.score(job.metric, job.rows.y, found["identity"]),
        build=model.build,
        sources=learner.keep(job.folder / "source" / model.name),
        **learner.facts(),
    )
