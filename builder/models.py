"""The network as it trains, predicts out-of-fold and travels: one module from uint8 pixels to logits.

Expects: an architecture of timm's, a Hugging Face folder, or a function of the user's that builds a module.
Produces: a module with the arithmetic on the pixels (cast, scale, mean and std, layout) inside, so that training and inference
    cannot disagree about it; an error of the user's code is a UserError that names its line.
torch and timm are imported late.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import checkpoints, huggingface, usercode
from builder.errors import ConfigError, UserError, did_you_mean
from builder.runtime import heads as answering
from builder.runtime import views
from builder.shown import Pixels

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from builder.runtime.contract import Head, Input
    from builder.shown import Shown

PREDICT_BATCH = 256


def create(
    backbone: str,
    arguments: dict[str, Any],
    classes: int,
    *,
    pretrained: bool,
    image_size: tuple[int, int] | None,
    build: str = "",
    folder: Path | None = None,
) -> Any:
    """A network from normalised pixels float (n, 3, height, width) to logits float (n, classes).

    Args:
        backbone: `timm/<architecture>`, or `hf/<anything>` for the Hugging Face folder that is `folder`; empty beside `build`.
        arguments: Further arguments of the architecture's constructor, or of the user's function.
        classes: Number of outputs.
        pretrained: Start from trained weights. timm's come from a hub, which needs a network unless they are cached.
        image_size: (height, width), for architectures that are built for one size; None leaves the default.
        build: `models.py:function`, found in `folder`.
        folder: Where `build` or the Hugging Face files lie.

    Raises:
        ConfigError: No such architecture (the nearest is named), or arguments that it does not take.
        UserError: The folder, the user's function or the hub fails.
    """
    if build:
        return usercode.build(_needed(folder), build, arguments, classes, pretrained=pretrained)
    if backbone.startswith("hf/"):
        if arguments:
            raise ConfigError(
                "model.arguments are for timm and build", found=arguments, remedy="change config.json in the folder instead"
            )
        return huggingface.image_classifier(huggingface.load(_needed(folder), "image", classes=classes, pretrained=pretrained))
    return _from_timm(backbone.removeprefix("timm/"), arguments, classes, pretrained=pretrained, image_size=image_size)


def _needed(folder: Path | None) -> Path:
    if folder is None:
        raise ValueError("folder: needed for build and hf/")
    return folder


def _from_timm(
    name: str, arguments: dict[str, Any], classes: int, *, pretrained: bool, image_size: tuple[int, int] | None
) -> Any:
    import timm

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


def data_config(backbone: str, folder: Path | None = None) -> dict[str, Any]:
    """The data config that weights come with: `input_size` (3, h, w), `mean`, `std`, `interpolation`, `licence`.

    That of a Hugging Face `folder` has `resize` and `notes`, too. ImageNet's, 224 pixels wide, where nothing is known.
    """
    if backbone.startswith("hf/"):
        return huggingface.data_config(_needed(folder))
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


def load_weights(module: torch.nn.Module, checkpoint: Path) -> tuple[str, ...]:
    """Put a checkpoint's weights into `module.backbone`; notes on choices. Raises UserError that names what does not fit."""
    return checkpoints.load(module.backbone, checkpoint)  # type: ignore[arg-type]


def check_views(
    module: torch.nn.Module, shape: Input, names: Sequence[str], classes: int, source: str, folder: Path | None = None
) -> None:
    """Raise UserError, naming the view, unless `module` answers images of every size that views of the input `shape` show it."""
    tried = {(shape.height, shape.width)}
    for name in names:
        height, width = size = views.shape_of(name, shape)
        if size in tried:
            continue
        tried.add(size)
        try:
            check(module, height, width, classes, source, folder)
        except UserError as error:
            other = ", or set arguments = { dynamic_img_size = true } in this [[model]]" if _can_be_sized(source) else ""
            raise UserError(
                f"{source} cannot take the images of view '{name}'",
                file=error.file,
                found=f"it fails at {height}x{width} pixels: {error.found}",
                expected=f"a network for any size; this one may be built for {shape.height}x{shape.width}",
                remedy=f"leave '{name}' out of [inference] views{other}",
            ) from error


