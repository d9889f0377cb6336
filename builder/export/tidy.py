"""Small changes to a module and its graph after which onnxruntime finds its own fast operators. No answer changes.

Expects: a torch module about to be traced; a ModelProto that torch's exporter wrote.
Produces: the same function, in standard ONNX.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

FUSED = "fused_attn"  # timm's switch for torch's own attention, whose export takes more operators than the plain one
LOOPS = ("gru", "lstm", "rnn_tanh", "rnn_relu")  # recurrent layers, as torch calls their operators


@contextlib.contextmanager
def plain_attention(module: Any) -> Iterator[None]:
    """Attention written out, for the length of the block."""
    parts = [part for part in module.modules() if getattr(part, FUSED, False) is True]
    for part in parts:
        setattr(part, FUSED, False)
    try:
        yield
    finally:
        for part in parts:
            setattr(part, FUSED, True)


def reorder_gelu(proto: Any) -> None:
    """`x * (0.5 * (1 + erf))` -> `(x * (1 + erf)) * 0.5`, which onnxruntime knows as Gelu."""
    nodes = proto.graph.node
    made = {name: node for node in nodes for name in node.output}
    readers: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    for node in nodes:
        for place, name in enumerate(node.input):
            inner = made.get(name)
            if node.op_type != "Mul" or inner is None or inner.op_type != "Mul" or readers[name] != 1:
                continue
            sums = [at for at, one in enumerate(inner.input) if _adds_to_erf(made, one)]
            if len(sums) == 1 and inner.input[1 - sums[0]] not in made:
                constant = inner.input[1 - sums[0]]
                inner.input[1 - sums[0]] = node.input[1 - place]
                node.input[1 - place] = constant
                break


def _adds_to_erf(made: dict[str, Any], name: str) -> bool:
    node = made.get(name)
    return bool(node and node.op_type == "Add" and any(one in made and made[one].op_type == "Erf" for one in node.input))


def forget_loops() -> None:
    """Have recurrent layers looked up again by the exporter.

    It says them as loops, by kernels that it registers for the time of one export; torch 2.14 remembers the kernels of the first
    one, and with them unrolls the loops of the second to the length of the example.
    """
    import torch

    for name in LOOPS:
        for overload in ("input", "data"):
            kernels = getattr(getattr(torch.ops.aten, name), overload, None)
            cache = getattr(kernels, "_dispatch_cache", None)
            if cache is not None:
                cache.clear()
