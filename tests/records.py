"""Finished versions and exports without any training: the records and files that `kkb train` and `kkb export` would leave.

The models are real: linear classifiers in ONNX, which any onnxruntime answers with. Their out-of-fold predictions are given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builder import config as configs
from builder.export import record as exported
from builder.export import stage as exporting
from builder.runtime.contract import Input
from builder.train import folds as folding
from builder.train import record as trained
from builder.workspace import Workspace, sha256_bytes, sha256_file, write_bytes, write_text

from . import competitions
from .runtime import tiny_onnx

SIDE = 8
SHAPE = Input(SIDE, SIDE)


def kernel(workspace: Workspace, root: Path, name: str = "animals", more: str = "") -> configs.Config:
    """A kernel.toml for the tiny competition in `root`."""
    text = competitions.config(root, more=more)
    write_text(workspace.kernels / name / "kernel.toml", text)
    return configs.load(workspace.kernels / name)


def colours(classes: int, seed: int = 0) -> bytes:
    """A classifier of the tiny competition's images: it knows the colour of each class, and little else."""
    target = np.array([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(classes)], dtype=np.float32)
    weights = np.tile((target - 0.5).T / (255 * SIDE * SIDE), (SIDE * SIDE, 1)) * 8
    bias = -(target - 0.5).sum(axis=1) * 4 + np.random.default_rng(seed).normal(0, 0.05, classes)
    return tiny_onnx.classifier(weights.astype(np.float32), bias.astype(np.float32), (SIDE, SIDE))


def predictions(codes: np.ndarray, classes: int, *, skill: float, seed: int) -> np.ndarray:
    """float32 (rows, classes): noisy probabilities, the better the larger `skill` is."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1, (len(codes), classes))
    logits[np.arange(len(codes)), codes] += skill
    raised = np.exp(logits)
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def version(
    config: configs.Config,
    workspace: Workspace,
    number: int,
    models: dict[str, dict[str, np.ndarray]],
    *,
    ids: tuple[str, ...],
    folds: np.ndarray,
    labels: list[str],
    classes: tuple[str, ...],
    name: str = "animals",
) -> trained.Version:
    """Write weights/<name>/v<number>. `models` are name -> view -> out-of-fold predictions float32 (rows, classes)."""
    folder = workspace.weights(name) / f"v{number:03d}"
    write_text(folder / trained.FOLDS, folding.to_csv(ids, folds, labels))
    made = tuple(_trained(folder, model, views, folds) for model, views in models.items())
    result = trained.Version(
        name=name,
        version=folder.name,
        digest=sha256_bytes(folder.name.encode()),
        folder=folder,
        metric=config.competition.metric,
        classes=classes,
        prior=tuple(labels.count(one) / len(labels) for one in classes),
        rows=len(ids),
        folds=int(folds.max()) + 1,
        folds_sha256=sha256_file(folder / trained.FOLDS),
        models=made,
        seconds=1.0,
        device="cpu",
        packages={},
    )
    result.write()
    return result


def _trained(folder: Path, model: str, views: dict[str, np.ndarray], folds: np.ndarray) -> trained.TrainedModel:
    points = []
    for fold in range(int(folds.max()) + 1):
        data = f"{folder.name} {model} {fold}".encode()
        file = f"{model}-f{fold}.safetensors"
        write_bytes(folder / "checkpoints" / file, data)
        points.append(trained.Checkpoint(fold, file, sha256_bytes(data), len(data), 0.9, 1.0))
    for view, oof in views.items():
        save(folder / "oof" / f"{model}-{view}.npy", oof)
    return trained.TrainedModel(
        name=model,
        backbone="timm/test_resnet",
        arguments={},
        pretrained=False,
        input=SHAPE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        checkpoints=tuple(points),
        views=tuple(views),
        score=0.9,
    )


def export(
    config: configs.Config,
    made: trained.Version,
    models: dict[str, dict[str, np.ndarray]],
    *,
    ms: dict[str, float] | None = None,
    seed: int = 0,
) -> exported.Export:
    """Write the export of `made` that `config` asks for. `ms` are milliseconds per sample of each model."""
    folder = exporting.folder_of(config, made)
    found = []
    for position, (model, views) in enumerate(models.items()):
        for fold in range(made.folds):
            file = folder / f"{model}-f{fold}-fp32.onnx"
            write_bytes(file, colours(len(made.classes), seed + 100 * position + fold))
            price = (ms or {}).get(model, 1.0)
            found.append(_exported(model, fold, file, price))
        for view, oof in views.items():
            save(folder / f"oof-{model}-{view}.npy", oof)
    result = exported.Export(
        digest=exporting.digest(config, made),
        version=made.version,
        folder=folder,
        precision="fp32",
        views=config.inference.views,
        models=tuple(found),
        decode_ms={SHAPE.key: 0.2},
        scores={model: dict.fromkeys(views, 0.9) for model, views in models.items()},
        prices_from="a test",
        packages={},
    )
    result.write()
    return result


def _exported(model: str, fold: int, file: Path, price: float) -> exported.ExportedModel:
    return exported.ExportedModel(
        name=model,
        fold=fold,
        format="onnx",
        precision="fp32",
        file=file.name,
        sha256=sha256_file(file),
        bytes=file.stat().st_size,
        batches=(1, 32),
        max_abs_diff=0.0,
        argmax_equal=1.0,
        score=0.9,
        score_delta=0.0,
        ms_per_sample={"1": price, "32": price},
        load_ms=3.0,
    )


def save(path: Path, array: np.ndarray) -> None:
    """Write an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def rows_of(root: Path) -> tuple[tuple[str, ...], list[str]]:
    """Ids and labels of the training table in `root`."""
    from builder.competition import read_table

    table = read_table(root / "train.csv")
    return tuple(table["image_id"]), table["label"].tolist()


def finished(workspace: Workspace, root: Path, *, name: str = "animals", models: tuple[str, ...] = ("resnet", "effnet")):
    """A kernel whose training and export are done: two families of linear classifiers, two folds each."""
    from builder import pipeline

    config = kernel(workspace, root, name)
    ids, labels = rows_of(root)
    classes = tuple(sorted(set(labels)))
    codes = np.array([classes.index(label) for label in labels])
    oof = {model: {"identity": predictions(codes, len(classes), skill=2.0, seed=seed)} for seed, model in enumerate(models)}
    facts = {"ids": ids, "folds": np.arange(len(ids)) // 2 % 2, "labels": labels, "classes": classes, "name": name}
    made = version(config, workspace, 1, oof, **facts)
    export(config, made, oof)
    return pipeline.Kernel(workspace, name)
