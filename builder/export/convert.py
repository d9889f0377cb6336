"""One source -> one portable file, through every step that is compared: single precision first, then what was asked for.

Expects: what makes a Source, and rows to compare, to calibrate and to blame with. Produces: the files in a folder, the steps on
    the way to them, and what source and result say.
Never: judges what it made: that is the caller's; leaves a file behind that was refused; or holds two of source, graph and model
    in memory at a time. When they are large, each has a process of its own (`apart.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import GateError, UserError
from builder.export import apart, blame, onnx_format, parity, precision, torchscript
from builder.export.parity import Case
from builder.export.pictures import Rows, batches
from builder.export.record import Rung
from builder.export.source import Answers
from builder.runtime import onnx_backend

if TYPE_CHECKING:
    from builder.export.source import Run, Source
    from builder.runtime.contract import Head

SUFFIXES = {"onnx": onnx_format.SUFFIX, "torchscript": torchscript.SUFFIX}
SCRIPTED = ("fp32", "fp16")
CALIBRATION_ROWS = 128

SOURCE_BATCH = 2  # what a source says of a row does not depend on the others, and a few need little memory

Opening = Callable[[], "Source"]
"""Makes the source, as often as it is needed."""
Open = Callable[[Path], "Run"]
"""A model file -> what runs it."""
Judge = Callable[[str, list[Rung], Callable[[], str]], None]
"""(step, its rungs, where the difference starts) -> raises GateError when the step is refused."""


@dataclass(frozen=True)
class Made:
    """A portable model: its file and those beside it, the ladder up to it, and what a person should know.

    Attributes:
        before, after: What the source and the portable model say of each of the order's `others`: answers.
    """

    files: tuple[Path, ...]
    ladder: tuple[Rung, ...]
    before: list[Answers]
    after: list[Answers]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        cases: Rows that every step is compared on, at each size in use; the model's own size first.
        others: Further rows that source and result are asked, in the planned batch.
        calibration: Rows that static int8 takes its ranges from.
        planned: Samples per call in the notebook.
        image_torch: Version of torch in the image; empty when unknown.
        apart: Whether each step has a process of its own.
        source_batch: Samples per call of the source.
        heads: What the output `logits` is; none: one of classes.
    """

    format: str
    precision: str
    cases: tuple[Case, ...]
    calibration: Rows
    planned: int
    others: tuple[Rows, ...] = ()
    image_torch: str = ""
    apart: bool = False
    source_batch: int = SOURCE_BATCH
    heads: tuple[Head, ...] = ()


@dataclass(frozen=True)
class Told:
    """What the source says of the order's cases and of its others: answers; and the files that were written of it."""

    cases: list[Answers]
    others: list[Answers]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def convert(opening: Opening, order: Order, stem: Path, opened: Open, judge: Judge, scratch: Path) -> Made:
    """Write `<stem>-<precision><suffix>`, comparing every step with its source.

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
        return make(opening, order, path, opened, judge, scratch)
    except GateError:
        for refused in (path, path.with_name(f"{path.name}.data")):
            refused.unlink(missing_ok=True)
        raise


def _graph(opening: Opening, order: Order, path: Path, opened: Open, judge: Judge, scratch: Path) -> Made:
    single = path if order.precision == "fp32" else scratch / f"fp32{onnx_format.SUFFIX}"
    first = order.cases[0].rows
    told = apart.run(_told, opening, order, single, _write_graph, apart=order.apart)
    rungs, after = apart.run(_compared, opened, order, single, told, "fp32", apart=order.apart)
    judge("fp32", rungs, lambda: apart.run(_layer, opening, single, first, apart=order.apart))
    if order.precision == "fp32":
        return Made(told.files, tuple(rungs), told.others, after)
    files = apart.run(_write_smaller, order, single, path, apart=order.apart)
    more, after = apart.run(_compared, opened, order, path, told, order.precision, apart=order.apart)
    judge(order.precision, more, lambda: apart.run(_operator, single, path, first, apart=order.apart))
    notes = (precision.FP16_NOTE,) if order.precision == "fp16" else ()
    return Made(files, (*rungs, *more), told.others, after, notes)


def _script(opening: Opening, order: Order, path: Path, opened: Open, judge: Judge, _scratch: Path) -> Made:
    if order.precision not in SCRIPTED:
        raise UserError(
            f"TorchScript has no {order.precision} here",
            expected=", ".join(SCRIPTED),
            remedy='set export.format = "onnx", or another export.precision',
        )
    told = apart.run(_told, opening, order, path, _write_script, apart=order.apart)
    rungs, after = apart.run(_compared, opened, order, path, told, order.precision, apart=order.apart)
    judge(order.precision, rungs, lambda: "")
    return Made(told.files, tuple(rungs), told.others, after, told.notes)


def _told(opening: Opening, order: Order, path: Path, write: Callable[..., tuple[tuple[Path, ...], tuple[str, ...]]]) -> Told:
    """Ask the source, and write it down."""
    source = opening()
    rows = [*(case.rows for case in order.cases), *order.others]
    answers = [parity.predict(source.answers, one, order.source_batch, order.heads) for one in rows]
    for found in answers:
        parity.refuse_not_finite(found)
    apart.free()
    files, notes = write(source, order, path)
    return Told(answers[: len(order.cases)], answers[len(order.cases) :], files, notes)


def _write_graph(source: Source, _order: Order, path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    return tuple(onnx_format.save(onnx_format.trace(source), path)), ()


def _write_script(source: Source, order: Order, path: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    torchscript.write(source if order.precision == "fp32" else source.halved(), path)
    return (path,), torchscript.notes(path, order.image_torch)


def _write_smaller(order: Order, single: Path, path: Path) -> tuple[Path, ...]:
    smaller = _smaller(_read(single), order)
    return tuple(onnx_format.save(onnx_format.split(smaller), path))


def _compared(opened: Open, order: Order, path: Path, told: Told, step: str) -> tuple[list[Rung], list[Answers]]:
    """The ladder of one step; of the last one, what the model says of the others, too."""
    with onnx_backend.frugal() if order.apart else nullcontext():
        run = opened(path)
    pairs = zip(order.cases, told.cases, strict=True)
    rungs = [rung for case, expected in pairs for rung in parity.ladder(expected, run, step, case, order.planned, order.heads)]
    others = order.others if step == order.precision else ()
    return rungs, [parity.asked(run, one, order.planned, order.heads) for one in others]


def _layer(opening: Opening, graph: Path, rows: Rows) -> str:
    return blame.between_source_and_graph(opening(), _read(graph), rows)


def _operator(before: Path, after: Path, rows: Rows) -> str:
    return blame.between_graphs(_read(before), _read(after), rows)


def _smaller(proto: Any, order: Order) -> Any:
    if order.precision == "fp16":
        return precision.halved(proto)
    return precision.quantized(proto, _calibration(order) if order.precision == "int8-static" else None)


def _calibration(order: Order) -> list[dict[str, Any]]:
    """Batches of the rows, as the quantizer wants them."""
    parts = batches(order.calibration, precision.CALIBRATION_BATCH)
    return [{name: np.ascontiguousarray(values) for name, values in part.items()} for part in parts]


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(str(path))
