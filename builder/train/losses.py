"""What a network is trained by: one loss for all heads of a model.

Expects: the heads, the truth of all rows (`competition/targets.py`), and logits of a batch, all heads one after the other.
Produces: targets as arrays of the type that the loss takes; the mean loss of a batch: the sum of all heads' cross entropies, the
    binary cross entropy of labels, or the squared error of numbers in units of their spread. One that answers the prior loses
    about 1 of each, so that a plain sum is fair to heads of different kinds.
torch is imported late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.metrics.heads import apart
from builder.runtime.heads import IDENTITY, SIGMOID, slices

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.runtime.contract import Head

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def targets(heads: Sequence[Head], y: NDArray[Any]) -> NDArray[Any]:
    """Truth as it is learned: int64 classes, float32 labels, or float32 numbers in units of their spread. `y`: as `Rows.y`.

    Of heads of classes and numbers float32 (rows, heads), codes and such numbers.
    """
    if len(heads) > 1 and any(head.link == IDENTITY for head in heads):
        parts = [targets((head,), own) for head, own in zip(heads, apart(heads, y), strict=True)]
        return np.column_stack(parts).astype(np.float32)
    if heads[0].link == IDENTITY:
        return standardised(heads[0], y).astype(np.float32)
    return y.astype(np.float32) if heads[0].link == SIGMOID else y


def standardised(head: Head, y: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers float (rows, columns) as the outputs of a model that answers them without a fault."""
    found: NDArray[np.float64] = (np.asarray(y, dtype=np.float64) - np.array(head.offset)) / np.array(head.spread)
    return found


def of(heads: Sequence[Head], label_smoothing: float) -> Loss:
    """(logits, targets) of a batch -> its mean loss. Labels are smoothed where there are classes."""
    import torch

    classes, numbers = torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing), torch.nn.MSELoss()
    if len(heads) == 1:
        return {IDENTITY: numbers, SIGMOID: torch.nn.BCEWithLogitsLoss()}.get(heads[0].link, classes)
    places = list(enumerate(zip(heads, slices(heads), strict=True)))

    def summed(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        losses = [
            numbers(logits[:, place], target[:, [column]])
            if head.link == IDENTITY
            else classes(logits[:, place], target[:, column].long())
            for column, (head, place) in places
        ]
        return torch.stack(losses).sum()

    return summed
