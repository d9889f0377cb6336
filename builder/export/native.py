"""One fold of trees: their library's own text form is portable as it is, and compared all the same.

Expects: the file that training wrote, and all training rows as the model is shown them.
Produces: a copy of it under the export's name; what the library said when it trained, and what the runtime's backend says now.
Never: lets a difference pass that a graph would not be allowed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder.errors import GateError
from builder.export import convert, fold, parity, pictures
from builder.export.parity import Case
from builder.export.record import BACKENDS
from builder.export.source import LOGITS
from builder.runtime import backends

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Answers

SUFFIXES = {".lgb.txt": "lightgbm", ".xgb.json": "xgboost"}


def format_of(checkpoint: Path) -> str:
    """The format of a checkpoint that is portable as it is; empty for one that must be converted."""
    return next((name for suffix, name in SUFFIXES.items() if checkpoint.name.endswith(suffix)), "")


def export(
    recipe: fold.Recipe, given: fold.Given, checkpoint: Path, held_out: NDArray[np.int64], expected: Sequence[NDArray[np.float32]]
) -> fold.Fold:
    """Export one fold.

    Args:
        expected: Per view float32 (rows, outputs): what was predicted out of fold when it was trained.

    Raises:
        GateError: The runtime's backend answers otherwise.
    """
    kind = format_of(checkpoint)
    own = replace(recipe, format=kind, precision="fp32", backend="")
    path = recipe.folder / f"{given.name}-f{given.fold}-fp32{''.join(checkpoint.suffixes[-2:])}"
    shutil.copyfile(checkpoint, path)
    try:
        run = backends.open(path, "cpu", recipe.threads, BACKENDS[kind])
    except backends.BackendError as error:
        raise GateError("the exported model does not run here", file=path, found=error, remedy=f"install {kind} again") from None
    said: list[Answers] = [{LOGITS: found[held_out]} for found in expected]
    rows = [pictures.of(given.shown, held_out, view) for view in recipe.views]
    after = [parity.asked(run.logits, one, recipe.planned, recipe.heads) for one in rows]
    few = np.arange(min(2 * recipe.planned, len(held_out)))
    case = Case(pictures.pick(rows[0], few))
    ladder = tuple(parity.ladder({LOGITS: said[0][LOGITS][few]}, run.logits, "fp32", case, recipe.planned, recipe.heads))
    made = convert.Made((path,), ladder, said, after)
    return fold.compared(
        own,
        given,
        held_out,
        made,
        np.stack([one[LOGITS] for one in said]),
        np.stack([one[LOGITS] for one in after]),
        judged=True,
    )
