"""A graph in single precision -> the same in half or in whole numbers, with onnxruntime's own converters.

Expects: a ModelProto with its weights inside (onnx_format.Graph.whole). Produces: another; inputs and outputs keep
    their types.
Never: half precision where it loses what matters: what is summed, exponentiated or resized, the inputs and the heads.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FP16_NOTE = "onnxruntime's CPU provider computes most fp16 operators in fp32: a GPU has other differences, and other prices"
KEPT = (
    "Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "BatchNormalization",
    "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp", "ReduceProd", "GlobalAveragePool",
    "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Softplus", "CumSum", "Range", "Resize", "GridSample", "LpNormalization",
)  # fmt: skip
HEAVY = frozenset(
    {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Einsum", "Gather"}
)  # input arithmetic ends here
INT8_DYNAMIC = ("MatMul", "Gemm", "LSTM", "Conv", "Gather")
INT8_STATIC = ("MatMul", "Gemm", "Conv")
CALIBRATION_BATCH = 8


def halved(proto: Any) -> Any:
    """`proto` in half precision; KEPT operators, the arithmetic on the inputs and the heads stay in single."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    del proto.graph.value_info[:]  # the types of weights in it would be changed, those that stay in single, too
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports each weight that is rounded to zero
        half = convert_float_to_float16(
            proto,
            keep_io_types=True,
            disable_shape_infer=False,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT],
            node_block_list=[*input_arithmetic(proto), *heads(proto)],
        )
    return _straightened(half)


def _straightened(proto: Any) -> Any:
    """Without the casts to half and back between neighbours that both compute in single, and without the same cast twice."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    narrow = {node.output[0]: node.input[0] for node in proto.graph.node if node.name.endswith("_cast_to_fp16_node")}
    wide = {node.output[0]: narrow[node.input[0]] for node in proto.graph.node if _widens(node) and node.input[0] in narrow}
    kept, made = [], set()
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            if name in wide:
                node.input[place] = wide[name]
        if not (_widens(node) and (node.output[0] in wide or node.output[0] in made)):
            kept.append(node)
            made.update(node.output)
    used = {name for node in kept for name in node.input} | {value.name for value in proto.graph.output}
    kept = [node for node in kept if not node.name.endswith("_cast_to_fp16_node") or node.output[0] in used]
    nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    OnnxModel(proto).topological_sort()
    return proto


def _widens(node: Any) -> bool:
    return bool(node.name.endswith("_cast_to_fp32_node"))


def input_arithmetic(proto: Any) -> list[str]:
    """Names of the nodes between the inputs and the first heavy operators: casts, mean and std, layout."""
    reached = {value.name for value in proto.graph.input}
    found = []
    for node in proto.graph.node:  # in topological order
        if node.op_type not in HEAVY and reached & set(node.input):
            reached |= set(node.output)
            found.append(node.name)
    return found


def heads(proto: Any) -> list[str]:
    """Names of the nodes from the last heavy operator to each output: a head is cheap, and magnifies every rounding."""
    wanted = {value.name for value in proto.graph.output}
    found = []
    for node in reversed(proto.graph.node):
        if wanted & set(node.output):
            found.append(node.name)
            if node.op_type not in HEAVY:
                wanted |= set(node.input)
    return found


def quantized(proto: Any, calibration: Sequence[dict[str, NDArray[Any]]] | None = None) -> Any:
    """`proto` with weights in eight bits; activations too, by the ranges seen on `calibration`, or as measured at run time.

    Raises GateError when it has nothing to quantize.
    """
    from onnxruntime import quantization

    operators = INT8_STATIC if calibration else INT8_DYNAMIC
    if not any(node.op_type in operators for node in proto.graph.node):
        raise GateError(
            "this model has nothing that int8 could quantize",
            expected=f"one of {', '.join(operators)}",
            remedy='set export.precision = "fp32"',
        )
    # Seven bits of weights: processors without VNNI, such as Kaggle's Skylake, overflow on eight.
    common = {"op_types_to_quantize": list(operators), "per_channel": True, "reduce_range": True}
    with tempfile.TemporaryDirectory() as name, _quiet():
        plain, ready, out = (Path(name) / f"{stem}.onnx" for stem in ("plain", "ready", "out"))
        del proto.graph.value_info[:]  # shapes of weights that the quantizer will turn around
        plain.write_bytes(proto.SerializeToString())
        quantization.shape_inference.quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        if calibration:
            quantization.quantize_static(str(ready), str(out), _reader(calibration), **common)
        else:
            quantization.quantize_dynamic(str(ready), str(out), **common)
        quantised = type(proto)()
        quantised.ParseFromString(out.read_bytes())
    return quantised


def _reader(calibration: Sequence[dict[str, NDArray[Any]]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._left, None)

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer talks to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
