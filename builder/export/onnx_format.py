"""torch -> ONNX with torch's current exporter, and the clean-up that makes the file small, private and repeatable."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError
from builder.runtime.backends import INPUT, OUTPUT

if TYPE_CHECKING:
    import torch

OPSET = 18
IR_VERSION = 10  # what the oldest onnxruntime on Kaggle (1.24) surely reads; new onnx packages would write more
LARGEST_BATCH = 1 << 16


def write(module: torch.nn.Module, height: int, width: int, path: Path, precision: str) -> None:
    """Write `module` (uint8 (n, height, width, 3) -> logits) to `path`, for any n. Raises GateError when ONNX can't say it."""
    import onnx
    import torch

    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes={"image": {0: batch}},
                verbose=False,
            )
    except Exception as error:
        raise GateError(
            "this architecture cannot be exported to ONNX", found=str(error).splitlines()[0][:300], remedy="try another backbone"
        ) from error
    proto = program.model_proto  # type: ignore[union-attr]
    if precision == "fp16":
        proto = _halved(proto)
    onnx.checker.check_model(proto)
    path.write_bytes(_plain(proto).SerializeToString(deterministic=True))


def _halved(proto: Any) -> Any:
    """Weights and arithmetic in half precision, with onnxruntime's own converter; input and output keep their types."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it reports each weight that is rounded to zero
        return convert_float_to_float16(proto, keep_io_types=True, disable_shape_infer=False)


def _plain(proto: Any) -> Any:
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


@contextlib.contextmanager
def _quiet() -> Any:
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
