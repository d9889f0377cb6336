"""What a competition predicts: the target columns of the training table as heads of a model, and the truth of every row.

Expects: `[data] target` and `truth` of kernel.toml, and the training table.
Produces: heads (`runtime/contract.py`), the truth as metrics take it, and one text per row that a table of folds can hold.
Never: guesses what a column holds: kernel.toml says it, `proposing.py` proposes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.competition.tables import class_order
from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.metrics.heads import apart
from builder.runtime.contract import Head
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from builder.config import Data

    Table = pd.DataFrame
    Truth = NDArray[Any]

KINDS = {SOFTMAX: CLASSES, SIGMOID: MULTILABEL, IDENTITY: NUMBERS}  # link of a head -> kind of its truth
THERE = {**dict.fromkeys(("1", "1.0", "True", "true"), 1), **dict.fromkeys(("0", "0.0", "False", "false"), 0)}
BINS = 10  # that rows are spread over folds by, when they have numbers
LARGEST = float(np.finfo(np.float32).max)  # number that a model can answer
LEAST = 50  # rows of a stratum, as many as there may be folds: fewer say nothing about a fold


@dataclass(frozen=True)
class Targets:
    """The truth of some rows.

    Attributes:
        heads: What a model answers.
        y: int64 (rows,) codes of one head of classes; int64 (rows, heads) of several; int64 0 or 1 (rows, labels); or float64
            (rows, columns): numbers, or codes and numbers of several heads (`metrics.heads.apart`).
        told: One text per row, from which `parse` makes `y` again.
    """

    heads: tuple[Head, ...]
    y: Truth
    told: tuple[str, ...]


def read(data: Data, table: Table, path: Path) -> Targets:
    """The targets of a training table. Raises UserError for cells that are no such truth."""
    heads = _of_each(data, table, path) if data.headed else _HEADS[str(data.truth)](data, table, path)
    cells = [tuple(map(str, row)) for row in table[list(data.targets)].itertuples(index=False)]
    texts = tuple(told(row, heads[0].link) for row in cells)
    return Targets(heads, parse(texts, heads), texts)


def told(row: Sequence[str], link: str) -> str:
    """The target cells of a row as one text: a single cell as it is, unless it would be taken for several."""
    plain = len(row) == 1 and not (link == SIGMOID and row[0].startswith("["))
    return row[0] if plain else json.dumps(list(row), ensure_ascii=False)


def parse(texts: Sequence[str], heads: Sequence[Head]) -> Truth:
    """The truth that the texts of rows tell, as in a table of folds. Raises UserError for one that the heads do not know."""
    link, classes = heads[0].link if len(heads) == 1 else SOFTMAX, heads[0].classes
    try:
        if link == IDENTITY:
            numbers = [_cells(text, len(classes)) for text in texts]
            return np.array(numbers, dtype=np.float64).reshape(len(texts), len(classes))
        if link == SIGMOID:
            return _labels(texts, classes)
        reads = [_reader(head) for head in heads]
        rows = [[read(cell) for read, cell in zip(reads, _cells(text, len(heads)), strict=True)] for text in texts]
    except (KeyError, ValueError) as error:
        raise UserError("rows have labels that their version does not know", found=error, remedy="train again") from None
    kind = np.float64 if any(head.link == IDENTITY for head in heads) else np.int64
    found = np.array(rows, dtype=kind).reshape(len(rows), len(heads))
    return found[:, 0] if len(heads) == 1 else found


def _reader(head: Head) -> Callable[[str], float]:
    """What makes the code of a class, or the number, of a cell."""
    return float if head.link == IDENTITY else {label: code for code, label in enumerate(head.classes)}.__getitem__


def strata(heads: Sequence[Head], y: Truth) -> NDArray[np.int64]:
    """int64 (rows,), what folds are stratified by: classes of the first head with some, rarest labels, or tenths of numbers.

    Of labels and numbers each stratum has as many rows as there may be folds, or there is but one.
    """
    own = next((truth for head, truth in zip(heads, apart(heads, y), strict=True) if head.link == SOFTMAX), None)
    if own is not None:
        return np.asarray(own, dtype=np.int64)
    if heads[0].link == SIGMOID:
        order = np.argsort(y.sum(axis=0), kind="stable")  # the rarest label first
        there = y[:, order]
        return _joined(np.where(there.any(axis=1), there.argmax(axis=1) + 1, 0))
    edges = np.quantile(y[:, 0], np.linspace(0, 1, BINS + 1)[1:-1])
    return _joined(np.searchsorted(edges, y[:, 0], "right"))


def prior(heads: Sequence[Head], y: Truth) -> tuple[float, ...]:
    """What is answered where nothing is known: shares of classes, shares of labels, means of numbers; of all heads."""
    found: list[float] = []
    for head, own in zip(heads, apart(heads, y), strict=True):
        if head.link == SOFTMAX:
            found += [float(count) / len(y) for count in np.bincount(own, minlength=len(head.classes))]
        else:
            found += np.asarray(own, dtype=np.float64).mean(axis=0).tolist()
    return tuple(found)


def _joined(found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Small strata together, and, where these are few rows still, with the largest."""
    counts = np.bincount(found)
    joined = np.where(counts[found] < LEAST, 0, found)
    if np.count_nonzero(joined == 0) < LEAST:
        joined = np.where(joined == 0, counts.argmax() if counts.max() >= LEAST else 0, joined)
    return np.unique(joined, return_inverse=True)[1].reshape(-1).astype(np.int64)  # numbered without gaps


