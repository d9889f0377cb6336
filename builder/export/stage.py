"""kkb export: every fold of a version as a portable model that was compared with its source and priced.

Expects: a finished version, and the competition's training images.
Produces: what `record.py` describes; export.json last. Two gates: the largest difference of an answer, and the competition metric
    on all out-of-fold rows.
Never: changes an export that has its export.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import competition, machines, metrics, models
from builder.errors import GateError, UserError
from builder.export import fold as folding
from builder.export import native, parity, pricing, probes, record, source
from builder.export.record import Export, ExportedModel, Priced, Probe
from builder.export.samples import Samples, features
from builder.progress import Report, silent
from builder.runtime import devices, views
from builder.runtime.contract import Input
from builder.shown import Shown, size_of, views_of
from builder.train import record as trained
from builder.workspace import Workspace, digest_of, replacing, sha256_file, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.config import Config
    from builder.runtime.contract import Head

PROBE_SLACK = 1e-3  # another processor sums in another order, another image library rounds otherwise
HOOKS = "hooks.py"
LARGE = 10_000_000  # bytes of weights; below, the start of a process costs more than the memory that it saves
PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy")
NO_GPU = "compared and priced on a CPU, for this machine has no GPU: the commit run on Kaggle measures the real one"


@dataclass(frozen=True)
class Job:
    """One export: what, from where, to where."""

    config: Config
    version: trained.Version
    samples: Samples
    folds: NDArray[np.int64]
    folder: Path
    recipe: folding.Recipe
    report: Report

    @property
    def rows(self) -> competition.Rows:
        return self.samples.rows


def precision_of(config: Config) -> str:
    """The precision that `auto` stands for: half precision where there is a GPU, single on a CPU, which has no fast halves."""
    if config.export.precision != "auto":
        return config.export.precision
    return "fp16" if machines.load(config.competition.machine).accelerator == "cuda" else "fp32"


def digest(config: Config, version: trained.Version) -> str:
    """Names what an export of `version` would be made from."""
    weights = {f"{model.name}-f{c.fold}": c.sha256 for model in version.models for c in model.checkpoints}
    gates = config.export.model_dump(mode="json")
    planned = machines.load(config.competition.machine).batch
    compared = [backend] if (backend := _backend(config)) else []
    return digest_of(
        [record.SCHEMA, weights, gates, precision_of(config), config.inference.views, version.metric, planned, *compared]
    )


def _backend(config: Config) -> str:
    """What kernel.toml has ONNX run by, when that is not the format's own: it is this that must be equal to the source."""
    chosen = config.inference.backend
    return chosen if config.export.format == "onnx" and chosen not in ("auto", record.BACKENDS["onnx"]) else ""


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
    if done and done.is_whole:
        return done, False
    job = _job(config, workspace, version, report)
    made = [_model(job, model) for model in version.models]
    packages = {package: package_version(package) for package in PACKAGES}
    result = Export(
        digest=digest(config, version),
        version=version.version,
        folder=job.folder,
        precision=job.recipe.precision,
        views=config.inference.views,
        models=tuple(model for folds, _, _ in made for model in folds),
        decode_ms=job.samples.prices(),
        scores={model.name: scores for model, (_, scores, _) in zip(version.models, made, strict=True)},
        prices_from=pricing.processor(),
        packages=packages,
        machine=pricing.machine(packages),
        probes=tuple(probe for _, _, probe in made),
    )
    result.write()
    return result, True


