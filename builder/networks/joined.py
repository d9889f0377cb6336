"""One network of several inputs: each input has a network of its own, and one linear layer answers from the features of all.

Expects: portable networks that answer with FEATURES numbers in place of logits, in the order of their inputs.
Produces: a module (the arrays of all inputs, in that order) -> logits float (n, classes), with everything that is learned in its
    `backbone`: the plainest late fusion, which is hard to beat on few rows (Gorishniy et al. 2021 for tables; AutoGluon's
    multimodal predictor, 2022, joins features the same way).
torch is imported late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

FEATURES = 128  # numbers that each input becomes
DROPOUT = 0.1


def join(networks: Sequence[torch.nn.Module], arrays: Sequence[int], classes: int) -> torch.nn.Module:
    """The network.

    Args:
        networks: One per input; their own `backbone` is what half precision is for, as in every network of the house.
        arrays: How many arrays each of them takes.
        classes: Number of outputs, those of all heads.
    """
    import torch
    from torch import nn

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(networks)
            self.dropout = nn.Dropout(DROPOUT)
            self.head = nn.Linear(FEATURES * len(networks), classes)

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            features, start = [], 0
            for part, count in zip(self.parts, arrays, strict=True):
                # In single precision from here on, whatever the part computes in.
                features.append(nn.functional.silu(part(*given[start : start + count]).to(self.head.weight.dtype)))
                start += count
            return self.head(self.dropout(torch.cat(features, dim=1)))  # type: ignore[no-any-return]

    class Portable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone()

        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return self.backbone(*given)  # type: ignore[no-any-return]

    return Portable()


def inner(module: Any) -> list[Any]:
    """What computes in half precision where that is asked for: the backbone of a network, or of each network in a joined one."""
    backbone = getattr(module, "backbone", module)
    return [part.backbone for part in getattr(backbone, "parts", ())] or [backbone]
