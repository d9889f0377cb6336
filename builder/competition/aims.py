"""What the files of a competition tell about its aim: the target columns, what they hold, and what usually scores that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.competition import columns
from builder.competition.tables import class_order
from builder.competition.targets import THERE
from builder.config import IMAGES
from builder.errors import UserError, did_you_mean
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.runtime.contract import Head
from builder.runtime.heads import IDENTITY, SOFTMAX
from builder.scoring import forms
from builder.scoring.grid import joined

if TYPE_CHECKING:
    import pandas as pd

    from builder.config import Data

    Table = pd.DataFrame

# (truth, form of the submission) -> what usually scores it; else the truth's own.
METRICS = {
    (CLASSES, "probability"): "auc",
    (CLASSES, "columns"): "logloss",
    (CLASSES, "long"): "logloss",
    (MULTILABEL, "strings"): "f1_samples",
}
USUAL = {CLASSES: "accuracy", MULTILABEL: "mean(auc)", NUMBERS: "rmse"}
WHY = {MULTILABEL: "the target tells labels of which each is there or not", NUMBERS: "the target is measured in numbers"}


@dataclass(frozen=True)
class Files:
    """The tables of a competition, where two of them lie, and their id column.

    Attributes:
        labels: Of a sample submission in the long form: what its ids are joined with. Else empty.
    """

    train: Table
    test: Table
    sample: Table
    train_file: Path
    sample_file: Path
    identity: str
    labels: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """What the submission has a number or a column for."""
        return self.labels or tuple(str(name) for name in self.sample.columns[1:])


@dataclass(frozen=True)
class Aim:
    """What is predicted.

    Attributes:
        targets, truth: Values of the keys of `[data]`; the kind of each target where these differ.
        classes: Names of all outputs.
        form: Form of the submission.
        why: What was concluded about the truth, for a person; empty where it is one class of each row.
    """

    targets: tuple[str, ...]
    truth: str | dict[str, str]
    classes: tuple[str, ...]
    form: str
    why: str = ""

    def metric(self, task: str) -> str:
        """The likeliest metric. Of classes and numbers together, r2, which has no unit, goes best with what is right or wrong."""
        if not isinstance(self.truth, str):
            return ", ".join(f"{name}={'r2' if kind == NUMBERS else USUAL[kind]}" for name, kind in self.truth.items())
        several = self.truth == CLASSES and len(self.targets) > 1
        plain = several or (self.truth == CLASSES and task == IMAGES)
        return USUAL[self.truth] if plain else METRICS.get((self.truth, self.form), USUAL[self.truth])


def identity(train: Table, test: Table, sample: Table) -> tuple[str, tuple[str, ...]]:
    """The id column; and, where the sample's ids are those joined with labels (the long form), these labels."""
    first = str(sample.columns[0])
    if first in train and first in test:
        return first, ()
    keys = [str(key) for key in sample[first]]
    for name in test.columns:
        found = joined(keys, [str(value) for value in test[name]]) if name in train else ()
        if len(found) > 1:
            return str(name), found
    return first, ()


def aim(files: Files, known: Data | None) -> Aim:
    """What the competition predicts; what `known` says already counts. Raises UserError that says what decides nothing."""
    targets = known.targets if known else ()
    for name in targets:
        if name not in files.train:
            found, remedy = ", ".join(files.train.columns), did_you_mean(name, files.train.columns)
            raise UserError("data.target names a column that is not there", file=files.train_file, found=found, remedy=remedy)
    targets = targets or _targets(files)
    told = known.truth if known and "truth" in known.model_fields_set else _truth(files, targets)
    truth: str | dict[str, str] = told if isinstance(told, str) else {**told}
    heads: tuple[Head, ...] = ()
    classes = targets
    if truth == CLASSES or not isinstance(truth, str):
        heads = tuple(_head(files.train, name, CLASSES if isinstance(truth, str) else truth[name]) for name in targets)
        classes = tuple(label for head in heads for label in head.classes)
    elif truth == MULTILABEL and len(targets) == 1:
        classes = _tokens(files.train[targets[0]])
    ids = tuple(str(value) for value in files.test[files.identity])
    said = forms.Known(files.sample_file, targets, classes, truth, ids=ids, heads=heads if len(heads) > 1 else ())
    return Aim(targets, truth, classes, forms.work_out(files.sample, said).name, _why(targets, truth))