def _job(config: Config, workspace: Workspace, version: trained.Version, report: Report) -> Job:
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    ids, folds, labels = trained_folds(version)
    if ids != rows.ids or labels != rows.told or not _are_alike(version.parts, rows.heads):
        raise UserError(
            f"{version.version} was trained on other rows, or other labels",
            file=root / config.data.train,
            remedy="kkb train NAME, or bring back its data",
        )
    folder = folder_of(config, version)
    folder.mkdir(parents=True, exist_ok=True)
    machine = machines.load(config.competition.machine)
    gpu = machine.accelerator == "cuda" and bool(devices.visible_gpus())
    recipe = folding.Recipe(
        folder=folder,
        format=config.export.format,
        precision=precision_of(config),
        views=config.inference.views,
        planned=machine.batch,
        max_abs_diff=config.export.max_abs_diff,
        metric=metrics.of(version.metric, version.parts, workspace.kernels / version.name),
        y=rows.y,
        device="cuda" if gpu else "cpu",
        threads=devices.cores(),
        image_torch=machine.packages.get("torch", ""),
        backend=_backend(config),
        notes=(NO_GPU,) if machine.accelerator == "cuda" and not gpu else (),
        heads=version.parts,
    )
    hooks = workspace.kernels / version.name / HOOKS
    samples = Samples(version, rows, root, workspace.cache, hooks, config.inference.views, report)
    return Job(config, version, samples, folds, folder, recipe, report)


def _are_alike(own: tuple[Head, ...], now: tuple[Head, ...]) -> bool:
    """Whether both are of the same targets; the last digit of a mean may differ from machine to machine."""
    return [(one.name, one.link, one.classes) for one in own] == [(one.name, one.link, one.classes) for one in now]


def trained_folds(version: trained.Version) -> tuple[tuple[str, ...], NDArray[np.int64], tuple[str, ...]]:
    """Ids, folds int64 (rows,) and labels of a version."""
    return trained.read_folds(version.folder / trained.FOLDS)


