"""What is exported: a torch module with named inputs and outputs, and the answers that every portable form is compared with.

An input axis is a fixed size or the name of a size that changes from call to call (`batch`, `tokens`, `height`); equal names are
equal sizes. The first axis of every input and output is `batch`. All arithmetic on an input (cast, scale, mean and std, layout)
is the module's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import UserError
from builder.networks import joined
from builder.runtime.contract import Cells, Input
from builder.shown import ports_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = "batch"
LOGITS = "logits"
EXAMPLE_SIZES = {BATCH: 2, "tokens": 12}  # what the exporters trace with; nothing may depend on it
EXAMPLE_SIZE = 64
INTEGERS = ("uint8", "int32", "int64")

Feeds = Mapping[str, "NDArray[Any]"]
Answers = dict[str, "NDArray[np.float32]"]
Run = Callable[[Feeds], Answers]
"""Feeds by input name -> outputs by output name, both with `batch` as the first axis."""


@dataclass(frozen=True)
class Port:
    """One input: its name, its dtype (a name of numpy's) and its axes."""

    name: str
    dtype: str
    axes: tuple[int | str, ...]


@dataclass(frozen=True)
class Source:
    """A torch module in eval mode.

    Attributes:
        module: Takes the inputs in order; returns one tensor, a tuple, or a mapping that has the names in `outputs`.
        inputs: At least one.
        outputs: Names of the outputs, in the order of a tuple.
        traced: Sizes that change, at which the exporters trace, where the usual ones would not do.
    """

    module: Any
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...] = (LOGITS,)
    traced: Mapping[str, int] = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the sizes that change, `batch` first."""
        named = (axis for port in self.inputs for axis in port.axes if isinstance(axis, str))
        return tuple(dict.fromkeys((BATCH, *named)))

    def example(self, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, NDArray[Any]]:
        """Arrays of the right dtypes and shapes: small whole numbers (1 for masks), or floats from 0 to 1."""
        wanted = {name: EXAMPLE_SIZES.get(name, EXAMPLE_SIZE) for name in self.sizes} | {**self.traced, **(sizes or {})}
        draw = np.random.default_rng(seed)
        feeds: dict[str, NDArray[Any]] = {}
        for port in self.inputs:
            shape = tuple(wanted[axis] if isinstance(axis, str) else axis for axis in port.axes)
            top = 2 if "mask" in port.name or "type" in port.name else 64
            low = 1 if "mask" in port.name else 0
            drawn = draw.integers(low, top, shape) if port.dtype in INTEGERS else draw.uniform(size=shape)
            feeds[port.name] = drawn.astype(port.dtype)
        return feeds

    def positional(self) -> Any:
        """A module that takes the inputs in order and returns a tuple in the order of `outputs`, whatever `module` returns."""
        import torch

        module, names = self.module, self.outputs

        class Positional(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = module

            def forward(self, *tensors: Any) -> Any:
                return _in_order(self.inner(*tensors), names)

        return Positional().eval()

    def answers(self, feeds: Feeds) -> Answers:
        """What torch says, float32 by output name."""
        import torch

        self.module.eval()
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.ascontiguousarray(feeds[port.name])).to(device) for port in self.inputs]
            out = _in_order(self.module(*tensors), self.outputs)
        return {name: value.float().cpu().numpy() for name, value in zip(self.outputs, out, strict=True)}

    def halved(self) -> Source:
        """A copy that computes in half precision; the arithmetic in front of its `backbone`, when it has one, stays in single."""
        module = copy.deepcopy(self.module)
        for inner in joined.inner(module):
            inner.half()
            inner.register_forward_pre_hook(_half_floats)
        return replace(self, module=module)


def image(module: Any, height: int, width: int, *, sized: bool = False) -> Source:
    """A source with one input `image`, uint8 (batch, height, width, 3), and one output `logits`; `sized` if both may change."""
    return several(module, (Input(height, width),), sized=sized)


def text(module: Any) -> Source:
    """A source with the inputs `input_ids` and `attention_mask`, int64 (batch, tokens), and one output `logits`."""
    return several(module, (Cells("tokens", "", ""),))


def several(module: Any, inputs: Sequence[Input | Cells], features: int = 0, *, sized: bool = False) -> Source:
    """A source with the arrays of all `inputs`, as `shown.ports_of` has them, and one output `logits`.

    Args:
        features: Columns of a table.
        sized: Whether height and width of an image may change.
    """
    ports: list[Port] = []
    traced: dict[str, int] = {}
    for given in inputs:
        axes: tuple[int | str, ...]
        if isinstance(given, Cells):
            axes = (BATCH, features if given.kind == "table" else given.kind)
        else:
            axes = (BATCH, "height", "width", 3) if sized else (BATCH, given.height, given.width, 3)
            traced |= {"height": given.height, "width": given.width} if sized else {}
        ports += [Port(name, dtype, axes) for name, dtype in ports_of(given).items()]
    return Source(module, tuple(ports), traced=traced)


def _in_order(out: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    if hasattr(out, "keys"):
        missing = [name for name in names if name not in out]
        if missing:
            raise UserError(
                "the model lacks outputs", found=", ".join(out), expected=", ".join(missing), remedy="name its outputs"
            )
        return tuple(out[name] for name in names)
    found = tuple(out) if isinstance(out, (tuple, list)) else (out,)
    if len(found) != len(names):
        raise UserError(
            "the model has another number of outputs",
            found=len(found),
            expected=", ".join(names),
            remedy="name each of its outputs",
        )
    return found


def _half_floats(_module: Any, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tensor.half() if tensor.is_floating_point() else tensor for tensor in tensors)
