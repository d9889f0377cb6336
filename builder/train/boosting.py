"""Boosted trees: LightGBM and XGBoost on a table; one booster for each head, or for each label or number if it can do but one.

Expects: a recipe of recipes/table.py, its material of all rows, the truth of every row, and the rows to learn from.
Produces: a booster that is read back from the file it becomes, so what is measured at home is what travels. Equal arguments give
    equal bytes.
Never: looks at other rows than those it was given: parts of them, left out in turn, decide how many trees there are.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.competition import targets
from builder.errors import ConfigError, UserError
from builder.metrics.heads import apart
from builder.runtime import heads as answering
from builder.runtime import lightgbm_backend, trees, xgboost_backend
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX
from builder.train import losses
from builder.train.tree_arguments import ROUNDS, settings
from builder.workspace import write_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.runtime.cells import Material
    from builder.runtime.contract import Head

KINDS = ("lightgbm", "xgboost")
SUFFIXES = {"lightgbm": ".lgb.txt", "xgboost": ".xgb.json"}
MOST_ROUNDS, PATIENCE = 2000, 50
PARTS, ENOUGH_ROWS = 5, 5000  # small tables: every part is left out once; large ones: one of as many parts, once
READ_AT_ONCE = 65536
SMALL = 2_000_000  # cells; below, threads cost more than they bring


@dataclass(frozen=True)
class Booster:
    """A trained model: `data` is its file, and `answer` makes logits float64 (n, outputs) of a table as the notebook will."""

    kind: str
    data: bytes
    answer: Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class _Table:
    """What all boosters of a model learn from: `values` float32 (n, features), which of them are `codes`, and how."""

    values: NDArray[np.float32]
    codes: tuple[int, ...]
    seed: int
    threads: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class _Problem:
    """What one booster learns.

    Attributes:
        target: (n,), or (n, outputs) of several labels or numbers.
        strata: int64 (n,): what parts are to have in equal shares.
        outputs: Of a label or a number 1.
        link: What makes answers of the scores.
    """

    table: _Table
    target: NDArray[Any]
    strata: NDArray[np.int64]
    outputs: int
    link: str


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
    table = _Table(values, places, seed, _threads(values), chosen)
    learn = _learn_lightgbm if kind == "lightgbm" else _learn_xgboost
    files = []
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the packages print is for people; stdout is for `--json`
            for problem in _problems(kind, table, heads, y[rows]):
                data, _ = learn(problem, np.arange(len(values)), None, rounds or _rounds(problem, learn))
                files.append((data, problem.outputs))
            return _opened(kind, trees.joined(files) if len(files) > 1 else files[0][0])
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


def _opened(kind: str, data: bytes) -> Booster:
    boosters = trees.parse(data, lightgbm_backend.booster if kind == "lightgbm" else xgboost_backend.booster)
    return Booster(kind, data, lambda table: trees.logits(boosters, table, _threads(table)))


def _problems(kind: str, table: _Table, heads: Sequence[Head], y: NDArray[Any]) -> list[_Problem]:
    """One per booster. `y`: the truth of the rows that are learned from, as `Rows.y`."""
    found = []
    for head, truth in zip(heads, apart(heads, y), strict=True):
        target, strata = losses.targets((head,), truth), targets.strata((head,), truth)
        if head.link == SOFTMAX or (kind == "xgboost" and len(head.classes) > 1):
            found.append(_Problem(table, target, strata, len(head.classes), head.link))
            continue
        for place, column in enumerate(target.T):
            own = strata if len(head.classes) == 1 else targets.strata((_only(head, place),), truth[:, [place]])
            found.append(_Problem(table, np.ascontiguousarray(column), own, 1, head.link))
    return found


def _only(head: Head, place: int) -> Head:
    """One label or number of a head."""
    return replace(head, classes=head.classes[place : place + 1], offset=(), spread=())


def _threads(values: NDArray[np.float32]) -> int:
    return 1 if values.size < SMALL else os.cpu_count() or 1


Learn = Callable[["_Problem", "NDArray[np.int64]", "NDArray[np.int64] | None", int], tuple[bytes, list[float]]]
"""Learns from some places; with others left out, stops early, and returns its loss on them after each round."""


def _rounds(problem: _Problem, learn: Learn) -> int:
    """The number of trees with the least loss on parts that were left out."""
    if _too_few(problem):
        return PATIENCE  # nothing to learn how many are right from
    part = _parts(problem.strata, problem.table.seed)
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
    fixed = {
        "seed": problem.table.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "num_threads": problem.table.threads,
    }
    settings = {**problem.table.settings, **fixed, **_lightgbm_objective(problem)}
    codes: Any = list(problem.table.codes)

    def data(places: NDArray[np.int64], like: Any = None) -> Any:
        return lightgbm.Dataset(
            problem.table.values[places], problem.target[places], categorical_feature=codes, reference=like, free_raw_data=False
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
    fixed = {"seed": problem.table.seed, "tree_method": "hist", "verbosity": 0, "nthread": problem.table.threads, "device": "cpu"}
    settings = {**fixed, **problem.table.settings, **_xgboost_objective(problem)}
    types = ["c" if index in problem.table.codes else "q" for index in range(problem.table.values.shape[1])]

    def data(places: NDArray[np.int64]) -> Any:
        values, target = problem.table.values[places], problem.target[places]
        return xgboost.DMatrix(
            values, target, missing=np.nan, feature_types=types, enable_categorical=True, nthread=problem.table.threads
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
