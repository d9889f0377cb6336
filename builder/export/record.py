"""export.json: portable models of one version, how far they are from their source, and what they cost.

`weights/<name>/vNNN/exports/<digest>/` holds export.json, <model>-f<fold>-<precision>.onnx (or .ts.bin, and .onnx.data beside a
graph over 2 GB), oof-<model>-<view>.npy, and <model>-probe.json with <model>-probe.npy. An `oof` file is float32 (rows, classes):
out-of-fold probabilities of the exported models in the order of the version's folds.csv, NaN for rows that no model left out.
`prices-<machine>.json` is what a run on that machine measured; it may come later, and is preferred. A folder without export.json
is unfinished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError
from builder.workspace import read_json, sha256_file, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "export.json"
SCHEMA = 2
HOME = "home"
CLOSE = 1e-3  # rows whose two best source probabilities are closer than this say nothing about the argmax
BACKENDS = {"onnx": "onnxruntime", "torchscript": "torchscript"}  # what runs a format unless kernel.toml says otherwise


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
class Gap:
    """How far some probabilities are from their source's.

    Attributes:
        rows: Number of rows compared.
        max_abs_diff: Largest difference of a probability; infinite when one is not finite.
        argmax_equal: Share of rows with the same most likely class, close calls (CLOSE) left out.
    """

    rows: int
    max_abs_diff: float
    argmax_equal: float


@dataclass(frozen=True)
class Rung:
    """One step of the parity ladder, always against the source in the same rows, view and sizes.

    Attributes:
        step: What was compared: `fp32`, `fp16`, `int8`, `int8-static`.
        view: The view under which both were asked.
        batch: Samples per call; `32, ragged` ends with fewer.
        sizes: Sizes that change from call to call, `batch` left out.
        score_delta: Metric of the exported model minus that of the source, on rows that the model had not seen.
    """

    step: str
    view: str
    batch: str
    rows: int
    max_abs_diff: float
    argmax_equal: float
    score_delta: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Priced:
    """What one file costs with one backend on one device of this machine, measured in a fresh process.

    Attributes:
        threads: CPU threads of the backend.
        load_ms: Milliseconds to load the model, the backend's package already imported.
        batch: Samples per call -> `first_ms` (of the first call of that size), `median_ms` and `p99_ms` per sample.
        peak_mb: Largest resident memory of the process, in MB.
        error: Why there is no price; empty when there is one.
    """

    file: str
    backend: str
    device: str
    threads: int
    load_ms: float = 0.0
    batch: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_mb: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Probe:
    """Training rows with the probabilities that the source gave them: a run on Kaggle must give the same."""

    model: str
    table: File
    values: File
    rows: int
    max_abs_diff: float


@dataclass(frozen=True)
class ExportedModel:
    """One fold of one model in its portable form.

    Attributes:
        beside: Files that must lie beside `file`: the weights of a graph over 2 GB.
        batches: Batch sizes that were compared.
        max_abs_diff: Largest difference of a probability from the source over all rungs of `precision`.
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
        """Path of float32 (rows, classes): what the exported folds answered on rows they had not seen."""
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
        return sized and all(self.oof(name, view).is_file() for name in self.scores for view in self.views)

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


@dataclass(frozen=True)
class UnitPrice:
    """What a run on a machine measured for one file. `batch`: samples per call."""

    backend: str
    batch: int
    ms_per_sample: float
    load_ms: float
    first_batch_ms: float
    peak_mb: float


@dataclass(frozen=True)
class Prices:
    """prices-<machine>.json. `units`: file -> price; `decode_ms`: preprocessing key -> milliseconds per sample."""

    machine: str
    measured_on: dict[str, Any]
    units: dict[str, UnitPrice]
    decode_ms: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write it beside export.json; the newest run's prices replace older ones file by file."""
        before = load_prices(folder, self.machine)
        units = {**(before.units if before else {}), **self.units}
        decode = {**(before.decode_ms if before else {}), **self.decode_ms}
        path = prices_file(folder, self.machine)
        write_json(
            path, {"schema": SCHEMA, **asdict(self), "units": {k: asdict(v) for k, v in units.items()}, "decode_ms": decode}
        )
        return path


@dataclass(frozen=True)
class Price:
    """What the plan counts with. `measured_on`: the machine, and `home` for the one that exported."""

    backend: str
    batch: int
    ms_per_sample: float
    load_ms: float
    measured_on: str


def prices_file(folder: Path, machine: str) -> Path:
    """Path of a machine's prices beside the export.json in `folder`."""
    return folder / f"prices-{machine}.json"


def load_prices(folder: Path, machine: str) -> Prices | None:
    """What a run on `machine` measured, or None. Raises UserError when the file is broken."""
    path = prices_file(folder, machine)
    if not path.is_file():
        return None
    raw = read_json(path, remedy=f"remove {path.name}")
    try:
        if raw.pop("schema") != SCHEMA:
            raise KeyError("schema")
        return Prices(**{**raw, "units": {file: UnitPrice(**unit) for file, unit in raw["units"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError("not a list of prices", file=path, found=error, remedy="remove it") from None


def price(export: Export, model: ExportedModel, prices: Prices | None, batch: int, backend: str = "") -> Price:
    """What `model` costs in batches of `batch`, by the run on Kaggle when there was one, else by this export.

    A file that the run did not price costs what another fold of the same model did: their graphs are equal. Raises UserError when
    `backend` (default: the one of the model's format) has no price at all.
    """
    wanted = backend or BACKENDS[model.format]
    if prices:
        folds = (model.file, *(one.file for one in export.of(model.name) if one.precision == model.precision))
        seen = next((prices.units[f] for f in folds if f in prices.units and prices.units[f].backend == wanted), None)
        if seen:
            return Price(wanted, seen.batch, seen.ms_per_sample, seen.load_ms, prices.machine)
    own = next((one for one in model.prices if one.backend == wanted and one.batch), None)
    if own:
        size = _nearest(own.batch, batch)
        return Price(wanted, int(size), own.batch[size]["median_ms"], own.load_ms, HOME)
    if wanted == BACKENDS[model.format] and model.ms_per_sample:
        size = _nearest(model.ms_per_sample, batch)
        return Price(wanted, int(size), model.ms_per_sample[size], model.load_ms, HOME)
    why = next((one.error for one in model.prices if one.backend == wanted), f"{wanted} was not measured")
    raise UserError(
        f"{model.file} has no price with {wanted}", file=export.folder / FILE, found=why, remedy="choose another backend"
    )


def _nearest(sizes: Mapping[str, Any], batch: int) -> str:
    return min(sizes, key=lambda size: abs(int(size) - batch))


def gap(before: Mapping[str, NDArray[Any]], after: Mapping[str, NDArray[Any]]) -> Gap:
    """How far probabilities `after` are from those `before`, float (rows, ...) by output name; classes are the last axis."""
    import numpy as np

    largest, same, rows = 0.0, [], 0
    for name, old in before.items():
        new, rows = after[name], len(old)
        if new.shape != old.shape:
            raise ValueError(f"{name}: shapes {old.shape} and {new.shape}")
        if not old.size:
            continue
        largest = max(largest, float(np.nan_to_num(np.abs(new - old), nan=np.inf).max()))
        if old.shape[-1] > 1:
            best = np.sort(old, axis=-1)
            clear = best[..., -1] - best[..., -2] >= CLOSE
            same.append((new.argmax(-1) == old.argmax(-1))[clear])
    equal = np.concatenate(same) if same else np.ones(0, dtype=bool)
    return Gap(rows, largest, float(equal.mean()) if equal.size else 1.0)
