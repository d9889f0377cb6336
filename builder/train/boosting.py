"""Boosted trees: LightGBM and XGBoost on a table, with defaults that fit tables of some hundred rows as well as large ones.

Expects: a recipe of recipes/table.py, its material of all rows, the truth of every row, and the rows to learn from. LightGBM
    answers one target; XGBoost several labels or numbers, too (`networks.making.refuse_heads`).
Produces: a booster that is read back from the file it becomes, so what is measured at home is what travels. Equal arguments give
    equal bytes.
Never: looks at other rows than those it was given: parts of them, left out in turn, decide how many trees there are.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.competition import targets
from builder.errors import ConfigError, UserError, did_you_mean
from builder.runtime import heads as answering
from builder.runtime import lightgbm_backend, xgboost_backend
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX
from builder.train import losses
from builder.workspace import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.runtime.cells import Material
    from builder.runtime.contract import Head

KINDS = ("lightgbm", "xgboost")
SUFFIXES = {"lightgbm": ".lgb.txt", "xgboost": ".xgb.json"}
ROUNDS = "num_boost_round"
MOST_ROUNDS, PATIENCE = 2000, 50
PARTS, ENOUGH_ROWS = 5, 5000  # small tables: every part is left out once; large ones: one of as many parts, once
READ_AT_ONCE = 65536
SMALL = 2_000_000  # cells; below, threads cost more than they bring

LIGHTGBM: dict[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "min_data_per_group": 10,
    "cat_smooth": 10.0,
    "max_cat_to_onehot": 8,
}
XGBOOST: dict[str, Any] = {
    "learning_rate": 0.05,
    "max_depth": 4,
    "min_child_weight": 3.0,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
    "max_cat_to_onehot": 8,
}
DEFAULTS = {"lightgbm": LIGHTGBM, "xgboost": XGBOOST}
# What else [[model]] arguments may say. Not objective, classes, seed and threads: they follow from the rest.
MORE = {
    "lightgbm": (
        "cat_l2", "data_sample_strategy", "extra_trees", "feature_fraction_bynode", "is_unbalance",
        "lambda_l1", "max_bin", "max_cat_threshold", "max_delta_step", "max_depth", "min_data_in_bin", "min_gain_to_split",
        "min_sum_hessian_in_leaf", "neg_bagging_fraction", "other_rate", "path_smooth", "pos_bagging_fraction",
        "scale_pos_weight", "top_rate",
    ),
    "xgboost": (
        "alpha", "base_score", "colsample_bylevel", "colsample_bynode", "gamma", "grow_policy", "max_bin",
        "max_cat_threshold", "max_delta_step", "max_leaves", "num_parallel_tree", "scale_pos_weight", "tree_method",
    ),
}  # fmt: skip
# Names that people know from elsewhere, scikit-learn's interface above all.
ALIASES = {
    "lightgbm": {
        "n_estimators": ROUNDS, "num_iterations": ROUNDS, "eta": "learning_rate", "max_leaves": "num_leaves",
        "min_child_samples": "min_data_in_leaf", "colsample_bytree": "feature_fraction", "subsample": "bagging_fraction",
        "subsample_freq": "bagging_freq", "reg_lambda": "lambda_l2", "reg_alpha": "lambda_l1",
        "min_child_weight": "min_sum_hessian_in_leaf", "min_split_gain": "min_gain_to_split",
    },
    "xgboost": {
        "n_estimators": ROUNDS, "eta": "learning_rate", "reg_lambda": "lambda", "reg_alpha": "alpha",
        "min_split_loss": "gamma",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Booster:
    """A trained model: `data` is its file, and `answer` makes logits float64 (n, outputs) of a table as the notebook will."""

    kind: str
    data: bytes
    answer: Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class _Problem:
    """What is learned: `values` float32 (n, features), `target` (n,) or (n, outputs), which features are codes, and how.

    Attributes:
        strata: int64 (n,): what parts are to have in equal shares.
        link: What makes answers of the scores.
    """

    values: NDArray[np.float32]
    target: NDArray[Any]
    strata: NDArray[np.int64]
    codes: tuple[int, ...]
    outputs: int
    link: str
    seed: int
    threads: int
    settings: Mapping[str, Any]


def fit(
    kind: str,
    recipe: Mapping[str, Any],
    material: Material,
    y: NDArray[Any],
    rows: NDArray[np.int64],
    heads: Sequence[Head],
    seed: int,
    arguments: Mapping[str, Any],
) -> Booster:
    """A booster of `kind` that learned from `rows`.

    Args:
        y: The truth of all rows of the material, as `Rows.y`.
        heads: What is answered.
        arguments: The package's own parameters, in place of DEFAULTS; `num_boost_round` fixes the number of trees.

    Raises:
        ConfigError: Arguments that are not known, or that the package refuses.
    """
    chosen = settings(kind, arguments)
    rounds = chosen.pop(ROUNDS, None)
    values = read(material, rows)
    places = tuple(index for index, each in enumerate(recipe["features"]) if "values" in each)
    target, strata, outputs = losses.targets(heads, y)[rows], targets.strata(heads, y[rows]), len(heads[0].classes)
    target = target[:, 0] if target.ndim == 2 and outputs == 1 else target
    problem = _Problem(values, target, strata, places, outputs, heads[0].link, seed, _threads(values), chosen)
    learn = _learn_lightgbm if kind == "lightgbm" else _learn_xgboost
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the packages print is for people; stdout is for `--json`
            data, _ = learn(problem, np.arange(len(values)), None, rounds or _rounds(problem, learn))
            return _opened(kind, data)
    except Exception as error:
        if not arguments:
            raise  # our own doing
        raise ConfigError(
            f"{kind} cannot be trained with these arguments",
            found=f"{dict(arguments)}: {str(error).strip().partition(chr(10))[0][:300]}",
            remedy="mend model.arguments",
        ) from error


def save(booster: Booster, path: Path) -> None:
    """Write the package's own text or JSON file; `path` ends in the kind's suffix, by which `load` knows it."""
    if not path.name.endswith(SUFFIXES[booster.kind]):
        raise ValueError(f"{path.name}: files of {booster.kind} end in {SUFFIXES[booster.kind]}")
    write_bytes(path, booster.data)


def load(path: Path) -> Booster:
    """The booster in a file. Raises UserError when there is none."""
    kind = next((kind for kind, suffix in SUFFIXES.items() if path.name.endswith(suffix)), None)
    remedy = "train again, or name the file that was meant"
    if kind is None or not path.is_file():
        expected = f"a file that ends in {' or '.join(SUFFIXES.values())}"
        raise UserError("no boosted model has such a name", file=path, expected=expected, remedy=remedy)
    try:
        return _opened(kind, path.read_bytes())
    except Exception as error:
        raise UserError(f"{kind} cannot read the file", file=path, found=str(error)[:300], remedy=remedy) from error


def answers(booster: Booster, table: NDArray[np.float32], heads: Sequence[Head]) -> NDArray[np.float32]:
    """float32 (n, outputs) for float32 (n, features), by the same arithmetic as in the notebook."""
    return answering.answers(np.asarray(booster.answer(np.ascontiguousarray(table)), dtype=np.float32), heads)


def read(material: Material, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (len(rows), features): what the material says of these rows."""
    parts = list(material.pick(rows).batches("identity", READ_AT_ONCE))
    width = parts[0][1]["table"].shape[1] if parts else 0
    values = np.empty((len(rows), width), dtype=np.float32)
    for places, feeds in parts:
        values[places] = feeds["table"]
    return values


