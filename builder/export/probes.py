"""Probe rows: some training rows and the answers that the source gave them, which a run on Kaggle must give again.

`<model>-probe.json` is {"schema": 1, "views": [...], "rows": [{"fold": the fold whose model predicts it, "row": {cells of the
training table}, "image": path in the competition's folder}]}; `<model>-probe.npy` is float32 (views, rows, outputs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.export.record import File, Probe
from builder.workspace import replacing, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = 1
ROWS = 256
SEED = 0


def choose(folds: NDArray[np.int64], codes: NDArray[np.int64], rows: int = ROWS, seed: int = SEED) -> NDArray[np.int64]:
    """Up to `rows` indices, ascending, spread evenly over folds and, within each, over classes; rows of fold -1 are left out."""
    draw = np.random.default_rng(seed)
    honest = draw.permutation(np.flatnonzero(folds >= 0))
    # Round after round, one row of every pair of fold and class: `turn` is a row's place among those of its pair.
    turn = np.zeros(len(honest), dtype=np.int64)
    seen: dict[tuple[int, int], int] = {}
    for place, row in enumerate(honest):
        pair = (int(folds[row]), int(codes[row]))
        turn[place] = seen[pair] = seen.get(pair, -1) + 1
    return np.sort(honest[np.argsort(turn, kind="stable")[:rows]])


def write(
    folder: Path,
    model: str,
    chosen: Sequence[Mapping[str, Any]],
    views: Sequence[str],
    values: NDArray[np.float32],
    max_abs_diff: float,
) -> Probe:
    """Write both files into `folder`.

    Args:
        chosen: For each row `fold`, `row` (its cells by column) and `image`.
        views: Names, in the order of the first axis of `values`.
        values: float32 (views, rows, outputs).
        max_abs_diff: By how much a run may differ, of numbers in units of their spread.
    """
    table, array = folder / f"{model}-probe.json", folder / f"{model}-probe.npy"
    write_json(table, {"schema": SCHEMA, "views": list(views), "rows": [dict(one) for one in chosen]})
    with replacing(array) as temporary, temporary.open("wb") as stream:
        np.save(stream, values.astype(np.float32))
    return Probe(model, File.of(table), File.of(array), len(chosen), max_abs_diff)
