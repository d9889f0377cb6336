"""The form of a submission, worked out from the sample submission before anything is trained.

Expects: the sample submission (csv or parquet) and what the training table says: the classes or targets, and the kind of truth.
Produces: the `Answer` that travels with the plan.
Never: guesses. A sample that decides nothing, or contradicts the training table, is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError
from builder.metrics import CLASSES, MULTILABEL, NUMBERS
from builder.runtime.heads import IDENTITY
from builder.scoring.grid import JOINTS
from builder.scoring.reading import is_number

if TYPE_CHECKING:
    import pandas as pd

    from builder.runtime.contract import Answer, Head

    Table = pd.DataFrame

PARQUET = ".parquet"
ID, CLASS = "{id}", "{class}"


@dataclass(frozen=True)
class Known:
    """What is known of a competition when its sample submission is read.

    Attributes:
        file: The sample submission, for messages.
        target: What kernel.toml calls the target, or the targets, for messages.
        classes: Class labels, or names of labels or targets, in the order of the model's outputs; those of all heads.
        truth: The kind of truth: CLASSES, MULTILABEL or NUMBERS; of several heads each has its own.
        ranking: Whether the metric judges a ranking of classes.
        ids: The ids of the visible test table; none: nobody has looked.
        heads: What the outputs are; none: one class of each row.
    """

    file: Path
    target: str | tuple[str, ...]
    classes: tuple[str, ...]
    truth: str | Mapping[str, str] = CLASSES
    ranking: bool = False
    ids: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()

    @property
    def targets(self) -> str:
        """The target, or the targets, in words."""
        return self.target if isinstance(self.target, str) else _some(self.target)


@dataclass(frozen=True)
class Form:
    """The form of the submission, its columns after the id, and of the long form how its ids are made."""

    name: str
    columns: tuple[str, ...]
    key: str = ""


def answer(known: Known, identity: str, file: str = "submission.csv") -> Answer:
    """The answer of a notebook that writes `file`, `identity` being the test table's id column. Raises UserError."""
    from builder.runtime.contract import Answer

    sample, kinds = read(known.file)
    form = work_out(sample, known)
    key = str(sample.columns[0])
    if not form.key and key != identity:
        raise UserError(
            "the sample submission has another id column",
            file=known.file,
            found=key,
            expected=identity,
            remedy="mend data.id in kernel.toml",
        )
    if Path(file).suffix not in {PARQUET, ".csv"}:
        raise UserError("a submission of this kind cannot be written", found=file, expected=".csv or .parquet")
    return Answer(
        file=file,
        id=identity,
        form=form.name,
        columns=form.columns,
        classes=known.classes,
        key_column=key if form.key else "",
        key=form.key,
        kinds=kinds if file.endswith(PARQUET) else (),
        heads=known.heads if len(known.heads) > 1 or known.truth != CLASSES else (),
    )


def read(path: Path) -> tuple[Table, tuple[str, ...]]:
    """The sample submission as text, and the type of each column (`text` or numpy's name); a csv file has none to tell.

    Raises UserError when it cannot be read.
    """
    import pandas as pd

    from builder.runtime.inputs import texts

    if path.suffix != PARQUET:
        from builder.competition import read_table

        return read_table(path), ()
    remedy = "download the competition's files again, or set data.sample_submission in kernel.toml"
    try:
        table = pd.read_parquet(path)
    except ImportError as error:
        raise UserError("nothing here reads parquet files", file=path, found=error, remedy="pip install pyarrow") from None
    except (ValueError, OSError) as error:
        raise UserError("not a readable parquet table", file=path, found=error, remedy=remedy) from None
    kinds = tuple(table[name].dtype.name if table[name].dtype.kind in "biuf" else "text" for name in table.columns)
    table.columns = [str(name) for name in table.columns]
    return texts(table), kinds


def work_out(sample: Table, known: Known) -> Form:
    """The form of `sample`, a table of text. Raises UserError when none fits, or when it contradicts what is known."""
    columns = tuple(str(name) for name in sample.columns[1:])
    if not columns or len(set(sample.columns)) < len(sample.columns):
        raise _refused("is not in sample form", known, f"columns {', '.join(map(str, sample.columns))}", "an id and answers")
    if len(known.heads) > 1:
        return _heads(sample, columns, known)
    if len(columns) == 1 and (key := _long(sample, known, known.classes)):
        _check_numbers(sample, columns, known)
        return Form("long", columns, key)
    _check_ids(sample, known)
    form = {CLASSES: _classes, MULTILABEL: _multilabel, NUMBERS: _numbers}[str(known.truth)](sample, columns, known)
    if form.name in {"columns", "numbers"}:
        _check_numbers(sample, columns, known)
    return form


def _refused(what: str, known: Known, found: str, expected: str, remedy: str = "check data.target in kernel.toml") -> UserError:
    return UserError(f"the sample submission {what}", file=known.file, found=found, expected=expected, remedy=remedy)


def _heads(sample: Table, columns: tuple[str, ...], known: Known) -> Form:
    heads = {head.name: head for head in known.heads}
    if len(columns) == 1 and (key := _long(sample, known, tuple(heads))):
        keys, ends = [str(name) for name in sample[sample.columns[0]]], {name: key.replace(CLASS, name) for name in heads}
        for name, head in heads.items():
            begin, _, end = ends[name].partition(ID)
            own = [place for place, one in enumerate(keys) if one.startswith(begin) and one.endswith(end)]
            _check_head(sample[columns[0]].iloc[own], columns[0], head, known)
        return Form("long-heads", columns, key)
    _check_ids(sample, known)
    if set(columns) != set(heads):
        wanted = f"one column for each target ({_some(tuple(heads))}), or a row for each id and target"
        raise _refused("has other columns than there are targets", known, f"columns {_some(columns)}", wanted)
    for name in columns:
        _check_head(sample[name], name, heads[name], known)
    return Form("heads", columns)


