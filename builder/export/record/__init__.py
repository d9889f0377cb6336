"""export.json: portable models of one version, how far they are from their source, and what they cost.

`weights/<name>/vNNN/exports/<digest>/` holds export.json, <model>-f<fold>-<precision>.onnx (or .ts.bin, .lgb.txt, .xgb.json;
with .onnx.data beside a graph over 2 GB, and <model>.recipe.json beside models that read cells), oof-<model>-<view>.npy, and
<model>-probe.json with <model>-probe.npy. An `oof` file is float32 (rows, outputs): out-of-fold answers of the exported
models in the order of the version's folds.csv, NaN for rows that no model left out. `prices-<machine>.json` is what a run on
that machine measured; it may come later, and is preferred. A folder without export.json is unfinished.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import UserError
from builder.export.record.ladder import CLOSE, Gap, Rung, ensemble, gap, score_delta
from builder.export.record.prices import (
    BACKENDS,
    FILE,
    HOME,
    SCHEMA,
    Price,
    Priced,
    Prices,
    UnitPrice,
    load_prices,
    price,
    priced_as,
    prices_file,
)
from builder.runtime.contract import Cells
from builder.workspace import read_json, sha256_file, write_json

__all__ = [
    "BACKENDS",
    "CLOSE",
    "FILE",
    "HOME",
    "SCHEMA",
    "Export",
    "ExportedModel",
    "File",
    "Gap",
    "Price",
    "Priced",
    "Prices",
    "Probe",
    "Rung",
    "UnitPrice",
    "ensemble",
    "gap",
    "load",
    "load_prices",
    "price",
    "priced_as",
    "prices_file",
    "recipe_name",
    "score_delta",
]


def recipe_name(model: str, given: Cells) -> str:
    """What the recipe of an input is called, beside a model's folds: `effb0.recipe.json`, `effb0.beside-1.recipe.json`."""
    return f"{model}.{given.recipe.replace('/', '.')}"


@dataclass(frozen=True)
class File:
    """One file beside export.json."""

    file: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> File:
        """The facts of a file that is there."""
        return cls(path.name, sha256_file(path), path.stat().st_size)


@dataclass(frozen=True)
class Probe:
    """Training rows with the answers that the source gave them: a run on Kaggle must give the same."""

    model: str
    table: File
    values: File
    rows: int
    max_abs_diff: float


@dataclass(frozen=True)
class ExportedModel:
    """One fold of one model in its portable form.

    Attributes:
        beside: Files that must lie beside `file`: the weights of a graph over 2 GB, the recipe of a model that reads cells.
        batches: Batch sizes that were compared.
        max_abs_diff: Largest difference of an answer from the source over all rungs of `precision`.
        argmax_equal: Share of rows with the same most likely class, close calls left out.
        score: Competition metric on the fold's held-out rows; None where it has none there.
        score_delta: `score` minus that of the source; positive means a larger number, not a better one.
        ms_per_sample: Batch size -> milliseconds per sample with the format's first backend, one thread, median.
        load_ms: Milliseconds to load the model.
        ladder: Every comparison that was made.
        prices: Of every backend at hand; measured on `priced_file`, a fold of the same graph.
        notes: What a person should know.
    """

    name: str
    fold: int
    format: str
    precision: str
    file: str
    sha256: str
    bytes: int
    batches: tuple[int, ...]
    max_abs_diff: float
    argmax_equal: float
    score: float | None
    score_delta: float | None
    ms_per_sample: dict[str, float]
    load_ms: float
    beside: tuple[File, ...] = ()
    ladder: tuple[Rung, ...] = ()
    prices: tuple[Priced, ...] = ()
    priced_file: str = ""
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[File, ...]:
        """Everything that must travel for this model to load."""
        return (File(self.file, self.sha256, self.bytes), *self.beside)


@dataclass(frozen=True)
class Export:
    """All portable models of one version.

    Attributes:
        views: Those that kernel.toml asks for; `scores` says which of them a model has.
        decode_ms: Preprocessing key -> milliseconds per sample to read and resize one image.
        scores: Model -> view -> competition metric of the exported models on all out-of-fold rows; None where it has none.
        prices_from: The processor on which the prices were measured.
        machine: More about it: cores, devices, versions of what ran.
        probes: One for each model.
    """

    digest: str
    version: str
    folder: Path
    precision: str
    views: tuple[str, ...]
    models: tuple[ExportedModel, ...]
    decode_ms: dict[str, float]
    scores: dict[str, dict[str, float | None]]
    prices_from: str
    packages: dict[str, str]
    machine: dict[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()

    def of(self, model: str) -> tuple[ExportedModel, ...]:
        """The folds of one model, ascending."""
        return tuple(sorted((m for m in self.models if m.name == model), key=lambda m: m.fold))

    def oof(self, model: str, view: str) -> Path:
        """Path of float32 (rows, outputs): what the exported folds answered on rows they had not seen."""
        return self.folder / f"oof-{model}-{view}.npy"

    def probe(self, model: str) -> Probe | None:
        """The probe rows of one model; None in an export without."""
        return next((probe for probe in self.probes if probe.model == model), None)

    @property
    def is_whole(self) -> bool:
        """Whether the files that git does not keep are here, too: a fresh clone has only the record."""
        files = [file for model in self.models for file in model.files]
        files += [file for probe in self.probes for file in (probe.table, probe.values)]
        sized = all((p := self.folder / f.file).is_file() and p.stat().st_size == f.bytes for f in files)
        return sized and all(self.oof(name, view).is_file() for name, seen in self.scores.items() for view in seen)

    def write(self) -> None:
        """Write export.json, the last act of an export."""
        raw = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_json(self.folder / FILE, {"schema": SCHEMA, **raw})


def load(folder: Path) -> Export:
    """The export in `folder`. Raises UserError when it is missing or from another schema."""
    raw = read_json(folder / FILE, remedy=f"kkb export {folder.parent.parent.parent.name}")
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise UserError("an export of another schema", file=folder / FILE, expected=f"schema {SCHEMA}", remedy="kkb export NAME")
    try:
        models = tuple(_model(model) for model in raw.pop("models"))
        probes = tuple(
            Probe(**{**probe, "table": File(**probe["table"]), "values": File(**probe["values"])})
            for probe in raw.pop("probes", ())
        )
        return Export(folder=folder, models=models, probes=probes, views=tuple(raw.pop("views")), **raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "not an export record", file=folder / FILE, found=error, remedy="remove its folder, and export again"
        ) from None


def _model(raw: dict[str, Any]) -> ExportedModel:
    raw.update({key: tuple(raw.get(key, ())) for key in ("batches", "notes")})
    for key, cls in (("beside", File), ("ladder", Rung), ("prices", Priced)):
        raw[key] = tuple(cls(**item) for item in raw.get(key, ()))
    return ExportedModel(**raw)