def _model(job: Job, model: trained.TrainedModel) -> tuple[list[ExportedModel], dict[str, float | None], Probe]:
    """All folds of one model with their price, their scores by view, and the probe rows."""
    job = replace(job, recipe=replace(job.recipe, views=views_of(job.recipe.views, model.input)))
    shown = job.samples.shown(model)
    shape = (len(job.recipe.views), len(job.rows.ids), len(job.version.classes))
    before, after = np.full((2, *shape), np.nan, dtype=np.float32)
    folds, strangers = [], None
    for fold in _folds(job, model, shown):
        if fold.honest:
            before[:, fold.rows], after[:, fold.rows] = fold.before, fold.after
        else:
            strangers = strangers or fold
        folds.append(fold.model)
    for view, predicted in zip(job.recipe.views, after, strict=True):
        with replacing(job.folder / f"oof-{model.name}-{view}.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, predicted)
    scores = _gated_scores(job, model, before[0], after)
    probe = _probe(job, model, folds, before, strangers)
    job.report(0, None, f"{model.name}: price")
    prices = _prices(job, model, folds[0], shown)
    own = prices[0]
    told = {size: times["median_ms"] for size, times in own.batch.items()}
    beside = job.samples.recipe(model, job.folder)
    priced = [
        replace(
            one,
            prices=prices,
            priced_file=folds[0].file,
            ms_per_sample=told,
            load_ms=own.load_ms,
            beside=(*one.beside, *beside),
        )
        for one in folds
    ]
    return priced, scores, probe


def _prices(job: Job, model: trained.TrainedModel, first: ExportedModel, shown: Shown) -> tuple[Priced, ...]:
    """Prices of a file at each size that views show it, the model's own first."""
    sizes: dict[str, str] = {}
    for view in job.recipe.views:
        sizes.setdefault(size_of(view, model.input), view)
    found: list[Priced] = []
    rows = np.arange(min(max(pricing.BATCHES), len(shown)))
    for size, view in sizes.items():
        example = shown.together(view, rows)
        prices = pricing.price(job.folder / first.file, first.format, example, cuda=job.recipe.device == "cuda")
        found += [replace(one, size=size) for one in prices]
    return tuple(found)


@dataclass(frozen=True)
class Stored:
    """Makes the source of one fold from its checkpoint: small enough to be sent to another process."""

    version: trained.Version
    model: trained.TrainedModel
    fold: int
    views: tuple[str, ...]
    features: int = 0

    def __call__(self) -> source.Source:
        """The network with its weights. Raises UserError when it cannot take the images of a view."""
        model, shape = self.model, self.model.input
        network = self.version.network(model, self.fold)
        first, sized = shape.parts[0], False
        if isinstance(first, Input):
            if shape is first:
                classes, folder = len(self.version.classes), self.version.source_of(model)
                models.check_views(network, first, self.views, classes, model.source, folder)
            sized = any(views.shape_of(view, first) != (first.height, first.width) for view in self.views)
        return source.several(network, shape.parts, self.features, sized=sized)


def _folds(job: Job, model: trained.TrainedModel, shown: Shown) -> Iterator[folding.Fold]:
    total = sum(len(one.checkpoints) for one in job.version.models)
    done = sum(len(one.checkpoints) for one in job.version.models[: job.version.models.index(model)])
    columns = features(shown, model.input)
    for number, checkpoint in enumerate(model.checkpoints, start=done):
        job.report(number, total, f"{model.name} fold {checkpoint.fold}: export and compare")
        path = job.version.checkpoint(model, checkpoint.fold)
        _refuse_changed(path, checkpoint.sha256)
        held_out = np.flatnonzero((job.folds == checkpoint.fold) & (job.folds >= 0))
        opening = Stored(job.version, model, checkpoint.fold, job.recipe.views, columns)
        given = folding.Given(model.name, checkpoint.fold, opening, model.input, shown, checkpoint.bytes > LARGE)
        if native.format_of(path):
            expected = [np.load(job.version.oof(model.name, view)) for view in job.recipe.views]
            yield native.export(job.recipe, given, path, held_out, expected)
        else:
            yield folding.export(job.recipe, given, held_out)
        job.report(number + 1, total, f"{model.name} fold {checkpoint.fold}: exported")


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


def _gated_scores(
    job: Job, model: trained.TrainedModel, before: NDArray[np.float32], after: NDArray[np.float32]
) -> dict[str, float | None]:
    """View -> metric on all out-of-fold rows. Raises GateError when the identity view lost more than kernel.toml allows."""
    metric, honest = job.recipe.metric, np.isfinite(after[0]).all(axis=1)
    truth = job.rows.y[honest]
    if not len(truth):
        return dict.fromkeys(job.recipe.views)
    scores = {view: metric.or_none(truth, seen[honest]) for view, seen in zip(job.recipe.views, after, strict=True)}
    kept = job.version.oof(model.name, "identity")  # what it said when it was trained: other images show, too
    was, now = metric.or_none(truth, (np.load(kept) if kept.is_file() else before)[honest]), scores["identity"]
    if was is None or now is None:
        return scores
    bearable = trained.bearable(job.config.export.max_score_drop, metric, was, job.version.parts)
    if -metric.gain(now, was) > bearable:
        raise GateError(
            f"the export of {model.name} lost score on out-of-fold rows",
            file=job.folder,
            found=f"{metric.name} {now:.5f} after, {was:.5f} before",
            expected=f"a loss of at most {bearable:g}",
            remedy='set export.precision = "fp32", or export.max_score_drop if the loss is worth it',
        )
    return scores


def _probe(
    job: Job, model: trained.TrainedModel, folds: list[ExportedModel], before: NDArray[np.float32], stranger: folding.Fold | None
) -> Probe:
    """Probe rows of one model: those that it had not seen, or, for a model that saw all rows, some that it saw."""
    honest = np.where(np.isfinite(before).all(axis=(0, 2)), job.folds, -1)
    chosen = probes.choose(honest, job.rows.strata)
    values, numbers = before[:, chosen], honest[chosen]
    if not len(chosen) and stranger:
        chosen = stranger.rows[: probes.ROWS]
        values, numbers = stranger.before[:, : probes.ROWS], np.full(len(chosen), stranger.model.fold)
    table = competition.read_table(job.samples.root / job.config.data.train).iloc[chosen].to_dict("records")
    images = [path.relative_to(job.samples.root).as_posix() for path in job.rows.paths] or [""] * len(job.rows.ids)
    rows = [
        {"fold": int(number), "row": cells, "image": images[row]}
        for number, row, cells in zip(numbers, chosen, table, strict=True)
    ]
    allowed = parity.limit(job.recipe.precision, job.recipe.max_abs_diff, judged=True)
    limit = max(PROBE_SLACK, allowed or 0.0, 2 * max(one.max_abs_diff for one in folds))
    return probes.write(job.folder, model.name, rows, job.recipe.views, values, limit)