def _check_head(values: Iterable[Any], column: str, head: Head, known: Known) -> None:
    if head.link == IDENTITY:
        _check_cells(values, column, "number", known)
    else:
        _check_whole(values, column, head.classes, known)


def _classes(sample: Table, columns: tuple[str, ...], known: Known) -> Form:
    classes = known.classes
    if _named(columns, classes):
        return Form("columns", columns)
    if len(columns) > 1:
        wanted = f"one column of labels ({known.targets}), or one column per class ({_some(classes)})"
        raise _refused("has a form that is not known", known, f"columns {_some(columns)}", wanted)
    values = [str(value) for value in sample[columns[0]]]
    tokens = [value.split() for value in values]
    several = any(len(row) > 1 for row in tokens) and not set(values) <= set(classes)
    if known.ranking or (several and all(label in classes for row in tokens for label in row)):
        return Form("strings", columns)
    if len(classes) == 2 and (not set(values) <= set(classes) or columns[0] == classes[1]):
        return Form("probability", columns)
    _check_whole(values, columns[0], classes, known)
    return Form("labels", columns)


def _multilabel(sample: Table, columns: tuple[str, ...], known: Known) -> Form:
    if _named(columns, known.classes):
        return Form("columns", columns)
    if len(columns) > 1:
        odd = sorted(set(columns) ^ set(known.classes))
        wanted = f"one column of label strings, or one column per label ({_some(known.classes)})"
        raise _refused("has a form that is not known", known, f"columns {_some(columns)}; only on one side: {odd[0]}", wanted)
    labels = {label for value in sample[columns[0]] for label in str(value).split()}
    strange = sorted(labels - set(known.classes))
    if strange and len(strange) < len(labels):  # none of them: a placeholder
        raise _refused("has labels that no training row has", known, ", ".join(strange[:5]), _some(known.classes))
    if not labels & set(known.classes) and any(is_number(label) and not float(label).is_integer() for label in labels):
        raise _refused("has one number for each row", known, f"'{min(labels)}'", "labels separated by blanks")
    return Form("strings", columns)


def _numbers(_: Table, columns: tuple[str, ...], known: Known) -> Form:
    if _named(columns, known.classes) or len(columns) == len(known.classes) == 1:
        return Form("numbers", columns)
    wanted = f"one column per target ({_some(known.classes)})"
    raise _refused("has other columns than there are targets", known, f"columns {_some(columns)}", wanted)


def _named(columns: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether the columns are called like the classes, all of them, or like them after a common beginning (`prob_cat`)."""
    ends = [label for label in classes if columns[0].endswith(label)]
    return any({columns[0].removesuffix(end) + label for label in classes} == set(columns) for end in ends)


def _long(sample: Table, known: Known, classes: tuple[str, ...]) -> str:
    """How the ids of a long form are made, `{id}_{class}`; empty when it is none. `classes` may be names of heads.

    The keys must be ids of the test with every class: without the test's ids nothing tells `scan_1` from row 1 of `scan`.
    """
    keys = {str(key) for key in sample[sample.columns[0]]}
    count = len(classes)
    if count < 2 or not keys or len(keys) % count or not known.ids or keys <= set(known.ids):
        return ""
    for joint in JOINTS:
        for key in (f"{ID}{joint}{CLASS}", f"{CLASS}{joint}{ID}"):
            begin = key.startswith(CLASS)
            first = classes[0]
            mark = f"{first}{joint}" if begin else f"{joint}{first}"
            names = [k.removeprefix(mark) if begin else k.removesuffix(mark) for k in keys if _marked(k, mark, begin=begin)]
            wanted = {f"{label}{joint}{name}" if begin else f"{name}{joint}{label}" for name in names for label in classes}
            if names and wanted == keys and len(names) * count == len(keys) and set(names) <= set(known.ids):
                return key
    return ""


def _marked(key: str, mark: str, *, begin: bool) -> bool:
    return key.startswith(mark) if begin else key.endswith(mark)


def _check_ids(sample: Table, known: Known) -> None:
    """Refuse a sample without any id of the test table: its rows are made of something else."""
    from builder.runtime.submission import whole

    found = [str(value) for value in sample[sample.columns[0]]]
    if not known.ids or not found or {whole(name) for name in found} & {whole(name) for name in known.ids}:
        return
    raise _refused(
        "names no row of the test table",
        known,
        f"ids like '{found[0]}'",
        f"ids like '{known.ids[0]}', or an id joined with each of {_some(known.classes)}",
        "check data.id in kernel.toml, or make the file with hooks.submission",
    )


def _check_whole(values: Iterable[Any], name: str, classes: Sequence[str], known: Known) -> None:
    """Refuse fractions that are no labels: they are probabilities, or numbers."""
    cells = [str(value) for value in values]
    odd = [cell for cell in cells if is_number(cell) and not float(cell).is_integer() and cell not in classes]
    if odd:
        found = f"'{odd[0]}' in the column '{name}'"
        raise _refused("has one number for each row", known, found, f"one of {len(classes)} classes ({_some(classes)})")


def _check_numbers(sample: Table, columns: tuple[str, ...], known: Known) -> None:
    for name in columns:
        _check_cells(sample[name], name, "number" if known.truth == NUMBERS else "probability", known)


def _check_cells(values: Iterable[Any], name: str, what: str, known: Known) -> None:
    odd: list[Any] = [value for value in values if str(value).strip() and not is_number(str(value))]
    if odd:
        raise _refused(f"has a text where a {what} belongs", known, f"'{odd[0]}' in the column '{name}'", "numbers")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
