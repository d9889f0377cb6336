"""Which parameters learn how fast: layer-wise learning rates, for pretrained networks whose first layers should change least.

Expects: a network whose layers have numbers in their names, or one of timm's, which says itself what its layers are.
Produces: parameter groups for an optimiser, each parameter in one of them. The last layer and the head learn at the full rate,
    each layer before it at `decay` times the rate of the next one (Howard and Ruder 2018; ELECTRA, 2020, uses 0.8).
Never: groups a network without layers: that is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from builder.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from builder.config import Train

NUMBERED = re.compile(r"\.(?:layers?|h|blocks?|stages?)\.(\d+)\.")


def optimizer(module: torch.nn.Module, recipe: Train) -> torch.optim.Optimizer:
    """AdamW, as `[train]` says. Raises UserError as `groups` does."""
    import torch

    return torch.optim.AdamW(groups(module, recipe.lr, recipe.layer_decay), lr=recipe.lr, weight_decay=recipe.weight_decay)


def groups(module: torch.nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Parameter groups with their learning rates, the first layer first; all in one when `decay` is 1.

    Raises UserError when there are no layers to tell apart.
    """
    if decay == 1:
        return [{"params": list(module.parameters()), "lr": lr}]
    depths = _depths(module)
    top = max(depths.values(), default=0)
    if not top:
        raise UserError(
            "train.layer_decay needs a network with layers",
            found=f"none in {type(getattr(module, 'backbone', module)).__name__}",
            expected="a network of timm's, or of a Hugging Face folder",
            remedy="take train.layer_decay out of kernel.toml",
        )
    found: dict[int, list[torch.nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        found.setdefault(depths[name], []).append(parameter)
    return [{"params": found[depth], "lr": lr * decay ** (top - depth)} for depth in sorted(found)]


def _depths(module: torch.nn.Module) -> Mapping[str, int]:
    """Name of each parameter -> number of its layer; 0 is what comes before the first one."""
    names = [name for name, _ in module.named_parameters()]
    backbone: Any = getattr(module, "backbone", None)
    if hasattr(backbone, "group_matcher"):
        from timm.models import group_parameters

        told = group_parameters(backbone, backbone.group_matcher(coarse=False), reverse=True)
        top = max(told.values(), default=0)
        return {name: told.get(name.removeprefix("backbone."), top) for name in names}
    return _by_name(names)


def _by_name(names: list[str]) -> Mapping[str, int]:
    """Numbers in names, one more than they say; what follows the last layer belongs to it."""
    numbers = {name: match for name in names if (match := NUMBERED.search(f".{name}"))}
    last = max((int(match[1]) + 1 for match in numbers.values()), default=0)
    places = [place for place, name in enumerate(names) if name in numbers]
    before = places[0] if places else 0
    return {
        name: int(numbers[name][1]) + 1 if name in numbers else 0 if place < before else last for place, name in enumerate(names)
    }
