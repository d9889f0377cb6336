"""Which row is in which fold. Folds are saved with the version and hashed: members of one plan must agree on the rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.errors import UserError
from builder.runtime.heads import SOFTMAX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from builder.competition import Rows
    from builder.config import CrossValidation

NEVER = -1  # the fold of a row that no model predicts: the earliest ones, where only later rows are predicted


def assign(
    codes: NDArray[np.int64],
    cv: CrossValidation,
    groups: Sequence[str] | None = None,
    times: Sequence[str] | None = None,
    *,
    classes: bool = True,
) -> NDArray[np.int64]:
    """int64 (rows,): the fold of each row, NEVER for the first rows of scheme `time`.

    Args:
        codes: int64 (rows,), the class of each row, or whatever else is to be shared evenly.
        cv: How folds are made, `[cv]` of kernel.toml.
        groups: The group of each row; schemes `group` and `stratified-group` keep each in one fold.
        times: When each row was, as numbers or ISO dates; scheme `time` predicts each fold from earlier rows only.
        classes: Whether `codes` are the classes that are predicted, of which every fold must have some. Otherwise those that too
            few rows have are taken together.

    Raises:
        UserError: There are too few rows, groups, times or rows of a class for so many folds, or times that are none.
    """
    codes = codes if classes else _merged(codes, cv.folds)
    _refuse_few(codes, cv, classes=classes)
    if cv.scheme == "time":
        return _by_time(_moments(_needed(times, "time", codes)), cv.folds)
    if cv.scheme == "group":
        return _by_group(_numbered(_needed(groups, "group", codes), cv.folds), cv)
    return _by_draw(codes, cv, groups)


def seen(folds: NDArray[np.int64], fold: int, scheme: str) -> NDArray[np.bool_]:
    """bool (rows,): the rows that the model of `fold` learns from: all others, or with scheme `time` those before it."""
    return folds < fold if scheme == "time" else folds != fold


def of(rows: Rows, cv: CrossValidation) -> NDArray[np.int64]:
    """`assign` for training rows."""
    one = len(rows.heads) == 1 and rows.heads[0].link == SOFTMAX
    return assign(rows.strata, cv, rows.groups, rows.times, classes=one)


def _merged(codes: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Codes of at least `folds` rows each; those of fewer rows become one, which joins the most frequent when it is too small."""
    import numpy as np

    counts = np.bincount(codes)
    rare = counts[codes] < folds
    if not rare.any() or rare.all():
        return np.where(rare, 0, codes)
    return np.where(rare, len(counts) if rare.sum() >= folds else counts.argmax(), codes)


def _refuse_few(codes: NDArray[np.int64], cv: CrossValidation, *, classes: bool) -> None:
    import numpy as np

    counts = np.bincount(codes)
    if classes and cv.scheme.startswith("stratified") and counts.min() < cv.folds:
        without = cv.scheme.replace("stratified-", "").replace("stratified", "random")
        raise UserError(
            "stratified folds need at least one row of each class per fold",
            found=f"a class with {counts.min()} rows and {cv.folds} folds",
            remedy=f'lower cv.folds, or set cv.scheme = "{without}"',
        )
    if len(codes) < cv.folds:
        raise UserError("fewer rows than folds", found=f"{len(codes)} rows, {cv.folds} folds", remedy="lower cv.folds")


def _needed(values: Sequence[str] | None, key: str, codes: NDArray[np.int64]) -> Sequence[str]:
    if values is None or len(values) != len(codes):
        raise UserError(f"folds need the {key} of each row", expected=f"data.{key}", remedy=f"set data.{key} in kernel.toml")
    return values


