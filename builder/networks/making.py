"""The network of a `[[model]]` that reads cells: from a recipe to logits, with the arithmetic on its inputs inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import ConfigError, UserError
from builder.runtime.heads import SOFTMAX

if TYPE_CHECKING:
    import torch

TREES = {"table/lightgbm": "lightgbm", "table/xgboost": "xgboost"}  # what is no network


def make(
    backbone: str,
    arguments: Mapping[str, Any],
    recipe: Mapping[str, Any],
    classes: int,
    *,
    folder: Path | None = None,
    pretrained: bool = False,
    link: str = SOFTMAX,
) -> torch.nn.Module:
    """A module from the recipe's arrays, in the order of `shown.PORTS`, to logits float (n, classes).

    Args:
        backbone: `text/linear`, `text/lstm`, `text/gru`, `table/mlp`, or `hf/<anything>` for the Hugging Face folder `folder`.
        arguments: Of the network's maker.
        classes: Number of outputs, those of all heads.
        pretrained: Start from the folder's weights.
        link: What makes answers of the logits; that of all heads.

    Raises:
        ConfigError: Arguments that the network does not take.
        UserError: A folder that does not fit.
    """
    from builder.networks import table, text

    library, _, kind = backbone.partition("/")
    try:
        if library == "hf":
            if folder is None:
                raise ValueError("folder: needed for hf/")
            return text.transformer(folder, recipe, classes, pretrained=pretrained)
        if kind == "linear":
            return text.linear(recipe, classes, link)
        if kind == "mlp":
            return table.mlp(recipe, classes, **arguments)
        return text.recurrent(recipe, classes, kind, **arguments)
    except TypeError as error:
        raise ConfigError(
            f"{backbone} does not take these arguments", found=dict(arguments), expected=error, remedy="mend model.arguments"
        ) from None


def refuse_arguments(backbone: str, arguments: Mapping[str, Any]) -> None:
    """Raise UserError for arguments of a network that takes none."""
    if arguments and backbone.startswith("hf/"):
        remedy = "change config.json in the folder instead"
        raise UserError("model.arguments are not for hf/", found=dict(arguments), remedy=remedy)
