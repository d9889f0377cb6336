"""hooks.py, the competitor's own code: functions it may define, each of which replaces one step or adds one.

    rows(test_dir) -> DataFrame                one row per sample, with the id column; `test_dir` is the competition's folder
    load(row, mounts) -> dict[str, ndarray]    inputs by graph name, leading axis = items of this sample, one or more; a graph
                                               takes those that it knows
    merge(item_probs) -> ndarray               (items, outputs) -> (outputs,); default: their mean
    submission(rows, probs) -> DataFrame       sample to one or more submission rows, the whole file; `probs` (rows, outputs) are
                                               the answers of all heads side by side: probabilities, or numbers in their own unit
    fit(table) -> state                        of tables, at home: what `transform` must know of the training rows, JSON values
    transform(table, state) -> DataFrame       columns of one's own, in training and notebook alike; rows stay as they are

Loaded from its path in the notebook's process and in every worker, so it must not do work when imported.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .mounts import Mounts

NAMES = ("rows", "load", "merge", "submission", "fit", "transform")


class HookError(ValueError):
    """Raised when hooks.py cannot be loaded or one of its functions returns what it must not."""


@dataclass(frozen=True)
class Hooks:
    """The functions that hooks.py defines; None for those it leaves to us."""

    rows: Callable[..., Any] | None = None
    load: Callable[..., Any] | None = None
    merge: Callable[..., Any] | None = None
    submission: Callable[..., Any] | None = None
    fit: Callable[..., Any] | None = None
    transform: Callable[..., Any] | None = None


def load(path: str | None) -> Hooks:
    """The hooks in the file `path`; none for None or an empty path. Raises HookError when the file cannot be imported."""
    if not path:
        return Hooks()
    spec = importlib.util.spec_from_file_location("kkb_hooks", path) if Path(path).is_file() else None
    if spec is None or spec.loader is None:
        raise HookError(f"{path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HookError(f"{path}: {type(error).__name__}: {error}") from error
    return Hooks(**{name: getattr(module, name, None) for name in NAMES})


def inputs(hooks: Hooks, row: Mapping[str, Any], mounts: Mounts) -> dict[str, NDArray[Any]]:
    """What the hook `load` makes of a sample: arrays by the graph's names, one or more items each.

    Raises HookError when it returns anything else; what the hook itself raises passes through.
    """
    if hooks.load is None:
        raise HookError("there is no hook that loads samples")
    found = hooks.load(dict(row), mounts)
    if not isinstance(found, dict) or not found:
        raise HookError(f"returned {type(found).__name__}, expected a dict of arrays by the names of the graph's inputs")
    arrays = {str(name): np.asarray(values) for name, values in found.items()}
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise HookError(f"returned {counts} items; every input needs the same number, at least one")
    return arrays
