"""kkb export: every fold of a version as a portable model that was compared with its source and priced.

Expects: a finished version, and the competition's training images.
Produces: what `record.py` describes; export.json last. Two gates: the largest difference of a probability at every batch size in
use, and the competition metric on all out-of-fold rows.
Never: changes an export that has its export.json.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from builder import competition, images, machines, metrics, models
from builder.errors import GateError, UserError
from builder.export import onnx_format, record
from builder.export.record import Export, ExportedModel
from builder.progress import Report, silent
from builder.runtime import backends, views
from builder.train import record as trained
from builder.workspace import Workspace, digest_of, replacing, sha256_file, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config

BATCH = 32  # samples per call in the notebook
COMPARED = (1, 2, 7, BATCH)
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
TIMED_RUNS = 7
DECODED_FOR_PRICE = 32
PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Job:
    """One export: what, from where, to where."""

    config: Config
    version: trained.Version
    rows: competition.Rows
    folds: NDArray[np.int64]
    root: Path
    folder: Path
    cache: Path
    precision: str
    report: Report


def precision_of(config: Config) -> str:
    """The precision that `auto` stands for: half precision where there is a GPU, single on a CPU, which has no fast halves."""
    if config.export.precision != "auto":
        return config.export.precision
    return "fp16" if machines.load(config.competition.machine).accelerator == "cuda" else "fp32"


def digest(config: Config, version: trained.Version) -> str:
    """Names what an export of `version` would be made from."""
    weights = {f"{model.name}-f{c.fold}": c.sha256 for model in version.models for c in model.checkpoints}
    gates = config.export.model_dump(mode="json")
    return digest_of([record.SCHEMA, weights, gates, precision_of(config), config.inference.views, version.metric])


def folder_of(config: Config, version: trained.Version) -> Path:
    """Where that export lies."""
    return version.folder / "exports" / short(digest(config, version))


def current(config: Config, version: trained.Version) -> Export | None:
    """The finished export of `version` that kernel.toml asks for, or None."""
    folder = folder_of(config, version)
    return record.load(folder) if (folder / record.FILE).is_file() else None


def export(config: Config, workspace: Workspace, version: trained.Version, *, report: Report = silent) -> tuple[Export, bool]:
    """Export, compare and price every fold of `version`; False when that was done already.

    Raises:
        GateError: A model differs from its source by more than kernel.toml allows; nothing is marked as exported.
        UserError: The training images are not the ones that the version was trained on.
    """
    done = current(config, version)
    if done and _is_whole(done):
        return done, False
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    ids, folds, labels = trained_folds(version)
    if ids != rows.ids or labels != tuple(rows.classes[code] for code in rows.codes):
        raise UserError(
            f"{version.version} was trained on other rows, or other labels",
            file=root / config.data.train,
            remedy="kkb train NAME, or bring back its data",
        )
    folder = folder_of(config, version)
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(config, version, rows, folds, root, folder, workspace.cache, precision_of(config), report)
    result = Export(
        digest=digest(config, version),
        version=version.version,
        folder=folder,
        precision=job.precision,
        views=config.inference.views,
        models=tuple(_exported(job)),
        decode_ms=_decode_prices(job),
        scores={model.name: _gated_scores(job, model) for model in version.models},
        prices_from=_processor(),
        packages={package: package_version(package) for package in PACKAGES},
    )
    result.write()
    return result, True


def _is_whole(export: Export) -> bool:
    """Whether the files that git does not keep are here, too: a fresh clone has only the record."""
    models = ((export.folder / model.file, model.bytes) for model in export.models)
    arrays = (export.oof(name, view) for name in export.scores for view in export.views)
    return all(p.is_file() and p.stat().st_size == size for p, size in models) and all(p.is_file() for p in arrays)


def trained_folds(version: trained.Version) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Ids, folds int64 (rows,) and labels of a version."""
    return trained.read_folds(version.folder / trained.FOLDS)


def _exported(job: Job) -> Iterator[ExportedModel]:
    total = sum(len(model.checkpoints) for model in job.version.models)
    done = 0
    for model in job.version.models:
        pixels = images.decoded(job.rows.paths, model.input, root=job.root, cache=job.cache, report=job.report)
        shape = (len(pixels), len(job.version.classes))
        oof: dict[str, NDArray[np.float32]] = {view: np.zeros(shape, dtype=np.float32) for view in job.config.inference.views}
        for checkpoint in model.checkpoints:
            job.report(done, total, f"{model.name} fold {checkpoint.fold}: export and compare")
            yield _one(job, model, checkpoint.fold, pixels, oof)
            done += 1
            job.report(done, total, f"{model.name} fold {checkpoint.fold}: exported")
        for view, predicted in oof.items():
            with replacing(job.folder / f"oof-{model.name}-{view}.npy") as temporary, temporary.open("wb") as stream:
                np.save(stream, predicted)


