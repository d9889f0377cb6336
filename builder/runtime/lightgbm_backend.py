"""LightGBM's own text files, on the processor: trees gain nothing from a GPU when they answer, so any plan may have them.

Expects: a file of `Booster.save_model` with the objective `binary`, `multiclass`, `regression` or `regression_l1`.
Produces: a Backend with the input `table`, float32 (n, features) with NaN for missing, and the output `logits`: a column for
    each class, or the one number that is predicted.
Never: reads another objective's raw scores as logits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import backends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KIND = "lightgbm"
INPUT = "table"
_OBJECTIVE = re.compile(
    rb"^objective=(?:binary sigmoid:([0-9.e+-]+)|(?:multiclass|softmax) num_class:([0-9]+)|regression|regression_l1)\s*$",
    re.MULTILINE,
)
_SIZES = re.compile(rb"^tree_sizes=([0-9 ]+)$", re.MULTILINE)


class Scores(NamedTuple):
    """How raw scores become logits: by what they are multiplied, and how many outputs there are."""

    scale: float
    outputs: int


def package(accelerator: str = "cpu") -> Any:  # noqa: ARG001  as in its siblings
    """lightgbm. Raises BackendError when it is not here."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # the latter when a library that it was linked with is not here
        raise backends.missing(KIND, KIND, ImportError(str(error))) from error
    return lightgbm


def load(path: str, accelerator: str, threads: int) -> backends.Backend:  # noqa: ARG001  trees are at home on the processor
    """The model in the file `path`. Raises BackendError."""
    return LightGBM(path, threads)


def parse(data: bytes) -> tuple[Any, Scores]:
    """A booster, and what its raw scores mean. Raises ValueError and LightGBM's own errors."""
    lightgbm = package()
    if not _is_whole(data):  # LightGBM itself would take the process with it
        raise ValueError("not the whole of a LightGBM text file")
    found = _OBJECTIVE.search(data.partition(b"\nTree=")[0])
    if not found:
        raise ValueError("its objective is not binary, multiclass or regression, so its scores are no logits")
    scores = Scores(float(found[1]), 2) if found[1] else Scores(1.0, int(found[2] or 1))
    return lightgbm.Booster(model_str=data.decode("utf-8")), scores


def _is_whole(data: bytes) -> bool:
    """Whether a file has its head, as many bytes of trees as it says, and its end."""
    sizes, end = _SIZES.search(data) if data.startswith(b"tree\n") else None, data.rstrip().rsplit(b"\n", 1)[-1]
    trees = data.find(b"\nend of trees") - data.find(b"\nTree=0\n")
    whole = sizes is not None and sum(map(int, sizes[1].split())) == trees
    return whole and (
        end == b"end of parameters" or (end.startswith(b"pandas_categorical:") and b"\nend of parameters\n" in data)
    )


def logits(booster: Any, scores: Scores, table: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """float64 (n, outputs) for float32 (n, features). Raises BackendError for another number of features."""
    if table.ndim != 2 or table.shape[1] != booster.num_feature():
        raise backends.BackendError(f"the model takes {booster.num_feature()} features; found an array of shape {table.shape}")
    if not len(table):
        return np.zeros((0, scores.outputs))
    raw = np.asarray(booster.predict(table, raw_score=True, num_threads=max(1, threads)), dtype=np.float64) * scores.scale
    if scores.outputs == 2 and raw.ndim == 1:
        return np.stack([np.zeros(len(raw)), raw], axis=1)
    return raw.reshape(len(table), scores.outputs)


class LightGBM(backends.Backend):
    """A booster."""

    kind = KIND
    accelerator = "cpu"
    inputs = (INPUT,)
    outputs = (backends.OUTPUT,)

    def __init__(self, path: str, threads: int) -> None:
        self.version, self._threads = str(package().__version__), threads
        try:
            self._booster, self._scores = parse(Path(path).read_bytes())
        except Exception as error:
            raise backends.failed(KIND, self.version, path, error) from error

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        answer = logits(self._booster, self._scores, np.asarray(feeds[INPUT], dtype=np.float32), self._threads)
        return dict.fromkeys(names, answer)