def _can_be_sized(source: str) -> bool:
    """Whether an architecture of timm's, one built for one size, knows how to stretch its position embeddings."""
    import inspect

    import timm
    import torch

    name = source.removeprefix("timm/")
    if name == source or not timm.is_model(name):
        return False
    parts = vars(sys.modules[timm.model_entrypoint(name).__module__]).values()
    networks = [part for part in parts if inspect.isclass(part) and issubclass(part, torch.nn.Module)]
    return any("dynamic_img_size" in inspect.signature(network).parameters for network in networks)


def check(module: torch.nn.Module, height: int, width: int, classes: int, source: str, folder: Path | None = None) -> None:
    """Ask `module` two images of noise. Raises UserError unless it answers each with `classes` finite logits.

    Args:
        source: What errors call it: `timm/resnet18`, `models.py:build`.
        folder: Where the user's code lies, whose line an error names.
    """
    import torch

    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8))
    with usercode.explained(f"{source} fails on images of {height}x{width} pixels", folder), torch.inference_mode():
        answer = module.eval()(pixels)
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or len(answer) != 2:
        found = f"shape {tuple(answer.shape)}" if isinstance(answer, torch.Tensor) else f"a {type(answer).__name__}"
        raise UserError(
            f"{source} does not answer with logits",
            found=found,
            expected=f"a tensor (n, {classes})",
            remedy="return the logits alone",
        )
    if answer.shape[1] != classes:
        raise UserError(
            f"{source} has {answer.shape[1]} outputs, the target has {classes} classes",
            remedy="build the head for the target's classes, or check data.target",
        )
    if not bool(answer.isfinite().all()):
        raise UserError(
            f"{source} answers with numbers that are not finite", found=answer[0].tolist()[:5], remedy="check the weights"
        )
    if bool((answer >= 0).all()) and bool(((answer.sum(1) - 1).abs() < 1e-4).all()):
        raise UserError(
            f"{source} answers with probabilities",
            found=answer[0].tolist()[:5],
            expected="logits: the softmax is done once, by what runs the model",
            remedy="leave the softmax out of forward",
        )


def standardised(backbone: Any, heads: Sequence[Head]) -> torch.nn.Module:
    """`backbone`, which answers numbers in their own unit, with the offset and the spread of each head taken out again."""
    import torch

    offsets = [offset for head in heads for offset in head.offset or (0.0,) * len(head.classes)]
    spreads = [spread for head in heads for spread in head.spread or (1.0,) * len(head.classes)]

    class Standardised(torch.nn.Module):
        offset: torch.Tensor
        spread: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = backbone
            self.register_buffer("offset", torch.tensor(offsets), persistent=False)
            self.register_buffer("spread", torch.tensor(spreads), persistent=False)

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return (self.inner(*inputs) - self.offset) / self.spread  # type: ignore[no-any-return]

    return Standardised()


def answers(
    module: torch.nn.Module,
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    view: str = "identity",
    heads: Sequence[Head] | None = None,
) -> NDArray[np.float32]:
    """`predicted` for `images[rows]`, uint8 (n, h, w, 3), seen under `view`; `images` are decoded as it asks (`images.seen`)."""
    return predicted(module, Pixels({view: images}), rows, view, heads)


def predicted(
    module: torch.nn.Module,
    shown: Shown,
    rows: NDArray[np.int64],
    view: str = "identity",
    heads: Sequence[Head] | None = None,
) -> NDArray[np.float32]:
    """float32 (len(rows), outputs): what `heads` (default: one of classes) make of the module's logits of rows under a view."""
    import torch

    module.eval()
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    parts, order = [], []
    # What a user's forward prints belongs to people: stdout is for `--json`.
    with torch.inference_mode(), contextlib.redirect_stdout(sys.stderr):
        for places, feeds in shown.batches(view, rows, PREDICT_BATCH):
            logits = module(*(torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in feeds.values()))
            parts.append(logits.float().cpu().numpy())
            order.append(places)
    logits = np.concatenate(parts)[np.argsort(np.concatenate(order), kind="stable")]
    return answering.answers(logits, heads or answering.single([""] * logits.shape[1]))