def settings(kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a training under the package's own names. Raises ConfigError for one that is not known."""
    known = {*DEFAULTS[kind], *MORE[kind], *ALIASES[kind], ROUNDS}
    chosen: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError(f"table/{kind} takes no argument '{name}'", found=repr(value), remedy=did_you_mean(name, known))
        proper = ALIASES[kind].get(name, name)
        if proper in chosen:
            raise ConfigError(f"two arguments of table/{kind} say the same", found=f"{name} and {proper}", remedy="keep one")
        chosen[proper] = value
    rounds = chosen.get(ROUNDS, 1)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ConfigError(
            f"{ROUNDS} is no number of trees", found=rounds, expected="a whole number of at least 1", remedy="mend it"
        )
    return {**DEFAULTS[kind], **chosen}


def _opened(kind: str, data: bytes) -> Booster:
    if kind == "lightgbm":
        model, scale = lightgbm_backend.parse(data)
        return Booster(kind, data, lambda table: lightgbm_backend.logits(model, scale, table, _threads(table)))
    model, classes = xgboost_backend.parse(data)
    return Booster(kind, data, lambda table: xgboost_backend.logits(model, classes, table, _threads(table)))


def _threads(values: NDArray[np.float32]) -> int:
    return 1 if values.size < SMALL else os.cpu_count() or 1


Learn = Callable[["_Problem", "NDArray[np.int64]", "NDArray[np.int64] | None", int], tuple[bytes, list[float]]]
"""Learns from some places; with others left out, stops early, and returns its loss on them after each round."""


def _rounds(problem: _Problem, learn: Learn) -> int:
    """The number of trees with the least loss on parts that were left out."""
    if _too_few(problem):
        return PATIENCE  # nothing to learn how many are right from
    part = _parts(problem.strata, problem.seed)
    left_out = range(PARTS) if len(part) < ENOUGH_ROWS else range(1)
    curves = [learn(problem, np.flatnonzero(part != one), np.flatnonzero(part == one), MOST_ROUNDS)[1] for one in left_out]
    common = min(map(len, curves))
    return int(np.mean([curve[:common] for curve in curves], axis=0).argmin()) + 1


def _too_few(problem: _Problem) -> bool:
    target = problem.target
    if problem.link != SOFTMAX:
        return len(target) < 2 * PARTS or bool((target == target[:1]).all())
    rows = np.bincount(target, minlength=problem.outputs)
    return bool(rows.max() < 2 * PARTS or np.count_nonzero(rows) < 2)


def _parts(strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """int64 (n,): a part for every row, each with its share of every class."""
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    part = np.empty(len(strata), dtype=np.int64)
    part[order] = np.arange(len(strata)) % PARTS
    return part


def _learn_lightgbm(
    problem: _Problem, places: NDArray[np.int64], left_out: NDArray[np.int64] | None, rounds: int
) -> tuple[bytes, list[float]]:
    lightgbm = lightgbm_backend.package()
    fixed = {"seed": problem.seed, "deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": problem.threads}
    settings = {**problem.settings, **fixed, **_lightgbm_objective(problem)}
    codes: Any = list(problem.codes)

    def data(places: NDArray[np.int64], like: Any = None) -> Any:
        return lightgbm.Dataset(
            problem.values[places], problem.target[places], categorical_feature=codes, reference=like, free_raw_data=False
        )

    learned = data(places)
    if left_out is None:
        return lightgbm.train(settings, learned, rounds).model_to_string().encode(), []
    told: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.early_stopping(PATIENCE, verbose=False), lightgbm.record_evaluation(told)]
    lightgbm.train(settings, learned, rounds, [data(left_out, learned)], callbacks=callbacks)
    return b"", next(iter(told["valid_0"].values()))


def _lightgbm_objective(problem: _Problem) -> dict[str, Any]:
    if problem.link == IDENTITY:
        return {"objective": "regression", "metric": "l2"}
    if problem.outputs > 2:
        return {"objective": "multiclass", "num_class": problem.outputs, "metric": "multi_logloss"}
    return {"objective": "binary", "metric": "binary_logloss"}


def _learn_xgboost(
    problem: _Problem, places: NDArray[np.int64], left_out: NDArray[np.int64] | None, rounds: int
) -> tuple[bytes, list[float]]:
    xgboost = xgboost_backend.package()
    fixed = {"seed": problem.seed, "tree_method": "hist", "verbosity": 0, "nthread": problem.threads, "device": "cpu"}
    settings = {**fixed, **problem.settings, **_xgboost_objective(problem)}
    types = ["c" if index in problem.codes else "q" for index in range(problem.values.shape[1])]

    def data(places: NDArray[np.int64]) -> Any:
        values, target = problem.values[places], problem.target[places]
        return xgboost.DMatrix(
            values, target, missing=np.nan, feature_types=types, enable_categorical=True, nthread=problem.threads
        )

    if left_out is None:
        return bytes(xgboost.train(settings, data(places), rounds).save_raw("json")), []
    told: dict[str, dict[str, list[float]]] = {}
    watched = {"evals": [(data(left_out), "left_out")], "evals_result": told, "verbose_eval": False}
    xgboost.train(settings, data(places), rounds, early_stopping_rounds=PATIENCE, **watched)
    return b"", next(iter(told["left_out"].values()))


def _xgboost_objective(problem: _Problem) -> dict[str, Any]:
    if problem.link == IDENTITY:
        return {"objective": "reg:squarederror"}
    if problem.link == SIGMOID or problem.outputs == 2:
        return {"objective": "binary:logistic"}
    return {"objective": "multi:softprob", "num_class": problem.outputs, "eval_metric": "mlogloss"}
