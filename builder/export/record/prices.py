"""Prices: what an export measured at home, and what a run on the machine itself measured, which is preferred.

`prices-<machine>.json` lies beside export.json; it may come later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError
from builder.workspace import read_json, write_json

if TYPE_CHECKING:
    from builder.export.record import Export, ExportedModel

FILE = "export.json"
SCHEMA = 2
HOME = "home"
WORTH = 0.95  # of the usual batch's time per sample: what gains less may be noise
BACKENDS = {  # what runs a format unless kernel.toml says otherwise
    "onnx": "onnxruntime",
    "torchscript": "torchscript",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
}


@dataclass(frozen=True)
class Priced:
    """What one file costs with one backend on one device of this machine, measured in a fresh process.

    Attributes:
        threads: CPU threads of the backend.
        load_ms: Milliseconds to load the model, the backend's package already imported.
        batch: Samples per call -> `first_ms` (of the first call of that size), `median_ms` and `p99_ms` per sample.
        peak_mb: Largest resident memory of the process, in MB.
        error: Why there is no price; empty when there is one.
        size: Of what it was given, as `shown.size_of` says it: `288x288`, `64 tokens`; empty for the model's own size.
    """

    file: str
    backend: str
    device: str
    threads: int
    load_ms: float = 0.0
    batch: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_mb: float = 0.0
    error: str = ""
    size: str = ""


def priced_as(file: str, size: str) -> str:
    """What a file is called in `Prices.units`: by its name alone at the model's own size."""
    return f"{file} {size}" if size else file


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
    """prices-<machine>.json. `units`: `priced_as` -> price; `decode_ms`: preprocessing key -> milliseconds per sample."""

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


def price(export: Export, model: ExportedModel, prices: Prices | None, batch: int, backend: str = "", size: str = "") -> Price:
    """What `model` costs in batches of `batch`, by the run on Kaggle when there was one, else by this export.

    A file that the run did not price costs what another fold of the same model did: their graphs are equal. `size` is as
    `shown.size_of` says it. Raises UserError when `backend` (default: the one of the model's format) has no price.
    """
    wanted = backend or BACKENDS[model.format]
    if prices:
        folds = (model.file, *(one.file for one in export.of(model.name) if one.precision == model.precision))
        units = [prices.units.get(priced_as(file, size)) for file in folds]
        seen = next((unit for unit in units if unit and unit.backend == wanted), None)
        if seen:
            return Price(wanted, seen.batch, seen.ms_per_sample, seen.load_ms, prices.machine)
    own = _own(model, wanted, size)
    if own:
        nearest = _nearest(own.batch, batch)
        return Price(wanted, int(nearest), own.batch[nearest]["median_ms"], own.load_ms, HOME)
    if wanted == BACKENDS[model.format] and model.ms_per_sample and not size:
        nearest = _nearest(model.ms_per_sample, batch)
        return Price(wanted, int(nearest), model.ms_per_sample[nearest], model.load_ms, HOME)
    why = next((one.error for one in model.prices if one.backend == wanted and one.error), f"{wanted} was not measured")
    raise UserError(
        f"{model.file} has no price with {wanted}" + (f" at {size}" if size else ""),
        file=export.folder / FILE,
        found=why,
        remedy="choose another backend",
    )


def batch(model: ExportedModel, usual: int, backend: str = "") -> int:
    """The batch that `model` was fastest in, of those that it was compared with its source in; `usual` where nobody measured."""
    own = _own(model, backend or BACKENDS[model.format], "")
    compared = {*map(str, model.batches), str(usual)}
    return fastest({int(size): own.batch[size]["median_ms"] for size in own.batch if size in compared} if own else {}, usual)


def fastest(times: Mapping[int, float], usual: int) -> int:
    """The batch size with the least time per sample, but `usual` unless the other takes at most WORTH of its time."""
    best = min(times, key=lambda size: (times[size], size), default=usual)
    return best if usual in times and times[best] <= WORTH * times[usual] else usual


def _own(model: ExportedModel, backend: str, size: str) -> Priced | None:
    """What this export measured of `model` with `backend`."""
    return next((one for one in model.prices if (one.backend, one.size) == (backend, size) and one.batch), None)


def _nearest(sizes: Mapping[str, Any], batch: int) -> str:
    return min(sizes, key=lambda size: abs(int(size) - batch))
