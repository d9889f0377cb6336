"""A competition's files as they were downloaded: what they say about ids, targets, images and the submission's form.

Reads; never writes, and never guesses silently: a person is shown what is proposed, and what contradicts kernel.toml is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from builder.config import Config

    Table = pd.DataFrame

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
PROBED_IDS = 20


@dataclass(frozen=True)
class Proposal:
    """What the files suggest for `[data]`, with what it was concluded from.

    Attributes:
        id, target, image, test_image: Values of the keys of the same name.
        form: Form of the submission: `labels`, `columns` or `probability`.
        classes: Number of classes.
        rows: Number of training rows.
        width, height: Median size of some training images, in pixels.
    """

    id: str
    target: str
    image: str
    test_image: str
    form: str
    classes: int
    rows: int
    width: int
    height: int


@dataclass(frozen=True)
class Rows:
    """Training rows. `codes` are int64 (rows,), indices into `classes`; `paths` are the images, in the order of `ids`."""

    ids: tuple[str, ...]
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def prior(self) -> tuple[float, ...]:
        """Share of each class."""
        import numpy as np

        counts = np.bincount(self.codes, minlength=len(self.classes))
        return tuple(float(count) / len(self.codes) for count in counts)


def read_table(path: Path) -> pd.DataFrame:
    """A csv file with every value as text, exactly as written (`007` stays `007`). Raises UserError when it can't be read."""
    import pandas as pd

    remedy = "download the competition's files (kkb fetch NAME), or set data.root in kernel.toml"
    if not path.is_file():
        raise UserError("missing file", file=path, expected="a csv table", remedy=remedy)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError("not a readable csv table", file=path, found=error, remedy=remedy) from None
    if not len(table.columns):
        raise UserError("the table has no columns", file=path, remedy=remedy)
    return table


def train_rows(config: Config, root: Path) -> Rows:
    """The training rows that kernel.toml describes. Raises UserError for ids that repeat and rows whose image is missing."""
    import numpy as np

    data, path = config.data, root / config.data.train
    table = read_table(path)
    for key, column in (("data.id", data.id), ("data.target", data.target)):
        if column not in table:
            raise UserError(
                f"{key} names a column that is not there",
                file=path,
                found=", ".join(table.columns),
                expected=repr(column),
                remedy=did_you_mean(column, table.columns),
            )
    if not len(table):
        raise UserError("the training table has no rows", file=path, remedy="check the download")
    repeated = table[data.id][table[data.id].duplicated()]
    if len(repeated):
        raise UserError(f"{len(repeated)} ids stand twice", file=path, found=repeated.iloc[0], remedy="remove the duplicates")
    unlabelled = table[data.id][table[data.target] == ""]
    if len(unlabelled):
        raise UserError(
            f"{len(unlabelled)} rows have no label", file=path, found=f"id {unlabelled.iloc[0]}", remedy="label or remove them"
        )
    classes = class_order(table[data.target])
    if len(classes) < 2:
        raise UserError(
            "data.target has fewer than two classes", file=path, found=classes, remedy="check data.target in kernel.toml"
        )
    number = {label: code for code, label in enumerate(classes)}
    codes = np.array([number[label] for label in table[data.target]], dtype=np.int64)
    paths = tuple(root / image_name(data.image, row) for row in table.to_dict("records"))
    _refuse_missing(paths, tuple(table[data.id]), path)
    return Rows(tuple(table[data.id]), codes, classes, paths)


def image_name(pattern: str, row: Mapping[Any, Any]) -> str:
    """The relative path that `pattern` (`train_images/{id}.jpg`) gives for a row of a table."""
    try:
        name = pattern.format_map(row)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UserError(
            "the image pattern does not fit the table",
            found=f"{pattern} ({error})",
            expected=", ".join(map(str, row)),
            remedy="mend data.image",
        ) from None
    _refuse_escape(name, pattern)
    return name


