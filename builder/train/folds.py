"""Which row is in which fold. Folds are saved with the version and hashed: members of one plan must agree on the rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.config import CrossValidation


def assign(codes: NDArray[np.int64], cv: CrossValidation) -> NDArray[np.int64]:
    """int64 (rows,): the fold of each row. Raises UserError when a class has fewer rows than there are folds."""
    import numpy as np
    from sklearn.model_selection import KFold, StratifiedKFold

    counts = np.bincount(codes)
    if cv.scheme == "stratified" and counts.min() < cv.folds:
        raise UserError(
            "stratified folds need at least one row of each class per fold",
            found=f"a class with {counts.min()} rows and {cv.folds} folds",
            remedy='lower cv.folds, or set cv.scheme = "random"',
        )
    if len(codes) < cv.folds:
        raise UserError("fewer rows than folds", found=f"{len(codes)} rows, {cv.folds} folds", remedy="lower cv.folds")
    splitter = (StratifiedKFold if cv.scheme == "stratified" else KFold)(cv.folds, shuffle=True, random_state=cv.seed)
    folds = np.full(len(codes), -1, dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(codes, codes)):
        folds[held_out] = fold
    return folds


def to_csv(ids: Sequence[str], folds: NDArray[np.int64], labels: Sequence[str]) -> str:
    """folds.csv: id, fold, target; one row per training row, in the order of the training table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "fold", "target"])
    writer.writerows(zip(ids, folds.tolist(), labels, strict=True))
    return out.getvalue()
