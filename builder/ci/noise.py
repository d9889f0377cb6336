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

from builder.competition.targets import KINDS
from builder.metrics import CLASSES, MULTILABEL
from builder.metrics import NUMBERS as NUMERIC
from builder.rehearse import truth
from builder.rehearse.truth import keys_of
from builder.runtime.contract import Answer, Head
from builder.runtime.heads import IDENTITY, SIGMOID, SOFTMAX

if TYPE_CHECKING:
    from builder.config import Config, Data

SIDE = 32  # pixels
VISIBLE, HIDDEN, EACH = 3, 12, 12  # rows of the tests; training rows of each class
CODES, LABELS = ("0", "1"), ("a", "b", "c")  # where no record tells them
EVERY = 3  # rows of which each label is there once; and rows after which numbers are of another group
VALUES = 11  # different numbers
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


def write(config: Config, facts: Facts, data: Path, hidden: Path) -> None:
    """Both parts of the competition: `data` for everybody, `hidden` for the scorer."""
    settings, known = config.data, facts.answer
    answer = known if known and _fits(known, settings) else _plainest(config)
    rows = [_truth(answer, settings, number) for number in range(EACH * _turn(answer))]
    train = [f"train{number:04d}{_suffix(settings.image)}" for number in range(len(rows))]
    _images(data, settings.image, settings.id, train)
    cells = _cells(settings, facts, _turn(answer), settings.image, train)
    _table(data / settings.train, {**cells, **truth.columns(rows, settings.targets, None)})
    ids = [f"test{number:04d}{_suffix(settings.test_image)}" for number in range(VISIBLE + HIDDEN)]
    for folder, some in ((data, ids[:VISIBLE]), (hidden, ids[VISIBLE:])):
        _images(folder, settings.test_image, settings.id, some)
        _table(folder / settings.test, _cells(settings, facts, _turn(answer), settings.test_image, some))
        _sample(answer, folder / settings.sample_submission, keys_of(some, answer))
    keys, asked = keys_of(ids[VISIBLE:], answer), truth.columns(rows[:HIDDEN], settings.targets, answer)
    usage = ["Public" if number < len(keys) // 2 else "Private" for number in range(len(keys))]
    _table(hidden / "solution.csv", {_key(answer): keys, **asked, "Usage": usage})


def _suffix(pattern: str) -> str:
    """What ids end in, where it is they that bring the suffix of the image files."""
    return "" if not pattern or Path(pattern).suffix else ".png"


def _fits(known: Answer, data: Data) -> bool:
    """Whether a plan answers what kernel.toml predicts now."""
    if data.headed or len(known.parts) > 1:
        wanted = list(zip(data.targets, data.truths, strict=True))
        return data.headed and [(head.name, KINDS[head.link]) for head in known.parts] == wanted
    if KINDS[known.parts[0].link] != data.truth:
        return False
    return (len(data.targets) == 1 and data.truth != NUMERIC) or data.targets == known.classes


def _plainest(config: Config) -> Answer:
    """What a kernel without a plan answers."""
    data, file = config.data, config.competition.file
    names, one = data.targets, len(data.targets) == 1
    if data.headed:
        heads = tuple(_plainest_head(name, kind) for name, kind in zip(names, data.truths, strict=True))
        return Answer(file, data.id, "heads", names, tuple(label for head in heads for label in head.classes), heads=heads)
    if data.truth == CLASSES:
        return Answer(file, data.id, "labels", names, CODES)
    link = SIGMOID if data.truth == MULTILABEL else IDENTITY
    labels = LABELS if link == SIGMOID and one else names
    form = "numbers" if link == IDENTITY else "strings" if one else "columns"
    return Answer(file, data.id, form, names, labels, heads=(Head("", link, labels),))


def _plainest_head(name: str, kind: str) -> Head:
    return Head(name, IDENTITY, (name,)) if kind == NUMERIC else Head(name, SOFTMAX, CODES)


def _turn(answer: Answer) -> int:
    """After how many rows everything that is predicted has been there."""
    return max(len(head.classes) if head.link == SOFTMAX else EVERY for head in answer.parts)


def _truth(answer: Answer, data: Data, number: int) -> tuple[str, ...]:
    """The cells of the target columns in row `number`: no class, label or value is rare, in no half of the hidden rows."""
    link, names = answer.parts[0].link, answer.classes
    if len(answer.parts) > 1 or link == SOFTMAX:
        return tuple(_told(head, number, place) for place, head in enumerate(answer.parts))
    if link == IDENTITY:
        return tuple(_number(number, place) for place in range(len(names)))
    there = [(number + place) % EVERY == 0 for place in range(len(names))]
    if len(data.targets) > 1:
        return tuple(str(int(one)) for one in there)
    return (" ".join(name for name, one in zip(names, there, strict=True) if one),)


def _told(head: Head, number: int, place: int) -> str:
    return _number(number, place) if head.link == IDENTITY else head.classes[number % len(head.classes)]


def _number(number: int, place: int) -> str:
    return str(number * (place + 3) % VALUES + 0.5)


def _sample(answer: Answer, path: Path, keys: list[str]) -> None:
    _table(path, {_key(answer): keys, **{column: _blanks(answer, column, len(keys)) for column in answer.columns}})


def _blanks(answer: Answer, column: str, rows: int) -> list[str]:
    """The cells of a column of the sample submission; in a long form of heads one for each of these in turn."""
    if answer.form != "long-heads":
        return [_blank(answer, column)] * rows
    each = [_blank_of(head) for head in answer.parts]
    return each * (rows // len(each))


def _blank_of(head: Head) -> str:
    return "1" if head.link == IDENTITY else head.classes[0]


def _blank(answer: Answer, column: str) -> str:
    """What a sample submission says of every row."""
    if answer.form == "heads":
        return next(_blank_of(head) for head in answer.parts if head.name == column)
    if answer.form in {"labels", "strings"}:
        return answer.classes[0]
    return {SOFTMAX: f"{1 / len(answer.classes):.3f}", SIGMOID: "0.5", IDENTITY: "1"}[answer.parts[0].link]


def _key(answer: Answer) -> str:
    return answer.key_column if answer.key else answer.id


def _cells(data: Data, facts: Facts, turn: int, pattern: str, names: list[str]) -> dict[str, list[str]]:
    """The table of rows called `names`, without a target: id, parts of file names, group, time, and what models read."""
    count = len(names)
    cells = {data.id: names, **dict.fromkeys(_parts(pattern, data.id), names)}
    if data.group:
        cells[data.group] = [f"{names[0]}-{number // turn}" for number in range(count)]  # everything in each
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