def _by_draw(codes: NDArray[np.int64], cv: CrossValidation, groups: Sequence[str] | None) -> NDArray[np.int64]:
    """Rows or whole groups, drawn by the seed; `stratified` ones share each class as evenly as they can."""
    import numpy as np
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    kinds = {"random": KFold, "stratified": StratifiedKFold, "stratified-group": StratifiedGroupKFold}
    grouped = cv.scheme == "stratified-group"
    numbers = _numbered(_needed(groups, "group", codes), cv.folds) if grouped else None
    splitter = kinds[cv.scheme](cv.folds, shuffle=True, random_state=cv.seed)
    folds = np.full(len(codes), -1, dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(codes, codes, numbers)):
        folds[held_out] = fold
    return folds


def _numbered(groups: Sequence[str], folds: int) -> NDArray[np.int64]:
    """The number of each row's group. Raises UserError when there are fewer groups than folds."""
    import numpy as np

    names, numbers = np.unique(np.array(groups, dtype=object), return_inverse=True)
    if len(names) < folds:
        raise UserError(
            "fewer groups than folds", found=f"{len(names)} groups, {folds} folds", remedy="lower cv.folds, or check data.group"
        )
    return numbers.astype(np.int64)


def _by_group(groups: NDArray[np.int64], cv: CrossValidation) -> NDArray[np.int64]:
    """Whole groups: the largest first, each into the fold that has the fewest rows; the seed decides among equal ones."""
    import numpy as np

    sizes = np.bincount(groups)
    drawn = np.random.default_rng(cv.seed).permutation(len(sizes))
    fold_of, filled = np.zeros(len(sizes), dtype=np.int64), [0] * cv.folds
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")].tolist():
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += int(sizes[group])
    return fold_of[groups]


def _moments(times: Sequence[str]) -> NDArray[np.float64]:
    """Numbers in the order of the times. Raises UserError for times that are neither numbers nor ISO dates."""
    import numpy as np
    import pandas as pd

    try:
        moments = np.array([float(time) for time in times])
    except ValueError:
        try:
            stamps = pd.to_datetime(pd.Series(list(times), dtype=object), format="ISO8601", utc=True)
        except ValueError as error:
            raise _no_times(str(error)) from None
        moments = stamps.to_numpy(dtype="datetime64[us]").astype(np.int64).astype(np.float64)
        moments[stamps.isna().to_numpy()] = np.nan
    if not np.isfinite(moments).all():
        raise _no_times(f"'{times[int(np.flatnonzero(~np.isfinite(moments))[0])]}'")
    return moments


def _no_times(found: str) -> UserError:
    return UserError(
        "data.time is no time that rows can be ordered by",
        found=found,
        expected="numbers, or dates such as 2024-05-31 or 2024-05-31 13:00",
        remedy="check data.time, or choose another cv.scheme",
    )


def _by_time(moments: NDArray[np.float64], folds: int) -> NDArray[np.int64]:
    """Blocks of about equal size, one more than folds: the first is NEVER predicted. Rows of one moment share a block."""
    import numpy as np

    _, numbers, counts = np.unique(moments, return_inverse=True, return_counts=True)
    if len(counts) <= folds:
        raise UserError(
            "too few different times for so many folds",
            found=f"{len(counts)} times, {folds} folds",
            expected=f"at least {folds + 1} times: the rows of the first ones are only learned from",
            remedy="lower cv.folds, or check data.time",
        )
    ends, cuts = np.cumsum(counts), [0]
    for cut in range(1, folds + 1):
        # Each of the blocks that follow needs a moment of its own.
        possible = np.arange(cuts[-1] + 1, len(counts) - (folds - cut))
        wanted = cut * len(moments) / (folds + 1)
        cuts.append(int(possible[np.argmin(np.abs(ends[possible - 1] - wanted))]))
    return np.searchsorted(np.array(cuts), numbers, side="right").astype(np.int64) - 1 + NEVER


def to_csv(ids: Sequence[str], folds: NDArray[np.int64], labels: Sequence[str]) -> str:
    """folds.csv: id, fold, target; one row per training row, in the order of the training table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "fold", "target"])
    writer.writerows(zip(ids, folds.tolist(), labels, strict=True))
    return out.getvalue()
