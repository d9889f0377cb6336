"""From a run's state to workers at work: the job that they read, and the processes.

Expects: models that are attached, devices that are chosen.
Produces: a job's folder in scratch, and a pool of workers that find this very package, be it a folder or a wheel.
Never: puts anything where it would be output.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import hooks, job, machine, mounts
from .contract import Cells
from .engine import Patience
from .pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract import Unit
    from .costs import Task
    from .devices import Devices
    from .state import Settings, State

KEEP_SHARE = 0.5  # of the free disk, for decoded images
MODEL_SHARE = 0.35  # of the memory, for loaded models
GPU_GB = 5.0  # for loaded models, on each GPU; the smallest has 15
TIMES_FILE = 3  # memory of a loaded model, in sizes of its file: weights, weights as the kernels want them, activations
LEAST_RESIDENT = 2
HASHED_PER_S = 50e6  # bytes; of a cold mount that others read, too
PACKAGE = Path(__file__).resolve().parent


def scratch(settings: Settings) -> Path:
    """A new folder that is not output."""
    parent = Path(settings.scratch or tempfile.gettempdir()).resolve()
    if parent == mounts.working().resolve() or mounts.working().resolve() in parent.parents:
        parent = mounts.root() / "temp"
        parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="kkb-", dir=parent))


def workers(state: State, devices: Devices, folder: Path, paths: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Pool:
    """Write the job of these samples into `folder`; the pool that will do it, not started yet."""
    job.save(folder, _job(state, devices), paths, rows)
    command = [sys.executable, "-m", f"{__package__}.worker", str(folder), str(os.getpid())]
    return Pool(command, [_environment(extra) for extra in devices.environments], folder)


def reads(state: State) -> tuple[bool, bool]:
    """Whether workers read images, and whether they read cells: a hook that loads samples is given their cells."""
    if state.hooks.load is not None:
        return False, True
    kinds = [isinstance(part, Cells) for unit in state.plan.units for part in unit.input.parts]
    return not all(kinds), any(kinds)


def fetcher(folder: Path) -> Callable[[Task], NDArray[np.float32]]:
    """What reads a finished task's answers."""
    return lambda task: np.load(job.result(folder, task.unit, task.chunk), allow_pickle=False)


def keep_bytes(settings: Settings, folder: Path) -> int:
    """Bytes of decoded images that may stay in scratch."""
    return int(shutil.disk_usage(folder).free * KEEP_SHARE) if settings.keep_bytes is None else settings.keep_bytes


def resident(state: State, devices: Devices) -> int:
    """How many models each worker keeps loaded: as many as a share of the memory holds."""
    models = state.attached.models if state.attached else ()
    largest = max((Path(path).stat().st_size for path in models), default=1)
    memory = GPU_GB if devices.accelerator == "cuda" else MODEL_SHARE * (machine.memory_gb() or 0.0) / len(devices.environments)
    return max(LEAST_RESIDENT, min(len(set(models)), int(memory * machine.GB / (TIMES_FILE * largest + 1))))


def patience(state: State) -> Patience:
    """How long a silent worker is left alone: longer while large models are still being verified, which it waits for."""
    models = set(state.attached.models) if state.attached else ()
    hashing = sum(Path(path).stat().st_size for path in models) / HASHED_PER_S
    return Patience(state.settings.start_s, state.settings.stall_s + hashing)


def check_views(state: State) -> None:
    """Raise HookError when the plan's views cannot be applied: to what a hook loads nothing can be done."""
    odd = sorted({unit.view for unit in state.plan.units} - {"identity"}) if state.hooks.load is not None else []
    if odd:
        raise hooks.HookError(f"hooks.load makes the model's inputs itself; views {', '.join(odd)} cannot be applied to them")


def _job(state: State, devices: Devices) -> job.Job:
    if state.attached is None:
        raise RuntimeError("no models are attached")
    return job.Job(
        units=state.plan.units,
        models=tuple(_needed(state, unit, path) for unit, path in zip(state.plan.units, state.attached.models, strict=True)),
        heads=state.plan.answer.parts,
        accelerator=devices.accelerator,
        threads=state.settings.threads,
        decode_threads=devices.decode_threads,
        hooks=str(Path(state.hooks_path).resolve()) if state.hooks_path else "",
        competition=str(state.mounts.competition),
        datasets={key: str(path) for key, path in state.mounts.datasets.items()},
        verified=str(state.scratch),
        resident=resident(state, devices),
    )


def _needed(state: State, unit: Unit, path: str) -> tuple[str, ...]:
    """A model's file and, beside it, the weights that it keeps in files of their own (`m.onnx.data`), and its recipe."""
    others = sorted(name for name in state.carried[unit.dataset].files if name.startswith(f"{unit.file}."))
    recipes = [state.mounts.datasets[unit.dataset] / part.recipe for part in unit.input.parts if isinstance(part, Cells)]
    return path, *(str(Path(path).with_name(name)) for name in others), *map(str, recipes)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The notebook's environment, in which a worker finds this very package."""
    home = PACKAGE
    for _ in (__package__ or "").split("."):
        home = home.parent
    path = os.pathsep.join(part for part in (str(home), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, **extra, "PYTHONPATH": path}
