"""Writes tiny competitions of texts and of tables, laid out as real ones are: the visible test has three rows."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from .competitions import table

GOOD, BAD = ["lovely", "warm", "clever", "honest", "bright"], ["dull", "slow", "cheap", "noisy", "endless"]
NEUTRAL = ["film", "story", "music", "actor", "scene", "camera", "ending", "first", "second", "evening"]


def _texts(rows: int, seed: int, words: int) -> list[tuple[str, int]]:
    """(text, label): words of one mood among neutral ones."""
    draw = random.Random(seed)
    made = []
    for row in range(rows):
        label = row % 2
        mood = draw.choices(GOOD if label else BAD, k=2)
        text = mood + draw.choices(NEUTRAL, k=words - 2)
        draw.shuffle(text)
        made.append((" ".join(text), label))
    return made


def texts(root: Path, *, rows: int = 120, visible: int = 3, groups: int = 0, words: int = 8, form: str = "probability") -> Path:
    """review_id, [movie_id], document and label; films of the test are in no training row. `form` is the submission's."""
    trained, tested = _texts(rows, 1, words), _texts(visible, 2, words)
    film = [f"m{row % groups}" for row in range(rows)] if groups else []
    head = ["review_id", *(["movie_id"] if groups else []), "document"]
    table(
        root / "train.csv",
        [*head, "label"],
        ([f"r{row}", *film[row : row + 1], text, label] for row, (text, label) in enumerate(trained)),
    )
    new = [f"n{row}" for row in range(visible)] if groups else []
    table(root / "test.csv", head, ([f"t{row}", *new[row : row + 1], text] for row, (text, _) in enumerate(tested)))
    answer = {"probability": "0.5", "labels": "0"}[form]
    table(root / "sample_submission.csv", ["review_id", "label"], ([f"t{row}", answer] for row in range(visible)))
    return root


def passengers(root: Path, *, rows: int = 120, visible: int = 3) -> Path:
    """Id, age with gaps, sex, class, name, and whether they survived."""
    head = ["Id", "Age", "Sex", "Class", "Name", "Port"]
    draw = random.Random(3)

    def made(name: str) -> list[str]:
        age = "" if draw.random() < 0.2 else str(draw.randrange(1, 80))
        who = f"{draw.choice(GOOD).title()}, Mr. {draw.choice(NEUTRAL).title()} {name}"
        return [name, age, draw.choice(["male", "female"]), draw.choice("123"), who, draw.choice(["S", "C", ""])]

    survived = itertools.cycle(("0", "1", "1"))
    table(root / "train.csv", [*head[:1], "Survived", *head[1:]], (_with(made(str(row)), next(survived)) for row in range(rows)))
    table(root / "test.csv", head, (made(str(rows + row)) for row in range(visible)))
    table(root / "sample_submission.csv", ["Id", "Survived"], ([str(rows + row), "0"] for row in range(visible)))
    return root


def _with(cells: list[str], target: str) -> list[str]:
    return [cells[0], target, *cells[1:]]
