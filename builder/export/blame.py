"""Where a difference starts: the first operator, or layer, whose output is off while its inputs still agree.

Costs one run with every intermediate tensor kept, so it is asked only after a gate has refused.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.export.pictures import Rows, batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Feeds, Source

ROWS = 4
SHARE = 0.25  # of the output's relative error: less is rounding on the way, more is where it starts
FLOATS = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE


def between_graphs(before: Any, after: Any, rows: Rows) -> str:
    """The first operator of the ModelProto `before` whose output is off in `after`, as `Conv node_12 (tensor)`; or empty."""
    few = next(batches(rows, ROWS))
    names = [name for node in before.graph.node for name in node.output if name]
    old, new = _intermediates(before, few), _intermediates(after, few)
    errors = {name: _error(old[name], new[name]) for name in names if name in old and name in new}
    if not errors or max(errors.values()) == 0:
        return ""
    allowed = SHARE * max(errors[value.name] for value in before.graph.output if value.name in errors)
    for node in before.graph.node:
        if any(errors.get(name, 0) > allowed for name in node.output):
            return f"{node.op_type} {node.name} (output {node.output[0]})"
    return ""


def between_source_and_graph(source: Source, proto: Any, rows: Rows) -> str:
    """The first layer of the source whose output is nowhere in the graph, as `layer1.0.conv2 (Conv2d)`; empty if all are there.

    The two have no names in common, so a layer's output is looked for by its values: a tensor with as many elements, equal norm
    and equal extremes. Layers that the exporter fused (a convolution with its BatchNorm) are not to be found either, so the one
    to blame is the first after which no layer is found again.
    """
    few = next(batches(rows, ROWS))
    tensors = [_marks(values) for values in _intermediates(proto, few).values()]
    blamed = ""
    for name, values in _layers(source, few):
        mine = _marks(values)
        if any(_same(mine, other) for other in tensors):
            blamed = ""
        elif not blamed:
            blamed = name
    return blamed


def _intermediates(proto: Any, feeds: Feeds) -> dict[str, NDArray[np.float64]]:
    """Every float tensor of a graph by name; those that onnxruntime cannot give are left out."""
    import onnxruntime

    kept = type(proto)()
    kept.CopyFrom(proto)
    del kept.graph.output[:]
    for node in kept.graph.node:
        for name in filter(None, node.output):
            kept.graph.output.add(name=name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(kept.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs() if "float" in value.type or "double" in value.type]
    return {
        name: np.asarray(values, dtype=np.float64) for name, values in zip(names, session.run(names, dict(feeds)), strict=True)
    }


def _layers(source: Source, feeds: Feeds) -> Iterable[tuple[str, NDArray[np.float64]]]:
    """Name and output of every layer without parts of its own, in the order in which they ran."""
    import torch

    seen: list[tuple[str, NDArray[np.float64]]] = []

    def watch(name: str) -> Any:
        def hook(module: Any, _inputs: Any, out: Any) -> None:
            first = out[0] if isinstance(out, (tuple, list)) else out
            if isinstance(first, torch.Tensor) and first.is_floating_point():
                seen.append((f"{name} ({type(module).__name__})", first.detach().double().cpu().numpy()))

        return hook

    with contextlib.ExitStack() as hooks, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, part in source.module.named_modules():
            if not any(True for _ in part.children()) and not isinstance(part, torch.nn.Identity):
                hooks.callback(part.register_forward_hook(watch(name)).remove)
        source.answers(feeds)
    return seen


def _error(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """Relative error; 1 for shapes that differ and numbers that are none."""
    if old.shape != new.shape or not np.isfinite(new).all():
        return 1.0
    size = float(np.linalg.norm(old))
    return float(np.linalg.norm(new - old)) / size if size else float(np.linalg.norm(new) > 0)


def _marks(values: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """What stays the same when axes change places: the number of elements, the norm and the extremes."""
    flat = values.ravel()
    return flat.size, np.array([np.linalg.norm(flat), flat.min(), flat.max(), flat.sum()]) if flat.size else np.zeros(4)


def _same(one: tuple[int, NDArray[np.float64]], other: tuple[int, NDArray[np.float64]]) -> bool:
    if one[0] != other[0]:
        return False
    return bool(np.allclose(one[1], other[1], rtol=1e-3, atol=1e-3 * max(1e-12, float(one[1][0]))))