def _of_each(data: Data, table: Table, path: Path) -> tuple[Head, ...]:
    """A head for each target, of its own kind, called like its column."""
    heads = []
    for name, kind in zip(data.targets, data.truths, strict=True):
        (head,) = _HEADS[kind](data.model_copy(update={"target": name, "truth": kind}), table, path)
        heads.append(replace(head, name=name))
    return tuple(heads)


def _of_classes(data: Data, table: Table, path: Path) -> tuple[Head, ...]:
    (name,) = data.targets
    found = class_order(table[name])
    if len(found) < 2:
        remedy = "check data.target in kernel.toml"
        raise UserError(f"the column '{name}' has fewer than two classes", file=path, found=found, remedy=remedy)
    return (Head("", SOFTMAX, found),)


def _of_labels(data: Data, table: Table, path: Path) -> tuple[Head, ...]:
    names = data.targets
    if len(names) == 1:
        return (Head("", SIGMOID, _named(table, names[0], path)),)
    for name in names:
        _refuse_odd(table, name, path)
    return (Head("", SIGMOID, names),)


def _of_numbers(data: Data, table: Table, path: Path) -> tuple[Head, ...]:
    values = np.array([_measured(table[name], table[data.id], path) for name in data.targets])
    for name, column in zip(data.targets, values, strict=True):
        _refuse_constant(name, column.tolist(), path)
    return (Head("", IDENTITY, data.targets, tuple(values.mean(axis=1).tolist()), tuple(values.std(axis=1).tolist())),)


_HEADS: dict[str, Callable[[Data, Table, Path], tuple[Head, ...]]] = {
    CLASSES: _of_classes,
    MULTILABEL: _of_labels,
    NUMBERS: _of_numbers,
}


def _named(table: Table, name: str, path: Path) -> tuple[str, ...]:
    found = sorted({label for cell in table[name] for label in str(cell).split()})
    if len(found) < 2:
        raise UserError(
            f"the column '{name}' has fewer than two labels",
            file=path,
            found=", ".join(found) or "nothing",
            expected="names of labels, separated by blanks",
            remedy="check data.target and data.truth in kernel.toml",
        )
    return tuple(found)


def _refuse_odd(table: Table, name: str, path: Path) -> None:
    odd = sorted({str(cell) for cell in table[name]} - set(THERE))
    if odd:
        raise UserError(
            f"the column '{name}' does not say whether a label is there",
            file=path,
            found=repr(odd[0]),
            expected="0 or 1 in every row",
            remedy='check data.target, or set data.truth = "classes" or "numbers" in kernel.toml',
        )
    _refuse_constant(name, [THERE[str(cell)] for cell in table[name]], path)


def _refuse_constant(name: str, values: Sequence[float], path: Path) -> None:
    if len(set(values)) < 2:
        raise UserError(
            f"there is nothing to learn in the column '{name}'",
            file=path,
            found=f"{values[0]:g} in every row",
            expected="different values",
            remedy="leave it out of data.target in kernel.toml; hooks.submission can write it",
        )


def _measured(column: pd.Series[str], ids: pd.Series[str], path: Path) -> list[float]:
    """A column as numbers that float32 can hold."""
    found = []
    for identity, cell in zip(ids, column, strict=True):
        try:
            number = float(cell)
        except ValueError:
            number = float("nan")
        if not abs(number) <= LARGEST:
            raise UserError(
                f"the column '{column.name}' has a cell that is no number",
                file=path,
                found=f"{cell!r}, id {identity}",
                expected="a finite number in every row",
                remedy='mend or remove these rows, or set data.truth = "classes" in kernel.toml',
            )
        found.append(number)
    return found


def _cells(text: str, count: int) -> list[str]:
    """The `count` cells that `text` tells. Raises ValueError for another number of them."""
    if count == 1:
        return [text]
    found = json.loads(text)
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"{text[:60]} where {count} targets are expected")
    return [str(cell) for cell in found]


def _labels(texts: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """int64 (rows, labels), of 0 or 1 in a column for each label, or of the names of the labels that are there."""
    number = {label: code for code, label in enumerate(classes)}
    found = np.zeros((len(texts), len(classes)), dtype=np.int64)
    for at, text in enumerate(texts):
        cells = json.loads(text) if text.startswith("[") else [text]
        if len(cells) > 1:
            found[at] = [THERE[cell] for cell in _cells(text, len(classes))]
        else:
            found[at, [number[label] for label in str(cells[0]).split()]] = 1
    return found
