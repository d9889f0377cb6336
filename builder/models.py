"""The network as it trains, predicts out-of-fold and travels: one module from uint8 pixels to logits.

The arithmetic on the pixels (cast, scale, mean and std, layout) is inside, so training and inference cannot disagree about it.
torch and timm are imported late.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import ConfigError, UserError, did_you_mean

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PREDICT_BATCH = 256


def create(
    backbone: str, arguments: dict[str, Any], classes: int, *, pretrained: bool, image_size: tuple[int, int] | None
) -> Any:
    """A timm backbone with `classes` outputs. Raises ConfigError, with the nearest architecture, when timm has none of that name.

    Args:
        backbone: `timm/<architecture>`.
        arguments: Further arguments of the architecture's constructor.
        classes: Number of outputs.
        pretrained: Start from the hub's weights; a network is needed unless they are cached.
        image_size: (height, width), for architectures that are built for one size; None leaves the default.
    """
    import timm

    name = backbone.removeprefix("timm/")
    if not timm.is_model(name):
        known = timm.list_models()
        raise ConfigError(
            "model.backbone: timm has no such architecture", found=repr(name), remedy=did_you_mean(name, known) if known else None
        )
    options = dict(arguments)
    if image_size and _is_sized(name):
        options.setdefault("img_size", image_size)
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=classes, **options)
    except TypeError as error:
        raise ConfigError(
            f"{name} does not take these arguments", found=arguments, expected=error, remedy="mend model.arguments"
        ) from None
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UserError(
            f"the pretrained weights of {name} cannot be had",
            found=str(error).splitlines()[0][:200],
            expected="the model hub, or its cache",
            remedy="go online once, or set pretrained = false for this [[model]]",
        ) from None


def _is_sized(name: str) -> bool:
    """True for architectures that must be told their image size (transformers with position embeddings)."""
    import timm

    own = timm.get_pretrained_cfg(name)
    return bool(own and own.fixed_input_size)


def data_config(backbone: str) -> dict[str, Any]:
    """timm's own data config of an architecture: `input_size` (3, h, w), `mean`, `std`, `interpolation`, `licence`."""
    import timm

    name = backbone.removeprefix("timm/")
    found = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if found is None:
        return {
            "input_size": (3, 224, 224),
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "interpolation": "bilinear",
            "licence": "",
        }
    return {
        "input_size": found.input_size,
        "mean": found.mean,
        "std": found.std,
        "interpolation": found.interpolation,
        "licence": found.license or "",
    }


def portable(backbone: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.nn.Module:
    """`backbone` behind its pixel arithmetic: uint8 (n, h, w, 3) -> float logits (n, classes). `mean`, `std`: on a 0..1 scale."""
    import torch

    class Portable(torch.nn.Module):
        scale: torch.Tensor
        shift: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            # One multiplication and one addition per pixel; not saved with the weights, because version.json holds them.
            self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std).view(1, 3, 1, 1)), persistent=False)
            self.register_buffer("shift", -(torch.tensor(mean) / torch.tensor(std)).view(1, 3, 1, 1), persistent=False)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.backbone(image.permute(0, 3, 1, 2).to(self.scale.dtype) * self.scale + self.shift)  # type: ignore[no-any-return]

    return Portable()


def load_weights(module: torch.nn.Module, checkpoint: Path) -> None:
    """Put the weights of a .safetensors file into `module.backbone`. Raises UserError that names missing and surplus keys."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(checkpoint))
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            "the checkpoint cannot be read", file=checkpoint, found=error, remedy="train or adopt this version again"
        ) from None
    own = module.backbone.state_dict()  # type: ignore[union-attr]
    wrong = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        raise UserError(
            "the checkpoint does not fit the architecture: tensors of another size",
            file=checkpoint,
            found=", ".join(wrong[:3]),
            expected="the sizes of the architecture and the number of classes",
            remedy="check backbone, model.arguments and the target column",
        )
    missing, surplus = module.backbone.load_state_dict(state, strict=False)  # type: ignore[union-attr]
    if missing or surplus:
        raise UserError(
            "the checkpoint does not fit the architecture",
            file=checkpoint,
            found=f"{len(surplus)} surplus keys {surplus[:3]}, {len(missing)} missing keys {missing[:3]}",
            remedy="check backbone and model.arguments",
        )


def probabilities(module: torch.nn.Module, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 (len(rows), classes): softmax of the module's logits for `images[rows]`, uint8 (n, h, w, 3)."""
    import torch

    module.eval()
    device = next(module.parameters()).device
    out = []
    with torch.inference_mode():
        for batch in batches(rows):
            logits = module(torch.from_numpy(np.ascontiguousarray(images[batch])).to(device))
            out.append(torch.softmax(logits.double(), dim=1).float().cpu().numpy())
    return np.concatenate(out)


def batches(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """`rows` in pieces of at most PREDICT_BATCH."""
    for start in range(0, len(rows), PREDICT_BATCH):
        yield rows[start : start + PREDICT_BATCH]
