"""What was learned: a model of one fold that answers rows it is shown, and the file that holds it.

Expects: a network with its arithmetic inside, or a boosted ensemble of trees.
Produces: answers of all heads for any of the training rows, under any view.
Never: learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from builder import checkpoints, models

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.runtime.contract import Head
    from builder.shown import Shown

    Picks = NDArray[np.int64]


class Fitted(Protocol):
    """A model of one fold."""

    @property
    def device(self) -> str:
        """Where it was fitted."""
        ...

    def save(self, path: Path) -> None:
        """Write its weights."""
        ...

    def answers(self, shown: Shown, rows: Picks, view: str = "identity") -> NDArray[np.float32]:
        """float32 (len(rows), outputs), of all heads."""
        ...


@dataclass(frozen=True)
class Network:
    """A torch module."""

    module: torch.nn.Module
    heads: tuple[Head, ...]
    device: str = "cpu"

    def save(self, path: Path) -> None:
        """Its backbone's weights: what is around it is made of version.json."""
        checkpoints.save(self.module.backbone, path)  # type: ignore[arg-type]

    def answers(self, shown: Shown, rows: Picks, view: str = "identity") -> NDArray[np.float32]:
        """What its heads make of its logits."""
        return models.predicted(self.module, shown, rows, view, self.heads)


@dataclass(frozen=True)
class Trees:
    """A boosted ensemble of trees."""

    booster: Any
    heads: tuple[Head, ...]
    device: str = "cpu"

    def save(self, path: Path) -> None:
        """In the library's own text form."""
        from builder.train import boosting

        boosting.save(self.booster, path)

    def answers(self, shown: Shown, rows: Picks, view: str = "identity") -> NDArray[np.float32]:
        """What the library says."""
        from builder.train import boosting

        if not len(rows):
            return np.empty((0, 0), dtype=np.float32)
        return boosting.answers(self.booster, shown.together(view, rows)["table"], self.heads)
