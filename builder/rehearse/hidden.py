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
from builder.rehearse import truth
from builder.rehearse.draft import Draft, draw
from builder.rehearse.spoils import SPOILS
from builder.rehearse.truth import keys_of
from builder.scoring import IGNORED, PUBLIC, USAGE, forms
from builder.workspace import replacing_folder, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from builder.config import Config
    from builder.runtime.contract import Answer

    Table = pd.DataFrame

FOLDS = "rehearsal/folds.json"
COMPETITION, SOLUTION, FOLD_FILE = "competition", "solution.csv", "folds.json"
LARGEST = 64 << 20  # bytes of a file beside the tables that comes along


@dataclass(frozen=True)
class Hidden:
    """A competition folder as the rerun sees it, and what only we know.

    Attributes:
        competition: What is mounted in place of the competition.
        solution: Table with id, truth and Usage, for the scorer; None when nobody knows the truth.
        folds: id -> fold, mounted at /kaggle/rehearsal/folds.json; None when no model saw the rows.
        rows: Number of rows.
        changed: id -> what is odd about it: these rows may stay without an answer.
        gone: The column that the test table lacks: a notebook may refuse it by name. Empty when it lacks none.
    """

    competition: Path
    solution: Path | None
    folds: Path | None
    rows: int
    changed: Mapping[str, str]
    gone: str = ""


def from_training(
    config: Config, root: Path, fold_of: Mapping[str, int], rows: int, folder: Path, *, answer: Answer | None = None
) -> Hidden:
    """Make a hidden set of `rows` training rows in `folder`, which is replaced as a whole; see `draw` and `write`."""
    return write(draw(config, root, fold_of, rows), config, root, folder, answer=answer)


def write(draft: Draft, config: Config, root: Path, folder: Path, *, answer: Answer | None = None, scored: bool = True) -> Hidden:
    """Write a draft as a competition's folder, with what only we know beside it.

    Args:
        answer: The form of the submission; None: one row for each id, and the truth as the training table has it.
        scored: Whether its score means something: of a few odd rows many metrics have none.
    """
    data = config.data
    with replacing_folder(folder) as temporary:
        target = temporary / COMPETITION
        target.mkdir(parents=True)
        _companions(root, target, {data.test, data.sample_submission})
        _test(draft, root / data.test, target / data.test)
        _sample(draft, answer, root / data.sample_submission, target / data.sample_submission)
        usage = PUBLIC if scored else IGNORED
        _solution(draft, answer, data.targets, usage).to_csv(temporary / SOLUTION, index=False)
        for row in draft.rows:
            if row.image is not None:
                cells = {**dict.fromkeys(draft.named, ""), **row.cells}
                _image(row.image, target / competition.image_name(data.test_image, cells), row.spoil)
        images = Path(data.test_image).parent
        for name in draft.extra:
            write_bytes(target / name.format(folder=images), b"not asked for\n")
        write_json(temporary / FOLD_FILE, {row.cells[draft.id]: row.fold for row in draft.rows})
    changed = {row.cells[draft.id]: row.changed for row in draft.rows if row.changed}
    return Hidden(folder / COMPETITION, folder / SOLUTION, folder / FOLD_FILE, len(draft.rows), changed, draft.gone)


def _companions(root: Path, target: Path, left_out: set[str]) -> None:
    """The files beside the tables: notebooks read training tables and lists of names, too."""
    for path in sorted(root.iterdir()):
        if path.is_file() and path.name not in {*left_out, SOLUTION} and path.stat().st_size <= LARGEST:
            place(path, target / path.name)


def _test(draft: Draft, visible: Path, path: Path) -> None:
    """The test table, in the columns of the `visible` one."""
    import pandas as pd

    cells = [[row.cells[column] for column in draft.columns] for row in draft.rows]
    _write(pd.DataFrame(cells, columns=list(draft.columns), dtype=object), visible, path)


def _write(table: Table, visible: Path, path: Path) -> None:
    """A table of texts as the file `path`; the columns of a parquet file have the types of the `visible` one, where they can."""
    import pandas as pd

    from builder.runtime.columns import verbatim

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != forms.PARQUET:
        table.to_csv(path, index=False)
        return
    told, kinds = forms.read(visible)
    of = dict(zip(map(str, told.columns), kinds, strict=True))
    typed = {name: verbatim(table[name].tolist(), of.get(name, "text")) for name in table.columns}
    pd.DataFrame(typed, columns=table.columns).to_parquet(path, index=False)


def _sample(draft: Draft, answer: Answer | None, visible: Path, path: Path) -> None:
    """The sample submission, in the form of the `visible` one: every id has the cells that the first one has there."""
    import pandas as pd

    sample, _ = forms.read(visible)
    ids = [row.cells[draft.id] for row in draft.rows]
    keys = keys_of(ids[::-1] if draft.reversed else ids, answer)
    each = len(keys) // max(1, len(ids))  # rows of one id
    first = sample.head(each if len(sample) >= each else 1)
    if not len(first):
        first = pd.DataFrame([dict.fromkeys(sample.columns, "0")])
    filled = first.iloc[[row % len(first) for row in range(len(keys))]].reset_index(drop=True)
    filled[_key_column(draft, answer)] = keys
    _write(filled, visible, path)


def _solution(draft: Draft, answer: Answer | None, targets: Sequence[str], usage: str) -> Table:
    """The truth as the scorer reads it beside a submission of this form."""
    import pandas as pd

    keys = keys_of([row.cells[draft.id] for row in draft.rows], answer)
    told = truth.columns([row.truth for row in draft.rows], targets, answer)
    return pd.DataFrame({_key_column(draft, answer): keys, **told, USAGE: usage}, dtype=object)


def _key_column(draft: Draft, answer: Answer | None) -> str:
    return answer.key_column if answer and answer.key else draft.id


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
    remedy = "a folder like the competition's own, with solution.csv (id, truth, Usage) if the score shall be told"
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
    """id -> fold, for the rows whose fold is among `answered`; a negative one is no fold that a model left out."""
    return {identity: int(fold) for identity, fold in zip(ids, folds, strict=True) if int(fold) in answered and int(fold) >= 0}