def _refuse_escape(name: str, pattern: str) -> None:
    """Raise UserError for a path that leaves the competition's folder: its tables are not ours to trust."""
    parts = Path(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise UserError(
            "an image path leaves the competition's folder",
            found=repr(name),
            expected=f"a path below it ({pattern})",
            remedy="check the table's ids",
        )


def class_order(labels: pd.Series[str]) -> tuple[str, ...]:
    """The distinct labels, in numeric order when all are whole numbers, else in alphabetical order."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?[0-9]+", label) for label in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def submission_form(
    sample: pd.DataFrame, *, file: Path, target: str, classes: tuple[str, ...], truth: str = "classes"
) -> tuple[str, tuple[str, ...]]:
    """The form of the submission and its columns after the id, from the sample submission. Raises UserError when none fits.

    `truth` is the kind of truth, as metrics name it; `scoring.forms.answer` tells all that the notebook must know.
    """
    from builder.scoring import forms

    form = forms.work_out(sample, forms.Known(file, target, classes, truth))
    return form.name, form.columns


def propose(root: Path, *, train: str = "train.csv", test: str = "test.csv", sample: str = "sample_submission.csv") -> Proposal:
    """What the files in `root` suggest for kernel.toml. Raises UserError that says which file or column decides nothing."""
    if not root.is_dir() or not any(root.iterdir()):
        raise UserError("no competition files here", file=root, expected=f"{train}, {test}, {sample}", remedy="kkb fetch NAME")
    tables = {name: read_table(root / name) for name in (train, test, sample)}
    identity = str(tables[sample].columns[0])
    for name, table in tables.items():
        if identity not in table:
            raise UserError(
                f"the id column '{identity}' of {sample} is not in {name}",
                file=root / name,
                found=", ".join(table.columns),
                remedy="set data.id in kernel.toml",
            )
    target = _propose_target(tables[train], tables[test], tables[sample], root / train)
    classes = class_order(tables[train][target])
    form, _ = submission_form(tables[sample], file=root / sample, target=target, classes=classes)
    image, examples = _propose_pattern(root, tables[train], identity, avoid="test")
    test_image, _ = _propose_pattern(root, tables[test], identity, avoid="train")
    width, height = _median_size(examples)
    return Proposal(identity, target, image, test_image, form, len(classes), len(tables[train]), width, height)


def _propose_target(train: pd.DataFrame, test: pd.DataFrame, sample: pd.DataFrame, file: Path) -> str:
    candidates = [str(column) for column in train.columns if column not in test.columns]
    answers = list(sample.columns[1:])
    named = [column for column in candidates if column in answers]
    if len(named) == 1:
        return named[0]
    matching = [column for column in candidates if set(train[column]) == set(answers)]
    if len(matching) == 1:
        return matching[0]
    if len(candidates) == 1:
        return candidates[0]
    raise UserError(
        "the files do not tell which column is the target",
        file=file,
        found=f"columns that only the training table has: {', '.join(candidates) or 'none'}",
        remedy="set data.target in kernel.toml",
    )


def _propose_pattern(root: Path, table: pd.DataFrame, identity: str, *, avoid: str) -> tuple[str, list[Path]]:
    """The pattern under which the images of the first rows lie, and those images."""
    folders = [root, *(path for depth in ("*", "*/*") for path in sorted(root.glob(depth)) if path.is_dir())]
    folders.sort(key=lambda folder: avoid in folder.relative_to(root).as_posix().lower())
    columns = [identity, *(str(column) for column in table.columns if column != identity)]
    for folder in folders:
        prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
        # As they are written there: `.JPG` is not `.jpg`.
        suffixes = sorted({path.suffix for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES})
        for column in columns:
            for suffix in ("", *suffixes):
                found = [folder / f"{value}{suffix}" for value in table[column].head(PROBED_IDS)]
                if all(path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() for path in found):
                    return f"{prefix}{{{column}}}{suffix}", found
    raise UserError(
        "no folder holds an image for each of the first rows",
        file=root,
        found=f"folders {', '.join(folder.name for folder in folders[:10])}",
        expected=f"files named after '{identity}' with one of {' '.join(IMAGE_SUFFIXES)}",
        remedy="set data.image and data.test_image in kernel.toml",
    )


def _median_size(paths: list[Path]) -> tuple[int, int]:
    from statistics import median

    from PIL import Image, UnidentifiedImageError

    sizes = []
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(
                "not a readable image", file=path, found=error, remedy="download the competition's files again"
            ) from None
    return int(median(w for w, _ in sizes)), int(median(h for _, h in sizes))


def _refuse_missing(paths: tuple[Path, ...], ids: tuple[str, ...], table: Path) -> None:
    present = {
        folder: {entry.name for entry in folder.iterdir()} if folder.is_dir() else set() for folder in {p.parent for p in paths}
    }
    missing = [(identity, path) for identity, path in zip(ids, paths, strict=True) if path.name not in present[path.parent]]
    if missing:
        identity, path = missing[0]
        raise UserError(
            f"{len(missing)} of {len(paths)} rows have no image",
            file=table,
            found=f"id {identity} without {path}",
            expected="an image for every row",
            remedy="mend data.image in kernel.toml, or download the files again",
        )
