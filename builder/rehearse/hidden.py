"""A hidden test set: made from training rows, so that its labels are known and its score can be told before submitting, or given.

Each row is answered only by models of the fold that did not see it: the runtime reads the fold of each id from a file that only a
rehearsal mounts, and moves the weights accordingly.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import competition
from builder.errors import UserError
from builder.rehearse.draft import Draft, draw
from builder.rehearse.spoils import SPOILS
from builder.scoring import IGNORED, PUBLIC, USAGE
from builder.workspace import replacing_folder, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.config import Config

FOLDS = "rehearsal/folds.json"
COMPETITION, SOLUTION, FOLD_FILE = "competition", "solution.csv", "folds.json"
LARGEST = 64 << 20  # bytes of a file beside the tables that comes along


@dataclass(frozen=True)
class Hidden:
    """A competition folder as the rerun sees it, and what only we know.

    Attributes:
        competition: What is mounted in place of the competition.
        solution: Table with id, label and Usage, for the scorer; None when nobody knows the labels.
        folds: id -> fold, mounted at /kaggle/rehearsal/folds.json; None when no model saw the rows.
        rows: Number of rows.
        changed: id -> what is odd about it: these rows may stay without an answer.
    """

    competition: Path
    solution: Path | None
    folds: Path | None
    rows: int
    changed: Mapping[str, str]


def from_training(config: Config, root: Path, fold_of: Mapping[str, int], rows: int, folder: Path) -> Hidden:
    """Make a hidden set of `rows` training rows in `folder`, which is replaced as a whole (`draft.draw` explains the rest)."""
    return write(draw(config, root, fold_of, rows), config, root, folder)


def write(draft: Draft, config: Config, root: Path, folder: Path, *, scored: bool = True) -> Hidden:
    """Write a draft as a competition's folder, with what only we know beside it.

    Args:
        scored: Whether its score means something: of a few odd rows many metrics have none.
    """
    data = config.data
    with replacing_folder(folder) as temporary:
        target = temporary / COMPETITION
        target.mkdir(parents=True)
        _companions(root, target, {data.test, data.sample_submission})
        _tables(draft, config, root, target)
        _solution(draft, config, target.parent / SOLUTION, PUBLIC if scored else IGNORED)
        for row in draft.rows:
            cells = {**dict.fromkeys(draft.named, ""), **row.cells}
            _image(row.image, target / competition.image_name(data.test_image, cells), row.spoil)
        images = Path(data.test_image).parent
        for name in draft.extra:
            write_bytes(target / name.format(folder=images), b"not asked for\n")
        write_json(temporary / FOLD_FILE, {row.cells[draft.id]: row.fold for row in draft.rows})
    changed = {row.cells[draft.id]: row.changed for row in draft.rows if row.changed}
    return Hidden(folder / COMPETITION, folder / SOLUTION, folder / FOLD_FILE, len(draft.rows), changed)


def _companions(root: Path, target: Path, left_out: set[str]) -> None:
    """The files beside the tables: notebooks read training tables and lists of names, too."""
    for path in sorted(root.iterdir()):
        if path.is_file() and path.name not in {*left_out, SOLUTION} and path.stat().st_size <= LARGEST:
            place(path, target / path.name)


def _tables(draft: Draft, config: Config, root: Path, target: Path) -> None:
    """test.csv and the sample submission in the columns and the form of the visible ones."""
    import pandas as pd

    data = config.data
    ids = [row.cells[draft.id] for row in draft.rows]
    cells = [[row.cells[column] for column in draft.columns] for row in draft.rows]
    (target / data.test).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(cells, columns=list(draft.columns), dtype=object).to_csv(target / data.test, index=False)
    sample = competition.read_table(root / data.sample_submission)
    first = sample.iloc[0] if len(sample) else dict.fromkeys(sample.columns, "0")
    filled = pd.DataFrame({column: first[column] for column in sample.columns}, index=range(len(ids)), columns=sample.columns)
    filled[data.id] = ids[::-1] if draft.reversed else ids
    filled.to_csv(target / data.sample_submission, index=False)


def _solution(draft: Draft, config: Config, path: Path, usage: str) -> None:
    import pandas as pd

    ids, labels = [row.cells[draft.id] for row in draft.rows], [row.label for row in draft.rows]
    table = pd.DataFrame({config.data.id: ids, config.data.target: labels, USAGE: usage}, dtype=object)
    table.to_csv(path, index=False)


def _image(source: Path, target: Path, spoil: str) -> None:
    if not spoil:
        place(source, target)
        return
    made = SPOILS[spoil].make(source)
    if made is not None:
        write_bytes(target, made)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)  # the file is missing, not its folder


def given(config: Config, source: Path, folder: Path) -> Hidden:
    """A hidden set of the user's own, shown without its solution: a competition's folder, or one that `--keep` kept.

    Raises:
        UserError: It has no test set, or none in the form of the competition's.
    """
    data = config.data
    remedy = "a folder like the competition's own, with solution.csv (id, label, Usage) if the score shall be told"
    inside = source / COMPETITION if (source / COMPETITION / data.test).is_file() else source
    for name in (data.test, data.sample_submission):
        if not (inside / name).is_file():
            raise UserError("not a hidden set", file=inside, found=f"no {name}", expected=f"{name} in it", remedy=remedy)
    table = competition.read_table(inside / data.test)
    if data.id not in table:
        found = ", ".join(map(str, table.columns))
        raise UserError("the test table has no id column", file=inside / data.test, found=found, expected=data.id, remedy=remedy)
    with replacing_folder(folder) as temporary:
        for path in sorted(inside.rglob("*")):
            if path.is_file() and path != inside / SOLUTION:
                place(path, temporary / COMPETITION / path.relative_to(inside))
        known = {}
        for name in (SOLUTION, FOLD_FILE):
            if (source / name).is_file():
                shutil.copyfile(source / name, temporary / name)
                known[name] = folder / name
    return Hidden(folder / COMPETITION, known.get(SOLUTION), known.get(FOLD_FILE), len(table), {})


def place(source: Path, target: Path) -> None:
    """A hard link where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError:
        return
    except OSError:
        shutil.copyfile(source, target)


def honest_folds(ids: Sequence[str], folds: Sequence[int], answered: set[int]) -> dict[str, int]:
    """id -> fold, for the rows whose fold is among `answered`."""
    return {identity: int(fold) for identity, fold in zip(ids, folds, strict=True) if int(fold) in answered}
