"""LightGBM's own text files, on the processor: trees gain nothing from a GPU when they answer, so any plan may have them.

Expects: files of `Booster.save_model` with the objective `binary`, `multiclass`, `regression` or `regression_l1`; several of them
    together as `trees.py` says.
Produces: a Backend as in `trees.py`: of each file a column of logits for each class, or the one number that is predicted.
Never: reads another objective's raw scores as logits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends, trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND = "lightgbm"
_OBJECTIVE = re.compile(
    rb"^objective=(?:binary sigmoid:([0-9.e+-]+)|(?:multiclass|softmax) num_class:([0-9]+)|regression|regression_l1)\s*$",
    re.MULTILINE,
)
_SIZES = re.compile(rb"^tree_sizes=([0-9 ]+)$", re.MULTILINE)


def package(accelerator: str = "cpu") -> Any:  # noqa: ARG001  as in its siblings
    """lightgbm. Raises BackendError when it is not here."""
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # the latter when a library that it was linked with is not here
        raise backends.missing(KIND, KIND, ImportError(str(error))) from error
    return lightgbm


def load(path: str, accelerator: str, threads: int) -> backends.Backend:  # noqa: ARG001  trees are at home on the processor
    """The model in the file `path`. Raises BackendError."""
    return trees.Backend(KIND, str(package().__version__), path, threads, booster)


def booster(data: bytes) -> trees.Booster:
    """One booster of its own file. Raises ValueError and LightGBM's own errors."""
    lightgbm = package()
    if not _is_whole(data):  # LightGBM itself would take the process with it
        raise ValueError("not the whole of a LightGBM text file")
    found = _OBJECTIVE.search(data.partition(b"\nTree=")[0])
    if not found:
        raise ValueError("its objective is not binary, multiclass or regression, so its scores are no logits")
    scale, outputs = (float(found[1]), 2) if found[1] else (1.0, int(found[2] or 1))
    model = lightgbm.Booster(model_str=data.decode("utf-8"))

    def raw(table: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
        return np.asarray(model.predict(table, raw_score=True, num_threads=threads), dtype=np.float64) * scale

    return trees.Booster(model.num_feature(), outputs, raw)


def _is_whole(data: bytes) -> bool:
    """Whether a file has its head, as many bytes of trees as it says, and its end; and is one file."""
    sizes, end = _SIZES.search(data) if data.startswith(b"tree\n") else None, data.rstrip().rsplit(b"\n", 1)[-1]
    held = data.find(b"\nend of trees") - data.find(b"\nTree=0\n")
    whole = sizes is not None and sum(map(int, sizes[1].split())) == held and data.count(b"\nend of trees\n") == 1
    return whole and (
        end == b"end of parameters" or (end.startswith(b"pandas_categorical:") and b"\nend of parameters\n" in data)
    )
