"""What kernel.toml says about weights that were trained elsewhere: their files, the rows they did not see, their own predictions.

Expects: paths below the workspace; tables with the competition's ids.
Produces: a file per fold; a fold per row, -1 where no model is known to have left the row out; probabilities in the order of the
    training table; and in notes, what was assumed.
Never: guesses which rows a model saw. A wrong guess would show as a score that is too good.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import huggingface
from builder.competition import Rows, read_table
from builder.errors import UserError, did_you_mean, nearest
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX, answers, slices
from builder.train import folds

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from builder.config import Config, Model

FOLD = "{fold}"
SLACK = 1e-3  # by which a probability may be below 0
FOLD_COLUMNS = ("fold", "kfold", "folds", "fold_id")


@dataclass(frozen=True)
class Given:
    """One model's weights as they were found.

    Attributes:
        files: Fold of the version -> checkpoint; -1 for a single one that saw all rows.
        folds: int64 (rows,) of the training table; None when it is not known which rows the weights did not see.
        notes: What was assumed.
        oof: float32 (rows, outputs): the out-of-fold predictions that came with the weights, NaN where they have none.
    """

    files: dict[int, Path]
    folds: NDArray[np.int64] | None
    notes: tuple[str, ...]
    oof: NDArray[np.float32] | None = None


def find(model: Model, config: Config, rows: Rows, root: Path) -> Given:
    """The weights of one model, and what came with them. Raises UserError when files, folds and predictions do not match."""
    found = _weights(model, config, rows, root)
    if not model.oof:
        return found
    predicted, notes = predictions(model, config, rows, root)
    return replace(found, oof=predicted, notes=(*found.notes, *notes))


def _weights(model: Model, config: Config, rows: Rows, root: Path) -> Given:
    numbered = checkpoints(model, root)
    if model.folds:
        return _by_table(model, config, rows, root, numbered)
    if model.holdout:
        return _by_holdout(model, config, rows, root, numbered)
    if config.cv_given and FOLD in model.checkpoints:
        if len(numbered) != config.cv.folds:
            raise _uncountable(model, numbered, f"cv.folds = {config.cv.folds}")
        note = (
            f"{model.name}: its folds are assumed to be those that [cv] makes ({config.cv.scheme}, {config.cv.folds} folds, seed "
            f"{config.cv.seed}); if they were made otherwise, its score is too good: give folds instead"
        )
        return Given(
            _ranked(numbered),
            folds.of(rows, config.cv),
            (note, *_shift(model, numbered, range(len(numbered)))),
        )
    note = (
        f"{model.name}: nothing says which rows it did not see, so it has no out-of-fold predictions: its score and its value "
        "beside others are not known, and a plan can only give equal weights; folds or holdout would tell"
    )
    files = _ranked(numbered) if FOLD in model.checkpoints else {-1: next(iter(numbered.values()))}
    return Given(files, None, (note,))


def checkpoints(model: Model, root: Path) -> dict[int, Path]:
    """Number in the file name -> checkpoint; a single one has number 0. Raises UserError when there is none."""
    pattern = model.checkpoints
    if FOLD not in pattern:
        return {0: root / pattern}
    pieces = pattern.split(FOLD)
    name = re.compile("(?P<fold>[0-9]+)".join([re.escape(pieces[0]), "(?P=fold)".join(map(re.escape, pieces[1:]))]))
    glob = "*".join(re.sub(r"([*?\[])", r"[\1]", piece) for piece in pieces)
    found: dict[int, Path] = {}
    for path in sorted(root.glob(glob)):
        match = name.fullmatch(path.relative_to(root).as_posix())
        if match and int(match["fold"]) in found:
            raise UserError(
                f"two checkpoints of {model.name} have the same fold",
                file=path,
                found=found[int(match["fold"])],
                remedy="remove one of them",
            )
        if match:
            found[int(match["fold"])] = path
    if not found:
        raise _no_file(pattern, root)
    return dict(sorted(found.items()))


def _no_file(pattern: str, root: Path) -> UserError:
    folder = (root / pattern.partition(FOLD)[0]).parent if not pattern.startswith(FOLD) else root
    here = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    match = nearest(Path(pattern).name.replace(FOLD, "0"), here)
    return UserError(
        "no checkpoint has such a name",
        file=root / pattern,
        found=", ".join(here[:8]) or "no such folder",
        expected="a file for each fold, with its number in place of {fold}",
        remedy=f"did you mean '{match}'?" if match else "mend checkpoints in kernel.toml",
    )


def files(model: Model, root: Path) -> list[Path]:
    """Every file that kernel.toml names for this model. Raises UserError for one that is missing."""
    found = []
    for path in checkpoints(model, root).values():
        found += huggingface.weights_in(path) if path.is_dir() else [path]
    found += [root / name for name in (model.folds, model.holdout, model.oof) if name]
    for path in found:
        if not path.is_file():
            raise UserError("kernel.toml names a file that is not there", file=path, remedy=f"mend the [[model]] {model.name}")
    return found


def _by_table(model: Model, config: Config, rows: Rows, root: Path, numbered: dict[int, Path]) -> Given:
    path = root / model.folds
    table = read_table(path)
    column = _column(table, FOLD_COLUMNS, path)
    ids = _ids(table, config, path)
    try:
        numbers = dict(zip(ids, map(_whole, table[column]), strict=True))
    except ValueError as error:
        raise UserError("a fold is not a whole number", file=path, found=error, remedy=f"mend column {column}") from None
    missing = [identity for identity in rows.ids if identity not in numbers]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(rows.ids)} training rows have no fold",
            file=path,
            found=f"ids such as {ids[0]}",
            expected=f"ids such as {missing[0]}",
            remedy="give every training row; -1 for one that no model left out",
        )
    own = np.array([numbers[identity] for identity in rows.ids], dtype=np.int64)
    known = sorted({int(number) for number in own if number >= 0})
    if len(known) != len(numbered):
        raise _uncountable(model, numbered, f"folds {', '.join(map(str, known))} in {model.folds}")
    ranked = np.full(len(own), -1, dtype=np.int64)
    for rank, number in enumerate(known):
        ranked[own == number] = rank
    notes = [*_shift(model, numbered, known)] if FOLD in model.checkpoints else []
    if len(numbers) > len(rows.ids):
        notes.append(f"{model.folds} has {len(numbers) - len(rows.ids)} rows that are not in the training table")
    return Given(_ranked(numbered), ranked, tuple(notes))


def _whole(text: str) -> int:
    """`3`, or `3.0` as pandas writes it beside empty cells. Raises ValueError."""
    if not re.fullmatch(r"\s*-?[0-9]+(\.0*)?\s*", text):
        raise ValueError(repr(text))
    return int(float(text))


def _by_holdout(model: Model, config: Config, rows: Rows, root: Path, numbered: dict[int, Path]) -> Given:
    path = root / model.holdout
    ids = _ids(read_table(path), config, path)
    position = {identity: row for row, identity in enumerate(rows.ids)}
    strange = [identity for identity in ids if identity not in position]
    if strange or not ids:
        raise UserError(
            f"{len(strange)} of {len(ids)} held-out rows are not in the training table",
            file=path,
            found=f"id {strange[0]}" if strange else "no rows",
            expected=f"ids such as {rows.ids[0]}",
            remedy="a holdout is scored by its labels: put its rows into the training table, or leave holdout out",
        )
    own = np.full(len(rows.ids), -1, dtype=np.int64)
    # No model saw any of them; each is answered by one, like every row of a version.
    held_out = np.sort(np.array([position[identity] for identity in ids], dtype=np.int64))
    own[held_out] = np.arange(len(held_out)) % len(numbered)
    note = f"{model.name}: its score is that of {len(held_out)} held-out rows"
    shared = f", shared out among {len(numbered)} checkpoints" if len(numbered) > 1 else ""
    return Given(_ranked(numbered), own, (note + shared,))


def _ranked(numbered: dict[int, Path]) -> dict[int, Path]:
    """Fold -> checkpoint, counted from 0 whatever the files count from."""
    return dict(enumerate(numbered.values()))


def _shift(model: Model, numbered: dict[int, Path], known: range | list[int]) -> tuple[str, ...]:
    if list(numbered) == list(known):
        return ()
    pairs = ", ".join(f"{path.name} is fold {fold}" for fold, path in zip(known, numbered.values(), strict=True))
    return (f"{model.name}: files and folds count differently; taken in order: {pairs}",)


def _uncountable(model: Model, numbered: dict[int, Path], expected: str) -> UserError:
    return UserError(
        f"{model.name} has another number of checkpoints than folds",
        found=f"{len(numbered)} checkpoints: {', '.join(path.name for path in numbered.values())}",
        expected=expected,
        remedy="bring the missing checkpoints, or give the folds that belong to these",
    )


def _column(table: pd.DataFrame, names: tuple[str, ...], path: Path) -> str:
    known = {str(column).lower(): str(column) for column in table.columns}
    for name in names:
        if name.lower() in known:
            return known[name.lower()]
    raise UserError(
        f"the table has no column '{names[0]}'",
        file=path,
        found=", ".join(known.values()),
        remedy=did_you_mean(names[0], known.values()),
    )


def _ids(table: pd.DataFrame, config: Config, path: Path) -> list[str]:
    """The ids of a table. Raises UserError when some stand twice."""
    column = table[str(table.columns[0]) if len(table.columns) == 1 else _column(table, (config.data.id, "id"), path)]
    repeated = column[column.duplicated()]
    if len(repeated):
        raise UserError(f"{len(repeated)} ids stand twice", file=path, found=repeated.iloc[0], remedy="remove the duplicates")
    return [str(identity) for identity in column]


def predictions(model: Model, config: Config, rows: Rows, root: Path) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """float32 (rows, outputs): the out-of-fold predictions that came with the weights, NaN where there are none; and notes."""
    path = root / model.oof
    shape = (len(rows.ids), len(rows.classes))
    found = _from_csv(path, config, rows) if path.suffix == ".csv" else _from_npy(path)
    if found.ndim == 1 and shape[1] == 1:
        found = found[:, None]
    if found.shape != shape:
        raise UserError(
            "the out-of-fold predictions have another shape",
            file=path,
            found=found.shape,
            expected=f"{shape}: training rows and {'classes' if rows.heads[0].link == SOFTMAX else 'targets'}",
            remedy="save them for every row of the training table in its order, or as .csv with the id column",
        )
    known = np.asarray(np.isfinite(found).all(axis=1))
    if not known.any():
        raise UserError("no row of the out-of-fold predictions is finite", file=path, remedy="mend them, or leave oof out")
    places = zip(rows.heads, slices(rows.heads), strict=True)
    if all(_are_answers(found[known, place], head.link) for head, place in places):
        return np.where(known[:, None], found, np.nan).astype(np.float32), ()
    return answers(found, rows.heads), (f"{model.oof} holds no probabilities: taken for logits",)


def _are_answers(values: NDArray[np.float64], link: str) -> bool:
    """Whether these are probabilities, up to rounding; numbers are whatever they are."""
    if link == IDENTITY:
        return True
    if link == SIGMOID:
        return bool(values.min() >= -SLACK and values.max() <= 1 + SLACK)
    return bool(values.min() >= -SLACK and float(np.abs(values.sum(axis=1) - 1).max()) < 2e-2)


def _from_npy(path: Path) -> NDArray[np.float64]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
    except (OSError, ValueError, EOFError, TypeError, AttributeError) as error:
        raise UserError(
            "not an array of numbers",
            file=path,
            found=str(error)[:200],
            expected=".npy or .csv",
            remedy="numpy.save(...) it again",
        ) from None


def _from_csv(path: Path, config: Config, rows: Rows) -> NDArray[np.float64]:
    table = read_table(path)
    ids = _ids(table, config, path)
    if len(set(rows.classes)) < len(rows.classes):
        raise UserError(
            "classes of two targets have one name, so columns cannot be named after them",
            file=path,
            found=", ".join(rows.classes[:12]),
            remedy="save the predictions as .npy, the classes of one target after those of the other",
        )
    lacking = [label for label in rows.classes if label not in table]
    if lacking:
        raise UserError(
            "the out-of-fold predictions lack a column for a class",
            file=path,
            found=", ".join(map(str, table.columns[:12])),
            expected=f"columns {', '.join(rows.classes[:12])}",
            remedy="name the columns after the classes",
        )
    position = {identity: row for row, identity in enumerate(ids)}
    try:
        values = table[list(rows.classes)].replace("", "nan").to_numpy(dtype=np.float64)
    except ValueError as error:
        raise UserError("a prediction is not a number", file=path, found=error, remedy="mend it") from None
    out = np.full((len(rows.ids), len(rows.classes)), np.nan)
    for row, identity in enumerate(rows.ids):
        if identity in position:
            out[row] = values[position[identity]]
    return out
