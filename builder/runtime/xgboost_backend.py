"""XGBoost's own JSON files, on the processor: trees gain nothing from a GPU when they answer, so any plan may have them.

Expects: a file of `Booster.save_model` whose name ends in `.json`, with an objective in OBJECTIVES.
Produces: a Backend with the input `table`, float32 (n, features) with NaN for missing, and the output `logits`: a column for
    each class, for each of several targets of `binary:logistic`, which are labels, or for each number.
Never: reads another objective's margins as logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KIND = "xgboost"
INPUT = "table"
CLASSES = ("binary:logistic", "binary:logitraw", "multi:softprob", "multi:softmax")
NUMBERS = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror")
OBJECTIVES = CLASSES + NUMBERS


def package(accelerator: str = "cpu") -> Any:  # noqa: ARG001  as in its siblings
    """xgboost. Raises BackendError when it is not here."""
    try:
        import xgboost
    except Exception as error:  # its own error when a library that it was linked with is not here
        raise backends.missing(KIND, KIND, ImportError(str(error))) from error
    return xgboost


def load(path: str, accelerator: str, threads: int) -> backends.Backend:  # noqa: ARG001  trees are at home on the processor
    """The model in the file `path`. Raises BackendError."""
    return XGBoost(path, threads)


def parse(data: bytes, threads: int = 1) -> tuple[Any, int]:
    """A booster and its number of outputs. Raises ValueError and XGBoost's own errors."""
    xgboost = package()
    if not data.startswith(b"{"):
        raise ValueError("not an XGBoost JSON file")
    booster = xgboost.Booster({"nthread": max(1, threads), "verbosity": 0})
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:
        raise ValueError(str(error).partition("Stack trace")[0].strip()) from None  # of C++, which tells nobody anything
    told = json.loads(booster.save_config())["learner"]
    objective = told["objective"]["name"]
    if objective not in OBJECTIVES:
        raise ValueError(f"its objective is {objective}, so its margins are no logits; expected one of {', '.join(OBJECTIVES)}")
    shape = told["learner_model_param"]
    targets, least = int(shape.get("num_target", 1)), 1 if objective in NUMBERS else 2
    return booster, max(least, targets, int(shape["num_class"]))


def logits(booster: Any, outputs: int, table: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """float64 (n, outputs) for float32 (n, features). Raises BackendError for another number of features."""
    if table.ndim != 2 or table.shape[1] != booster.num_features():
        raise backends.BackendError(f"the model takes {booster.num_features()} features; found an array of shape {table.shape}")
    if not len(table):
        return np.zeros((0, outputs))
    rows = package().DMatrix(
        table, missing=np.nan, nthread=max(1, threads), feature_types=booster.feature_types, feature_names=booster.feature_names
    )
    raw = np.asarray(booster.predict(rows, output_margin=True), dtype=np.float64)
    if outputs == 2 and raw.ndim == 1:
        return np.stack([np.zeros(len(raw)), raw], axis=1)
    return raw.reshape(len(table), outputs)


class XGBoost(backends.Backend):
    """A booster."""

    kind = KIND
    accelerator = "cpu"
    inputs = (INPUT,)
    outputs = (backends.OUTPUT,)

    def __init__(self, path: str, threads: int) -> None:
        self.version, self._threads = str(package().__version__), threads
        try:
            self._booster, self._columns = parse(Path(path).read_bytes(), threads)
        except Exception as error:
            raise backends.failed(KIND, self.version, path, error) from error

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        answer = logits(self._booster, self._columns, np.asarray(feeds[INPUT], dtype=np.float32), self._threads)
        return dict.fromkeys(names, answer)
