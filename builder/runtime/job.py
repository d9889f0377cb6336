"""What a worker is told once, at its start: a folder in scratch that the supervisor fills and every worker reads.

    job.json          the Job below
    paths.json        image paths of the samples, in row order; empty when no unit takes images
    rows.pkl          rows of the samples, a list of dicts; empty when nothing reads cells
    decoded/          decoded images, see store.py
    results/          <unit>-<chunk>.npy  float32 (m, outputs) of a task's samples, NaN rows where there is no answer
    unpublished/      files on their way to results; they move there whole

Never in the notebook's working folder, where all this would be output.
"""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .contract import Head, Unit
from .reading import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FOLDERS = ("decoded", "results", "unpublished")


@dataclass(frozen=True)
class Job:
    """What all workers of a run share.

    Attributes:
        units: The plan's units.
        models: Paths of each unit's model file and of the files that it needs beside it; the model first.
        heads: What the models' outputs are.
        accelerator: `cpu` or `cuda`.
        threads: Threads of a model's CPU operators.
        decode_threads: Threads that read images.
        hooks: Path of hooks.py, or an empty string.
        competition: The competition's folder.
        datasets: Dataset folders by key.
        resident: Models that a worker keeps loaded.
        verified: The folder where `integrity` says which files may be used.
    """

    units: tuple[Unit, ...]
    models: tuple[tuple[str, ...], ...]
    heads: tuple[Head, ...]
    accelerator: str
    threads: int
    decode_threads: int
    hooks: str
    competition: str
    datasets: Mapping[str, str]
    verified: str
    resident: int = 2

    @property
    def outputs(self) -> int:
        """Answers of each sample."""
        return sum(len(head.classes) for head in self.heads)


def save(folder: Path, job: Job, paths: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Fill `folder`. `paths` and `rows` are those of all samples, or empty when nobody asks for them."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "paths.json").write_text(json.dumps(list(paths)), "utf-8")
    (folder / "rows.pkl").write_bytes(pickle.dumps([dict(row) for row in rows]))
    (folder / "job.json").write_text(json.dumps(asdict(job)), "utf-8")


def load(folder: Path) -> tuple[Job, list[str], list[dict[str, Any]]]:
    """The job, the image paths and the rows of its samples."""
    raw = json.loads((folder / "job.json").read_text("utf-8"))
    raw["units"] = tuple(record(Unit, unit) for unit in raw["units"])
    raw["heads"] = tuple(record(Head, head) for head in raw["heads"])
    raw["models"] = tuple(tuple(paths) for paths in raw["models"])
    rows = pickle.loads((folder / "rows.pkl").read_bytes())  # noqa: S301  written by our own supervisor a moment ago
    return Job(**raw), json.loads((folder / "paths.json").read_text("utf-8")), rows


def result(folder: Path, unit: int, chunk: int) -> Path:
    """Where the answers of a unit on the samples of a chunk lie."""
    return folder / "results" / f"{unit:03d}-{chunk:07d}.npy"


def publish(folder: Path, path: Path, array: NDArray[Any]) -> None:
    """Save `array` at `path` by atomic rename: a killed worker leaves no half file under that name."""
    import numpy as np

    partial = folder / "unpublished" / f"{os.getpid()}-{path.name}"
    with partial.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    partial.replace(path)
