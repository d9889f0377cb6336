"""The examples in kernels/ with little work to do: tiny competitions with the very columns of the real ones, tiny weights.

A row's class shows in its image's colour, in a word, or in a column, so that learning it takes little.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builder import config as configs
from tests import competitions

KERNELS = Path(__file__).parents[2] / "kernels"
TRAIN, VISIBLE, HIDDEN = 80, 3, 20  # rows
SIDE = 32  # pixels
LIMIT = 'limit = "20min"'


@dataclass(frozen=True)
class Small:
    """What an example's competition looks like, and what of its kernel.toml is changed: only sizes, and where it runs.

    Attributes:
        classes: In the order of the class codes.
        identity: Number of a row -> its id.
        cells: (draw, number, code) -> its other columns.
        columns: Of the sample submission, where it has one for each class.
        changes: Text in kernel.toml -> what stands there instead; each is there once.
        more: Put at its end.
    """

    classes: tuple[str, ...]
    identity: Callable[[int], str]
    cells: Callable[[np.random.Generator, int, int], dict[str, str]] = lambda _draw, _number, _code: {}
    columns: tuple[str, ...] = ()
    changes: dict[str, str] = field(default_factory=dict)
    more: str = "\n[bundle]\nwheels = false\n"  # the stand-in's image is this machine, and no test should need a package index


def kernel_toml(name: str) -> str:
    """The text of an example's kernel.toml, made small."""
    text = (KERNELS / name / "kernel.toml").read_text("utf-8")
    for old, new in {'limit = "9h"': LIMIT, **SMALL[name].changes}.items():
        assert text.count(old) == 1, f"{name}: {old}"
        text = text.replace(old, new)
    return text + SMALL[name].more


def copy(name: str, kernels: Path) -> Path:
    """The example in another workspace: its code as it is, its kernel.toml made small."""
    folder = kernels / name
    folder.mkdir(parents=True)
    for path in (KERNELS / name).glob("*.py"):
        shutil.copyfile(path, folder / path.name)
    (folder / "kernel.toml").write_text(kernel_toml(name), "utf-8")
    return folder


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """A competition for the example: (what competitors see, what only the scorer sees), two folders below `folder`."""
    small, data = SMALL[name], configs.load(KERNELS / name).data
    draw = np.random.default_rng(11)
    codes = [number % len(small.classes) for number in range(TRAIN + VISIBLE + HIDDEN)]
    rows = [{data.id: small.identity(number), **small.cells(draw, number, code)} for number, code in enumerate(codes)]
    labels = [small.classes[code] for code in codes]
    parts = {"train": slice(TRAIN), "visible": slice(TRAIN, TRAIN + VISIBLE), "hidden": slice(TRAIN + VISIBLE, None)}
    seen, kept = folder / "data", folder / "hidden"
    for part, place, table, pattern in (
        ("train", seen, data.train, data.image),
        ("visible", seen, data.test, data.test_image),
        ("hidden", kept, data.test, data.test_image),
    ):
        found, truth = rows[parts[part]], labels[parts[part]]
        shown = [{**row, data.target: label} if part == "train" else row for row, label in zip(found, truth, strict=True)]
        competitions.table(place / table, list(shown[0]), [row.values() for row in shown])
        for row, code in zip(found, codes[parts[part]], strict=True) if pattern else ():
            path = place / pattern.format(**row)
            path.parent.mkdir(parents=True, exist_ok=True)
            competitions.image(draw, code, SIDE).save(path)
        if part != "train":
            header = small.columns or (data.target,)
            blank = [f"{1 / len(header):.4f}"] * len(header) if small.columns else [small.classes[0]]
            competitions.table(place / data.sample_submission, [data.id, *header], [[row[data.id], *blank] for row in found])
    usage = ["Public" if number < HIDDEN // 2 else "Private" for number in range(HIDDEN)]
    solution = zip((row[data.id] for row in rows[parts["hidden"]]), labels[parts["hidden"]], usage, strict=True)
    competitions.table(kept / "solution.csv", [data.id, data.target, "Usage"], solution)
    return seen, kept


def _argument(draw: np.random.Generator, number: int, code: int) -> dict[str, str]:
    """A sentence of an essay, four of each; one word tells how it was reviewed."""
    filler = draw.choice(["school", "phones", "because", "driverless", "students", "\n", "planet"], 6)
    told = ("whatever", "reasonable", "compelling")[code]
    kind = ("Lead", "Claim", "Evidence", "Rebuttal")[number % 4]
    return {"essay_id": f"E{number // 4:04X}", "discourse_text": " ".join([*filler, told]), "discourse_type": kind}


def _passenger(draw: np.random.Generator, number: int, code: int) -> dict[str, str]:
    """A passenger; those who sleep have spent nothing, and most of them were transported. Every column has gaps."""
    asleep = draw.random() < (0.9 if code else 0.1)
    bills = {
        place: "0.0" if asleep else f"{draw.integers(0, 900)}.0"
        for place in ("RoomService", "FoodCourt", "ShoppingMall", "Spa", "VRDeck")
    }
    cells = {
        "HomePlanet": str(draw.choice(["Earth", "Europa", "Mars"])),
        "CryoSleep": str(asleep),
        "Cabin": f"{draw.choice(list('BEFG'))}/{number}/{draw.choice(list('PS'))}",
        "Destination": str(draw.choice(["TRAPPIST-1e", "55 Cancri e"])),
        "Age": f"{draw.integers(0, 79)}.0",
        "VIP": str(draw.random() < 0.1),
        **bills,
        "Name": f"{draw.choice(['Maham', 'Juanna', 'Altark'])} {draw.choice(['Ofracculy', 'Vines', 'Susent'])}",
    }
    return {column: "" if draw.random() < 0.05 else cell for column, cell in cells.items()}


FEWER = {"folds = 5": "folds = 2"}
GRADES = ("0", "1", "2", "3", "4")
SMALL = {
    "adopted-checkpoint": Small(
        GRADES,
        lambda number: f"{1_000_000 + number}.png",  # .jpg in reality: colours of this size would run into each other
        changes={
            'machine = "t4x2"': 'machine = "cpu"',
            "test_rows = 15000": f"test_rows = {HIDDEN}",
            'backbone = "efficientnet_b0" ': 'backbone = "test_efficientnet" ',
            "size = 384": f"size = {SIDE}",
        },
    ),
    "text-reviews": Small(
        ("Ineffective", "Adequate", "Effective"),
        lambda number: f"{number:012x}",
        _argument,
        columns=("Ineffective", "Adequate", "Effective"),
        changes={**FEWER, "length = 256, vocabulary = 10000": "length = 32, vocabulary = 300"},
    ),
    "table-passengers": Small(
        ("False", "True"),
        lambda number: f"{number // 2:04d}_{number % 2 + 1:02d}",
        _passenger,
        changes={**FEWER, "num_leaves = 15,": "num_boost_round = 30, num_leaves = 15,"},
    ),
    "cpu-openvino": Small(
        GRADES,
        lambda number: f"{number:012x}",
        changes={
            **FEWER,
            "epochs = 8": "epochs = 2",
            "timm/mobilenetv3_large_100": "timm/test_efficientnet",
            "pretrained = true": "pretrained = false",
            "size = 224": f"size = {SIDE}",
            "identity@288": f"identity@{SIDE + 8}",
        },
    ),
}
