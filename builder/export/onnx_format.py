"""torch -> ONNX with torch's current exporter, and the clean-up that makes the file small, private and repeatable.

Expects: a Source.
Produces: files whose inputs and outputs have the source's names, and whose changing sizes carry theirs; weights over 2 GB lie
    beside the graph.
Never: a graph in which a size was fixed by tracing, an operator outside ONNX, a path of this machine, or a second copy of the
    weights in memory.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from builder.errors import GateError
from builder.export import refusals, tidy
from builder.workspace import replacing

if TYPE_CHECKING:
    from builder.export.source import Source

OPSET = 18
IR_VERSION = 10  # what the oldest onnxruntime on Kaggle (1.24) surely reads; new onnx packages would write more
SUFFIX = ".onnx"
LARGEST = 2_000_000_000  # bytes; protobuf reads no message of 2 GiB
SMALL = 1024  # bytes; shapes and scalars stay in the graph


@dataclass(frozen=True)
class Graph:
    """A ModelProto without its larger weights, and these by name: tensors of onnx_ir's (in torch's memory) or TensorProtos."""

    skeleton: Any
    weights: dict[str, Any]

    def whole(self) -> Any:
        """One ModelProto with everything in it, which tools that rewrite graphs ask for."""
        proto = type(self.skeleton)()
        proto.CopyFrom(self.skeleton)
        for weight in self.weights.items():
            proto.graph.initializer.append(_tensor(weight))
        return proto


def trace(source: Source) -> Graph:
    """`source` as a graph in single precision. Raises GateError with the cause when ONNX can't say it."""
    import onnx_ir
    import torch

    tensors = tuple(torch.from_numpy(array) for array in source.example().values())
    shapes = tuple({place: axis for place, axis in enumerate(port.axes) if isinstance(axis, str)} for port in source.inputs)
    tidy.forget_loops()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet(), tidy.plain_attention(source.module):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                source.positional(),
                tensors,
                input_names=[port.name for port in source.inputs],
                output_names=list(source.outputs),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,),
                verbose=False,
            )
    except Exception as error:
        raise refusals.of_exporter(error) from error
    known = program.model.graph.initializers
    large = [name for name, value in known.items() if value.const_value.nbytes > SMALL]
    weights = {name: known.pop(name).const_value for name in large}
    graph = Graph(plain(onnx_ir.serde.serialize_model(program.model)), weights)
    refuse_fixed(graph.skeleton, source)
    tidy.reorder_gelu(graph.skeleton)
    return graph


def split(proto: Any) -> Graph:
    """A ModelProto as a Graph; `proto` loses its larger weights."""
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(tensor for tensor in tensors if len(tensor.raw_data) <= SMALL)
    return Graph(plain(proto), {tensor.name: tensor for tensor in tensors if len(tensor.raw_data) > SMALL})


def refuse_fixed(proto: Any, source: Source) -> None:
    """Raise GateError when a size that changes from call to call became a number, in an input or as the batch of an output."""
    for port in source.inputs:
        value = next((one for one in proto.graph.input if one.name == port.name), None)
        if value is None:
            raise GateError(
                f"the model does not use its input '{port.name}'",
                found="it is not in the graph",
                remedy="leave it out of the inputs",
            )
        for axis, dim in zip(port.axes, value.type.tensor_type.shape.dim, strict=True):
            if isinstance(axis, str) and dim.HasField("dim_value"):
                raise refusals.fixed(axis, f"{dim.dim_value} in input '{port.name}'")
    for value in proto.graph.output:
        shape = value.type.tensor_type.shape.dim
        if not shape or shape[0].HasField("dim_value"):
            raise refusals.fixed("batch", f"{shape[0].dim_value if shape else 'no axis'} in output '{value.name}'")


def plain(proto: Any) -> Any:
    """Without stack traces and doc strings: they hold paths of the machine that exported, and differ from run to run."""
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version, proto.doc_string = "kkb", "", ""
    del proto.metadata_props[:]
    for part in (proto.graph, *proto.functions):
        part.doc_string = ""
        del part.metadata_props[:]
        for item in (*part.node, *part.value_info, *getattr(part, "initializer", ()), *part.input, *part.output):
            if hasattr(item, "doc_string"):
                item.doc_string = ""
            if hasattr(item, "metadata_props"):
                del item.metadata_props[:]
    return proto


def save(graph: Graph, path: Path, *, largest: int = LARGEST) -> list[Path]:
    """Write `graph`: to [path], or to [path, path.data] when the weights are over `largest` bytes. One weight at a time."""
    if sum(_tensor(weight).ByteSize() for weight in graph.weights.items()) <= largest:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            _stream(graph, stream)
        return [path]
    beside = path.with_name(path.name + ".data")
    skeleton = type(graph.skeleton)()
    skeleton.CopyFrom(graph.skeleton)
    with replacing(beside) as temporary, temporary.open("wb") as stream:
        for weight in graph.weights.items():
            tensor = _tensor(weight)
            place = {"location": beside.name, "offset": str(stream.tell()), "length": str(len(tensor.raw_data))}
            stream.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = tensor.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
            skeleton.graph.initializer.append(tensor)
    with replacing(path) as temporary:
        temporary.write_bytes(skeleton.SerializeToString(deterministic=True))
    return [path, beside]


def _stream(graph: Graph, stream: IO[bytes]) -> None:
    """Write a ModelProto: protobuf's own writer would hold all weights in memory once more.

    A message is its fields one after another, in any order: first everything but the graph, then the graph, whose length is known
    beforehand, and in it each weight as one more field.
    """
    skeleton = graph.skeleton
    head = type(skeleton)()
    head.CopyFrom(skeleton)
    head.ClearField("graph")
    body = skeleton.graph.SerializeToString(deterministic=True)
    field = _key(skeleton.graph, "initializer")
    sizes = [_tensor(weight).ByteSize() for weight in graph.weights.items()]
    total = len(body) + sum(len(field) + len(_varint(size)) + size for size in sizes)
    stream.write(head.SerializeToString(deterministic=True) + _key(skeleton, "graph") + _varint(total) + body)
    for weight, size in zip(graph.weights.items(), sizes, strict=True):
        stream.write(field + _varint(size))
        stream.write(_tensor(weight).SerializeToString(deterministic=True))


def _tensor(weight: tuple[str, Any]) -> Any:
    """A TensorProto of a weight and its name; onnx_ir's tensors are made into one, which copies them."""
    from onnx_ir import serde

    name, values = weight
    if hasattr(values, "raw_data"):
        return values
    tensor = serde.serialize_tensor(values)
    tensor.name, tensor.doc_string = name, ""
    return tensor


def _key(message: Any, field: str) -> bytes:
    """The bytes before a field that is a message: its number, and 2, which says that a length follows."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's chatter, off for the length of the block."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
