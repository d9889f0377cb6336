"""Boosted trees, whichever package grew them: one booster, or one for each head or output, in one file.

Expects: a package's own file as it is; or, of several boosters, a first line of JSON, `{"boosters": [[bytes, outputs], ...]}`,
    and their files, one after the other. A package's backend makes a `Booster` of each.
Produces: a Backend with the input `table`, float32 (n, features) with NaN for missing, and the output `logits`: those of all
    boosters, in the order of the file.
Never: imports a package that runs them, or lets one booster say anything but what it would say alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT = "table"
HEAD = b'{"boosters":'  # of a file of several
ESTIMATORS = ("sklearn", "dask", "distributed")  # what packages of trees import for estimators that no plan uses


@dataclass(frozen=True)
class Booster:
    """What scores rows.

    Attributes:
        features: Columns of the table that it reads.
        outputs: Its logits per row: a column for each class, label or number; or 1 of two classes, the second against the first.
        raw: (float32 (n, features), threads) -> float (n,) or (n, outputs) for n > 0: of two classes the second's alone.
    """

    features: int
    outputs: int
    raw: Callable[[NDArray[np.float32], int], NDArray[Any]]


@contextlib.contextmanager
def without_estimators() -> Iterator[None]:
    """Within it LightGBM and XGBoost import without what only their estimators need, which takes most of their seconds.

    Their estimators do not work in this process then: not where others' code runs.
    """
    absent = [name for name in ESTIMATORS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: an import raises ImportError at once
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


def joined(files: Sequence[tuple[bytes, int]]) -> bytes:
    """One file of several boosters' files and their numbers of outputs."""
    told = json.dumps({"boosters": [[len(data), outputs] for data, outputs in files]})
    return b"\n".join([told.encode(), b"".join(data for data, _ in files)])


def parse(data: bytes, one: Callable[[bytes], Booster]) -> tuple[Booster, ...]:
    """The boosters of a file, read one by one. Raises ValueError, and what `one` raises."""
    if not data.startswith(HEAD):
        return (one(data),)
    line, _, rest = data.partition(b"\n")
    try:
        parts = [(int(size), int(outputs)) for size, outputs in json.loads(line)["boosters"]]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"its first line does not say which boosters follow: {error}") from None
    if not parts or min(min(part) for part in parts) < 1 or sum(size for size, _ in parts) != len(rest):
        raise ValueError(f"its first line speaks of {sum(size for size, _ in parts)} bytes of boosters, and {len(rest)} follow")
    found, at = [], 0
    for size, outputs in parts:
        found.append(_told(one(rest[at : at + size]), outputs))
        at += size
    if len({booster.features for booster in found}) > 1:
        raise ValueError("its boosters take different tables")
    return tuple(found)


def logits(boosters: Sequence[Booster], table: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    """float64 (n, outputs of all boosters) for float32 (n, features). Raises BackendError for another number of features."""
    features = boosters[0].features
    if table.ndim != 2 or table.shape[1] != features:
        raise backends.BackendError(f"the model takes {features} features; found an array of shape {table.shape}")
    return np.concatenate([_logits(booster, table, max(1, threads)) for booster in boosters], axis=1)


class Backend(backends.Backend):
    """Boosters of one package."""

    accelerator = "cpu"
    inputs = (INPUT,)
    outputs = (backends.OUTPUT,)

    def __init__(self, kind: str, version: str, path: str, threads: int, one: Callable[[bytes], Booster]) -> None:
        self.kind, self.version, self._threads = kind, version, threads
        try:
            self._boosters = parse(Path(path).read_bytes(), one)
        except Exception as error:
            raise backends.failed(kind, version, path, error) from error

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        answer = logits(self._boosters, np.asarray(feeds[INPUT], dtype=np.float32), self._threads)
        return dict.fromkeys(names, answer)


def _told(booster: Booster, outputs: int) -> Booster:
    """The booster as the first line speaks of it: a label needs one output of the two that a binary objective has."""
    if outputs != booster.outputs and (outputs, booster.outputs) != (1, 2):
        raise ValueError(f"a booster has {booster.outputs} outputs, its first line says {outputs}")
    return replace(booster, outputs=outputs)


def _logits(booster: Booster, table: NDArray[np.float32], threads: int) -> NDArray[np.float64]:
    if not len(table):
        return np.zeros((0, booster.outputs))
    raw = np.asarray(booster.raw(table, threads), dtype=np.float64)
    if booster.outputs == 2 and raw.ndim == 1:
        return np.stack([np.zeros(len(raw)), raw], axis=1)
    return raw.reshape(len(table), booster.outputs)