def _one(
    job: Job, model: trained.TrainedModel, fold: int, pixels: NDArray[np.uint8], oof: dict[str, NDArray[np.float32]]
) -> ExportedModel:
    """Export one fold, fill its rows of `oof`, compare and price it."""
    shape = model.input
    size = (shape.height, shape.width)
    backbone = models.create(model.backbone, model.arguments, len(job.version.classes), pretrained=False, image_size=size)
    source = models.portable(backbone, model.mean, model.std).eval()
    checkpoint = job.version.checkpoint(model, fold)
    _refuse_changed(checkpoint, next(c.sha256 for c in model.checkpoints if c.fold == fold))
    models.load_weights(source, checkpoint)
    file = job.folder / f"{model.name}-f{fold}-{job.precision}.onnx"
    with replacing(file) as temporary:
        onnx_format.write(source, shape.height, shape.width, temporary, job.precision)
    opened = time.perf_counter()
    backend = backends.open(file)
    held_out = np.flatnonzero(job.folds == fold)
    backend.run(pixels[held_out[:1]])
    load_ms = (time.perf_counter() - opened) * 1e3
    expected = models.probabilities(source, pixels, held_out)
    difference = max(_difference(backend, pixels[held_out], expected, batch) for batch in COMPARED)
    limit = job.config.export.max_abs_diff or TOLERANCE[job.precision]
    if not difference <= limit:
        raise GateError(
            f"the export of {model.name} fold {fold} differs from its checkpoint",
            file=file,
            found=f"a probability differs by {difference:.1e}",
            expected=f"at most {limit:.0e}",
            remedy='set export.precision = "fp32", or export.max_abs_diff if you know why',
        )
    for view, predicted in oof.items():
        predicted[held_out] = _answers(backend, views.get(view).apply(pixels[held_out]), BATCH)
    answered = oof["identity"][held_out]
    metric, truth = metrics.get(job.version.metric), job.rows.codes[held_out]
    score, before = metric.or_none(truth, answered), metric.or_none(truth, expected)
    return ExportedModel(
        name=model.name,
        fold=fold,
        format="onnx",
        precision=job.precision,
        file=file.name,
        sha256=sha256_file(file),
        bytes=file.stat().st_size,
        batches=COMPARED,
        max_abs_diff=difference,
        argmax_equal=float((answered.argmax(1) == expected.argmax(1)).mean()),
        score=score,
        score_delta=None if score is None or before is None else score - before,
        ms_per_sample={str(batch): _price(backend, pixels, batch) for batch in (1, BATCH)},
        load_ms=load_ms,
    )


def _refuse_changed(checkpoint: Path, expected: str) -> None:
    """Raise UserError when the weights are not the ones that were trained: names that are digests must not lie."""
    if not checkpoint.is_file():
        raise UserError(
            "the checkpoint is missing",
            file=checkpoint,
            remedy=f"bring it back, or remove {checkpoint.parents[1]} and train again",
        )
    found = sha256_file(checkpoint)
    if found != expected:
        raise UserError(
            "the checkpoint was changed", file=checkpoint, found=found, expected=expected, remedy="bring it back, or train again"
        )


def _answers(backend: backends.Backend, pixels: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    return np.concatenate([backend.run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])


def _difference(backend: backends.Backend, pixels: NDArray[np.uint8], expected: NDArray[np.float32], batch: int) -> float:
    """Largest difference of a probability when rows come in batches of `batch`; NaN counts as infinite."""
    rows = min(len(pixels), max(16, 2 * batch + 1))  # ends with a smaller batch, as real runs do
    difference = np.abs(_answers(backend, pixels[:rows], batch) - expected[:rows])
    return float(np.nan_to_num(difference, nan=np.inf).max())


def _price(backend: backends.Backend, pixels: NDArray[np.uint8], batch: int) -> float:
    """Milliseconds per sample on one thread: the median of some calls after a warm-up."""
    example = np.ascontiguousarray(pixels[np.arange(batch) % len(pixels)])
    backend.run(example)
    spent = []
    for _ in range(TIMED_RUNS):
        started = time.perf_counter()
        backend.run(example)
        spent.append(time.perf_counter() - started)
    return median(spent) * 1e3 / batch


def _decode_prices(job: Job) -> dict[str, float]:
    """Preprocessing key -> milliseconds to read and resize one image, one thread."""
    from builder.runtime import inputs

    paths = job.rows.paths[:DECODED_FOR_PRICE]
    prices = {}
    for shape in {model.input.key: model.input for model in job.version.models}.values():
        started = time.perf_counter()
        inputs.decode_many(paths, shape)
        prices[shape.key] = (time.perf_counter() - started) * 1e3 / len(paths)
    return prices


def _gated_scores(job: Job, model: trained.TrainedModel) -> dict[str, float]:
    """View -> metric on all out-of-fold rows. Raises GateError when the identity view lost more than kernel.toml allows."""
    metric = metrics.get(job.version.metric)
    scores: dict[str, float] = {
        view: metric(job.rows.codes, np.load(job.folder / f"oof-{model.name}-{view}.npy")) for view in job.config.inference.views
    }
    before = metric(job.rows.codes, np.load(job.version.oof(model.name, "identity")))
    lost = -metric.gain(scores["identity"], before)
    if lost > job.config.export.max_score_drop:
        raise GateError(
            f"the export of {model.name} lost score on out-of-fold rows",
            file=job.folder,
            found=f"{metric.name} {scores['identity']:.5f} after, {before:.5f} before",
            expected=f"a loss of at most {job.config.export.max_score_drop}",
            remedy='set export.precision = "fp32", or export.max_score_drop if the loss is worth it',
        )
    return scores


def _processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
