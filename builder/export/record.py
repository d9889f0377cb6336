"""export.json: portable models of one version, how far they are from their source, and what they cost.

`weights/<name>/vNNN/exports/<digest>/` holds export.json, <model>-f<fold>-<precision>.onnx and oof-<model>-<view>.npy, which is
float32 (rows, classes): out-of-fold probabilities of the exported models in the order of the version's folds.csv. A folder
without export.json is unfinished.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from builder.errors import UserError
from builder.workspace import read_json, write_json

FILE = "export.json"
SCHEMA = 1


@dataclass(frozen=True)
class ExportedModel:
    """One fold of one model in its portable form.

    Attributes:
        max_abs_diff: Largest difference of a probability from the source, over every batch size in `batches`.
        argmax_equal: Share of held-out rows with the same most likely class.
        score: Competition metric on the fold's held-out rows; None where it has none there.
        score_delta: `score` minus that of the source; positive means a larger number, not a better one.
        ms_per_sample: Batch size -> milliseconds per sample, one thread, median.
        load_ms: Milliseconds until the first answer.
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


@dataclass(frozen=True)
class Export:
    """All portable models of one version.

    Attributes:
        prices_from: The processor on which the prices were measured.
        decode_ms: Preprocessing key -> milliseconds per sample to read and resize one image.
        scores: Model -> view -> competition metric of the exported models on all out-of-fold rows.
    """

    digest: str
    version: str
    folder: Path
    precision: str
    views: tuple[str, ...]
    models: tuple[ExportedModel, ...]
    decode_ms: dict[str, float]
    scores: dict[str, dict[str, float]]
    prices_from: str
    packages: dict[str, str]

    def of(self, model: str) -> tuple[ExportedModel, ...]:
        """The folds of one model, ascending."""
        return tuple(sorted((m for m in self.models if m.name == model), key=lambda m: m.fold))

    def oof(self, model: str, view: str) -> Path:
        """Path of float32 (rows, classes): what the exported folds answered on rows they had not seen."""
        return self.folder / f"oof-{model}-{view}.npy"

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
        models = tuple(ExportedModel(**{**model, "batches": tuple(model["batches"])}) for model in raw.pop("models"))
        return Export(folder=folder, models=models, views=tuple(raw.pop("views")), **raw)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "not an export record", file=folder / FILE, found=error, remedy="remove its folder, and export again"
        ) from None
