"""A small network for tables: embeddings of categories, standardised numbers, two hidden layers.

Expects: a recipe of recipes/table.py.
Produces: a module from float32 (n, features), NaN for missing, to logits (n, classes). The arithmetic in front of `backbone` is
    in the graph and follows from the recipe, so checkpoints hold the backbone alone.
Never: answers with numbers that are not finite, whatever stands in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

DEFAULTS = {"width": 64, "dropout": 0.3, "embedding": 8}
FARTHEST = 5.0  # standard deviations: a cell that is further away is most probably a mistake


def mlp(recipe: Mapping[str, Any], classes: int, **arguments: Any) -> torch.nn.Module:
    """The network for a recipe.

    Args:
        arguments: `width` of the hidden layers; `dropout`; `embedding`: the most numbers that a category becomes.

    Raises:
        ConfigError: An argument that is not known, or has an impossible value.
    """
    import torch
    from torch import nn

    chosen = _chosen(arguments)
    features = list(enumerate(recipe["features"]))
    codes = [(index, len(each["values"])) for index, each in features if "values" in each]
    numbers = [(index, each) for index, each in features if "values" not in each]
    missing = [place for place, (_, each) in enumerate(numbers) if each["missing"]]
    sizes = [(size + 1, min(int(chosen["embedding"]), 1 + size // 2)) for _, size in codes]

    class Tabular(nn.Module):
        number_places: torch.Tensor
        code_places: torch.Tensor
        missing_places: torch.Tensor
        mean: torch.Tensor
        scale: torch.Tensor
        log: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.backbone = _backbone(len(numbers) + len(missing), sizes, classes, int(chosen["width"]), float(chosen["dropout"]))
            whole = {"number_places": [index for index, _ in numbers], "code_places": [index for index, _ in codes]}
            for name, places in {**whole, "missing_places": missing}.items():
                self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
            self.register_buffer("mean", torch.tensor([each["mean"] for _, each in numbers]).float(), persistent=False)
            self.register_buffer("scale", torch.tensor([1 / each["std"] for _, each in numbers]).float(), persistent=False)
            self.register_buffer("log", torch.tensor([each["log"] for _, each in numbers], dtype=torch.bool), persistent=False)

        def forward(self, table: torch.Tensor) -> torch.Tensor:
            raw = table.index_select(1, self.number_places)
            unknown = torch.isnan(raw)
            values = torch.where(self.log, raw.sign() * raw.abs().log1p(), raw)
            values = ((values - self.mean) * self.scale).clamp(-FARTHEST, FARTHEST)
            values = torch.where(unknown, torch.zeros_like(values), values)
            flags = unknown.index_select(1, self.missing_places).to(values.dtype)
            codes = table.index_select(1, self.code_places)
            codes = torch.where(torch.isnan(codes), torch.full_like(codes, -1), codes)
            return self.backbone(torch.cat([values, flags], dim=1), codes.to(torch.int64) + 1)  # type: ignore[no-any-return]

    return Tabular()


def _backbone(numbers: int, sizes: list[tuple[int, int]], classes: int, width: int, dropout: float) -> torch.nn.Module:
    """Numbers float (n, numbers), codes int64 (n, len(sizes)), 0 for none -> logits; `sizes`: codes and numbers of embeddings."""
    import torch
    from torch import nn

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleList(nn.Embedding(*size) for size in sizes)
            first = (nn.Linear(numbers + sum(size for _, size in sizes), width), nn.SiLU(), nn.Dropout(dropout))
            second = (nn.Linear(width, width), nn.SiLU(), nn.Dropout(dropout))
            self.layers = nn.Sequential(*first, *second, nn.Linear(width, classes))

        def forward(self, values: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            embedded = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
            return self.layers(torch.cat([values, *embedded], dim=1))  # type: ignore[no-any-return]

    return Backbone()


def _chosen(arguments: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in arguments.items():
        if name not in DEFAULTS:
            raise ConfigError(
                f"table/mlp takes no argument '{name}'", expected=", ".join(DEFAULTS), remedy=did_you_mean(name, DEFAULTS)
            )
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (0 <= value < 1 if name == "dropout" else 1 <= value == int(value)):
            expected = "a number from 0 to below 1" if name == "dropout" else "a whole number of at least 1"
            raise ConfigError(
                f"the argument '{name}' of table/mlp is impossible", found=value, expected=expected, remedy="mend model.arguments"
            )
    return {**DEFAULTS, **arguments}