def _head(train: Table, name: str, kind: str) -> Head:
    return Head(name, IDENTITY, (name,)) if kind == NUMBERS else Head(name, SOFTMAX, class_order(train[name]))


def _why(targets: Sequence[str], truth: str | dict[str, str]) -> str:
    if not isinstance(truth, str):
        said = {NUMBERS: "is measured in numbers", CLASSES: "has classes"}
        return "; ".join(f"{name} {said[kind]}" for name, kind in truth.items())
    several = truth == CLASSES and len(targets) > 1
    return f"each of {', '.join(targets)} has classes of its own" if several else WHY.get(truth, "")


def _targets(files: Files) -> tuple[str, ...]:
    """The columns that only the training table has and the sample submission asks for."""
    candidates = [str(name) for name in files.train.columns if name not in files.test.columns and name != files.identity]
    answers = files.answers
    named = tuple(name for name in answers if name in candidates)
    if len(named) == 1 or (named and len(named) == len(answers)):
        return named
    matching = [name for name in candidates if set(answers) in (set(files.train[name]), set(_tokens(files.train[name])))]
    if len(matching) == 1:
        return (matching[0],)
    if len(candidates) == 1:
        return (candidates[0],)
    raise UserError(
        "the files do not tell which column is the target",
        file=files.train_file,
        found=f"columns that only the training table has: {', '.join(candidates) or 'none'}",
        remedy="set data.target in kernel.toml",
    )


def _truth(files: Files, targets: Sequence[str]) -> str | dict[str, str]:
    """What the columns hold; of each, where some have classes and others numbers."""
    cells = [[str(cell) for cell in files.train[name]] for name in targets]
    if len(cells) > 1:
        if all(set(column) <= set(THERE) for column in cells):
            return MULTILABEL
        return _of_each(files, targets, cells)
    different = set(cells[0])
    if different == set(files.answers):
        return CLASSES
    asked = {str(value) for name in files.sample.columns[1:2] for value in files.sample[name]}
    # Of two classes one number may be a probability.
    between = len(different) > 2 and columns.is_numeric(different) and columns.has_fractions(asked)
    if columns.is_scale(cells[0]) or (between and len(files.answers) == 1):
        return NUMBERS
    return MULTILABEL if _are_strings(different, set(_tokens(files.train[targets[0]])), asked, files.answers) else CLASSES


def _of_each(files: Files, targets: Sequence[str], cells: Sequence[Sequence[str]]) -> str | dict[str, str]:
    """Classes or numbers of each of several columns. Few whole numbers beside a scale may be either: the sample tells."""
    scales = [columns.is_scale(column) for column in cells]
    numbers = [
        scale or (columns.is_numeric(column) and any(scales) and not _asks_for_codes(files, name, column))
        for name, column, scale in zip(targets, cells, scales, strict=True)
    ]
    if len(set(numbers)) == 1 or any("," in name for name in targets):  # no metric could name one with a comma
        return NUMBERS if all(numbers) else CLASSES
    return {name: NUMBERS if number else CLASSES for name, number in zip(targets, numbers, strict=True)}


def _asks_for_codes(files: Files, name: str, column: Sequence[str]) -> bool:
    """Whether a sample that writes numbers with a point asks for few whole ones without."""
    written = {str(cell) for other in files.answers if other in files.sample for cell in files.sample[other]}
    asked = {str(cell) for cell in files.sample[name]} if name in files.sample else {"."}
    pointed = any("." in cell for cell in written)
    return pointed and not any("." in cell for cell in asked) and len(set(column)) <= columns.MANY


def _are_strings(different: set[str], tokens: set[str], asked: set[str], answers: Sequence[str]) -> bool:
    """Whether cells are strings of labels, and not names with blanks: then the same labels come back in other strings."""
    if not any(len(cell.split()) > 1 for cell in different):
        return False
    if set(answers) == tokens:
        return True
    fresh = any(len(value.split()) > 1 and value not in different and set(value.split()) <= tokens for value in asked)
    return fresh or len(tokens) < len(different)


def _tokens(column: pd.Series[str]) -> tuple[str, ...]:
    return tuple(sorted({label for cell in set(column) for label in str(cell).split()}))
