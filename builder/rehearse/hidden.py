"""A hidden test set made from training rows, so that its labels are known and its score can be told before submitting.

Each row is answered only by models of the fold that did not see it: the runtime reads the fold of each id from a file that only a
rehearsal mounts, and moves the weights accordingly.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import competition
from builder.errors import UserError
from builder.workspace import replacing_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.config import Config

FOLDS = "rehearsal/folds.json"
SEED = 7


@dataclass(frozen=True)
class Hidden:
    """A competition folder as the rerun sees it, and what only we know.

    Attributes:
        competition: What is mounted in place of the competition.
        solution: Table with id, label and Usage, for the scorer.
        folds: id -> fold, mounted at /kaggle/rehearsal/folds.json.
        rows: Number of rows.
    """

    competition: Path
    solution: Path
    folds: Path
    rows: int


def from_training(config: Config, root: Path, fold_of: dict[str, int], rows: int, folder: Path) -> Hidden:
    """Make a hidden set of at most `rows` training rows in `folder`.

    Args:
        config: Where the tables and images are.
        root: The competition's files.
        fold_of: id -> fold, for the rows whose fold some unit of the plan did not see.
        rows: Rows wanted, drawn evenly over all rows.
        folder: Replaced as a whole.
    """
    import numpy as np

    data = config.data
    train = competition.read_table(root / data.train)
    usable = train[train[data.id].isin(fold_of)]
    if not len(usable):
        raise UserError(
            "no training row can be answered honestly", found="no unit of the plan left a fold out", remedy="kkb plan NAME"
        )
    draw = np.sort(np.random.default_rng(SEED).permutation(len(usable))[:rows])
    chosen = usable.iloc[draw]
    with replacing_folder(folder) as temporary:
        target = temporary / "competition"
        _tables(config, root, chosen, target)
        for row in chosen.to_dict("records"):
            place(root / competition.image_name(data.image, row), target / competition.image_name(data.test_image, row))
        solution = chosen[[data.id, data.target]].assign(Usage="Public")
        solution.to_csv(temporary / "solution.csv", index=False)
        write_json(temporary / "folds.json", {identity: fold_of[identity] for identity in chosen[data.id]})
    return Hidden(folder / "competition", folder / "solution.csv", folder / "folds.json", len(chosen))


def _tables(config: Config, root: Path, chosen: competition.Table, target: Path) -> None:
    """test.csv and the sample submission for the chosen rows, in the columns and the form of the visible ones."""
    data = config.data
    target.mkdir(parents=True)
    shutil.copyfile(root / data.train, target / data.train)
    columns = list(competition.read_table(root / data.test).columns)
    missing = [column for column in columns if column not in chosen]
    if missing:
        raise UserError(
            "the test table has columns that the training table has not", file=root / data.test, found=", ".join(missing)
        )
    chosen[columns].to_csv(target / data.test, index=False)
    sample = competition.read_table(root / data.sample_submission)
    first = sample.iloc[0] if len(sample) else dict.fromkeys(sample.columns, "0")
    answers = {column: first[column] for column in sample.columns[1:]}
    filled = chosen[[data.id]].assign(**answers)[list(sample.columns)]
    filled.to_csv(target / data.sample_submission, index=False)


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
