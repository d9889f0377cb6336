"""What a person may set, and what one run knows: filled stage by stage by the supervisor, read by run.json.

Expects: nothing.
Produces: two records.
Never: does anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import mounts
from .combine import WEIGHTED, Blend
from .hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .clock import Clock
    from .contract import Carried, Plan
    from .devices import Devices
    from .engine import Engine
    from .probe import Probed
    from .progress import Progress
    from .record import Stages
    from .schedule import Schedule
    from .submission import Template
    from .weights import Attached


@dataclass(frozen=True)
class Settings:
    """What a person may change in the notebook. Everything has a default that is right for most.

    Attributes:
        limit_s: Instead of the plan's limit.
        workers: Instead of one per core (CPU only).
        threads: CPU threads of each model.
        scratch: Where intermediate files go; default: the system's temporary folder.
        keep_bytes: Most bytes of decoded images in scratch; default: half of what is free.
        start_s, stall_s: Patience, see engine.Patience.
        log_s: Least seconds between two lines of progress.
        probe: Whether a commit run predicts the plan's probe rows first; a rerun never does.
    """

    limit_s: float | None = None
    workers: int | None = None
    threads: int = 1
    scratch: str | None = None
    keep_bytes: int | None = None
    start_s: float = 180.0
    stall_s: float = 60.0
    log_s: float = 30.0
    probe: bool = True


@dataclass
class State:
    """The state of one run, filled stage by stage."""

    plan: Plan
    carried: Mapping[str, Carried]
    hooks_path: str
    settings: Settings
    clock: Clock
    log: Callable[[str], None]
    stages: Stages
    hooks: Hooks = field(default_factory=Hooks)
    blend: Blend = WEIGHTED
    notes: list[str] = field(default_factory=list)
    rows: Any = None
    ids: list[str] = field(default_factory=list)
    mounts: mounts.Mounts = field(default_factory=lambda: mounts.Mounts(Path(), {}))
    template: Template | None = None
    scratch: Path = field(default_factory=Path)
    attached: Attached | None = None
    probed: Probed | None = None
    devices: Devices | None = None
    schedule: Schedule | None = None
    engine: Engine | None = None
    progress: Progress | None = None
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    honest: NDArray[np.int64] | None = None
    answered: bool = False  # whether the submission holds any prediction

    rerun: bool = False  # whether this is the hidden rerun that is scored

    @property
    def target(self) -> Path:
        return mounts.working() / self.plan.answer.file
