"""A competition made of noise: the files of a kernel's own competition, with the same columns, file names and submission form.

Expects: a whole kernel.toml; the form of the submission and what is known of the columns, as far as records of the kernel tell.
Produces: what competitors see, and what only the scorer sees, each in a folder.
Never: looks at the competition's data.
"""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.rehearse.hidden import keys_of, truth_of

if TYPE_CHECKING:
    from builder.config import Config
    from builder.runtime.contract import Answer

SIDE = 32  # pixels
VISIBLE, HIDDEN, EACH = 3, 12, 12  # rows of the tests; training rows of each class
FIRST = "2024-01-"  # month of the days of a time column
# What cells of a column may say; odd numbers of them, so that no column repeats another one or the classes.
TEXTS = (
    "a slow start", "the best of all", "nobody knows why", "rain again", "she laughed twice", "영화는 좋았다", "not for me",
    "ten out of ten", "where is the end", "I want my money back", "so good",
)  # fmt: skip
NUMBERS = ("1", "2.5", "40", "", "7", "0.3", "12")
CATEGORIES = ("red", "green", "", "blue", "red")
DATES = ("2024-01-31", "2023-12-24", "", "2024-02-29", "2021-07-01")
EITHER = ("1", "2", "3", "2", "5")  # readable as numbers and as words, where nobody knows which is wanted


@dataclass(frozen=True)
class Facts:
    """What records of the kernel tell of its competition.

    Attributes:
        answer: Classes and form of the submission, as the plan has them; None without a plan.
        columns: Of tables and texts: column -> what its cells may say.
    """

    answer: Answer | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.answer.classes) if self.answer else ("0", "1")


def write(config: Config, facts: Facts, data: Path, hidden: Path) -> None:
    """Both parts of the competition: `data` for everybody, `hidden` for the scorer."""
    classes = facts.classes
    labels = [classes[number % len(classes)] for number in range(EACH * len(classes))]
    train = [f"train{number:04d}" for number in range(len(labels))]
    _images(data, config.data.image, config.data.id, train)
    _table(data / config.data.train, {**_cells(config, facts, config.data.image, train), config.data.target: labels})
    ids = [f"test{number:04d}" for number in range(VISIBLE + HIDDEN)]
    _test(config, facts, data, ids[:VISIBLE])
    _test(config, facts, hidden, ids[VISIBLE:])
    truth = truth_of([classes[number % len(classes)] for number in range(HIDDEN)], facts.answer)
    keys = keys_of(ids[VISIBLE:], facts.answer)
    usage = ["Public" if number < len(keys) // 2 else "Private" for number in range(len(keys))]
    _table(hidden / "solution.csv", {_key(config, facts): keys, config.data.target: truth, "Usage": usage})


def _test(config: Config, facts: Facts, folder: Path, ids: list[str]) -> None:
    """A test set and its sample submission."""
    data, answer = config.data, facts.answer
    _images(folder, data.test_image, data.id, ids)
    _table(folder / data.test, _cells(config, facts, data.test_image, ids))
    keys, columns = keys_of(ids, answer), tuple(answer.columns) if answer else (data.target,)
    named = answer is None or answer.form in {"labels", "strings"}
    blank = facts.classes[0] if named else f"{1 / len(facts.classes):.3f}"
    _table(folder / data.sample_submission, {_key(config, facts): keys, **{column: [blank] * len(keys) for column in columns}})


def _key(config: Config, facts: Facts) -> str:
    return facts.answer.key_column if facts.answer and facts.answer.key else config.data.id


def _cells(config: Config, facts: Facts, pattern: str, names: list[str]) -> dict[str, list[str]]:
    """The table of rows called `names`, without a target: id, parts of file names, group, time, and what models read."""
    data, count = config.data, len(names)
    cells = {data.id: names, **dict.fromkeys(_parts(pattern, data.id), names)}
    if data.group:
        cells[data.group] = [f"{names[0]}-{number // len(facts.classes)}" for number in range(count)]  # every class in each
    if data.time:
        cells[data.time] = [f"{FIRST}{1 + number % 28:02d}" for number in range(count)]
    read = {name: [values[number % len(values)] for number in range(count)] for name, values in facts.columns.items()}
    return {**read, **cells}


def _parts(pattern: str, identity: str) -> list[str]:
    """Columns that a file name is made of, beside the id."""
    return [name for _, name, _, _ in string.Formatter().parse(pattern) if name and name != identity]


def _images(folder: Path, pattern: str, identity: str, names: Iterable[str]) -> None:
    """An image for each row; none where rows have none."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(7)
    for name in names if pattern else ():
        path = folder / pattern.format_map({identity: name, **dict.fromkeys(_parts(pattern, identity), name)})
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path)


def _table(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
