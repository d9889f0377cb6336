"""One source -> one portable file, through every step that is compared: single precision first, then what was asked for.

Expects: a Source, and rows to calibrate and to blame with. Produces: the files in a folder, and the steps on the way to them.
Never: judges what it made: that is the caller's; or leaves a file behind that was refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import GateError, UserError
from builder.export import blame, onnx_format, parity, precision, torchscript
from builder.export.record import Rung

if TYPE_CHECKING:
    from builder.export.source import Feeds, Run, Source

SUFFIXES = {"onnx": onnx_format.SUFFIX, "torchscript": torchscript.SUFFIX}
SCRIPTED = ("fp32", "fp16")
CALIBRATION_ROWS = 128

Open = Callable[[Path], "Run"]
"""A model file -> what runs it."""
Judge = Callable[[str, list[Rung], Callable[[], str]], None]
"""(step, its rungs, where the difference starts) -> raises GateError when the step is refused."""


@dataclass(frozen=True)
class Made:
    """A portable model: its file and those beside it, what runs it, the ladder up to it, and what a person should know."""

    files: tuple[Path, ...]
    run: Run
    ladder: tuple[Rung, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        feeds: Rows by input name that the steps are compared on.
        calibration: Rows by input name that static int8 takes its ranges from.
        planned: Samples per call in the notebook.
        image_torch: Version of torch in the image; empty when unknown.
        sizes: Sizes to compare at, for what changes from call to call beside the batch.
    """

    format: str
    precision: str
    feeds: Feeds
    calibration: Feeds
    planned: int
    image_torch: str = ""
    sizes: tuple[dict[str, int], ...] = field(default=({},))


def convert(source: Source, order: Order, stem: Path, opened: Open, judge: Judge, scratch: Path) -> Made:
    """Write `<stem>-<precision><suffix>`, comparing every step with `source`.

    Args:
        opened: Loads a model file, as the notebook would.
        judge: Refuses a step by raising.
        scratch: A folder for the steps in between.

    Raises:
        GateError: The model can't be said in this format, or a step differs from its source.
    """
    path = stem.with_name(f"{stem.name}-{order.precision}{SUFFIXES[order.format]}")
    make = _script if order.format == "torchscript" else _graph
    try:
        return make(source, order, path, opened, judge, scratch)
    except GateError:
        for refused in (path, path.with_name(f"{path.name}.data")):
            refused.unlink(missing_ok=True)
        raise


def _graph(source: Source, order: Order, path: Path, opened: Open, judge: Judge, scratch: Path) -> Made:
    graph = onnx_format.trace(source)
    single = path if order.precision == "fp32" else scratch / f"fp32{onnx_format.SUFFIX}"
    files = onnx_format.save(graph, single)
    run = opened(single)
    rungs = compared(source, order, run, "fp32")
    judge("fp32", rungs, lambda: blame.between_source_and_graph(source, graph.whole(), order.feeds))
    if order.precision == "fp32":
        return Made(tuple(files), run, tuple(rungs))
    files = onnx_format.save(onnx_format.split(_smaller(graph.whole(), order)), path)
    run = opened(path)
    more = compared(source, order, run, order.precision)
    judge(order.precision, more, lambda: blame.between_graphs(graph.whole(), _read(path), order.feeds))
    return Made(tuple(files), run, (*rungs, *more), (precision.FP16_NOTE,) if order.precision == "fp16" else ())


def _script(source: Source, order: Order, path: Path, opened: Open, judge: Judge, _scratch: Path) -> Made:
    if order.precision not in SCRIPTED:
        raise UserError(
            f"TorchScript has no {order.precision} here",
            expected=", ".join(SCRIPTED),
            remedy='set export.format = "onnx", or another export.precision',
        )
    torchscript.write(source if order.precision == "fp32" else source.halved(), path)
    notes = torchscript.notes(path, order.image_torch)
    run = opened(path)
    rungs = compared(source, order, run, order.precision)
    judge(order.precision, rungs, lambda: "")
    return Made((path,), run, tuple(rungs), notes)


def compared(source: Source, order: Order, run: Run, step: str) -> list[Rung]:
    """The ladder of one step."""
    return list(parity.ladder(source, run, step, order.feeds, planned=order.planned, sizes=order.sizes))


def _smaller(proto: Any, order: Order) -> Any:
    if order.precision == "fp16":
        return precision.halved(proto)
    return precision.quantized(proto, _calibration(order) if order.precision == "int8-static" else None)


def _calibration(order: Order) -> list[dict[str, Any]]:
    """Batches of the rows, as the quantizer wants them."""
    parts = parity.batches(order.calibration, precision.CALIBRATION_BATCH)
    return [{name: np.ascontiguousarray(values) for name, values in part.items()} for part in parts]


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(str(path))
