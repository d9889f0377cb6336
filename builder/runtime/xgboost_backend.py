"""XGBoost's own JSON files, on the processor: trees gain nothing from a GPU when they answer, so any plan may have them.

Expects: files of `Booster.save_model` in JSON, with an objective in OBJECTIVES; several of them together as `trees.py` says.
Produces: a Backend as in `trees.py`: of each file a column of logits for each class, for each of several targets of
    `binary:logistic`, which are labels, or for each number.
Never: reads another objective's margins as logits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends, trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND = "xgboost"
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
    return trees.Backend(KIND, str(package().__version__), path, threads, lambda data: booster(data, threads))


def booster(data: bytes, threads: int = 1) -> trees.Booster:
    """One booster of its own file. Raises ValueError and XGBoost's own errors."""
    xgboost = package()
    if not data.startswith(b"{"):
        raise ValueError("not an XGBoost JSON file")
    model = xgboost.Booster({"nthread": max(1, threads), "verbosity": 0})
    try:
        model.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:
        raise ValueError(str(error).partition("Stack trace")[0].strip()) from None  # of C++, which tells nobody anything

    def raw(table: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        kinds, names = model.feature_types, model.feature_names
        rows = xgboost.DMatrix(table, missing=np.nan, nthread=threads, feature_types=kinds, feature_names=names)
        return np.asarray(model.predict(rows, output_margin=True))

    return trees.Booster(model.num_features(), _outputs(model), raw)


def _outputs(model: Any) -> int:
    """How many logits its margins are. Raises ValueError when they are none."""
    told = json.loads(model.save_config())["learner"]
    objective = told["objective"]["name"]
    if objective not in OBJECTIVES:
        raise ValueError(f"its objective is {objective}, so its margins are no logits; expected one of {', '.join(OBJECTIVES)}")
    shape = told["learner_model_param"]
    targets, least = int(shape.get("num_target", 1)), 1 if objective in NUMBERS else 2
    return max(least, targets, int(shape["num_class"]))
