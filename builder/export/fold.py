"""One fold of one model: converted, compared on rows that it had not seen, and recorded.

Expects: what makes the network with its weights, and all training rows as it is shown them.
Produces: an ExportedModel without prices, and what source and export said under every view.
Never: lets a difference pass that the gate forbids, or says so without where it starts, when that can be found.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import GateError
from builder.export import convert, parity, pictures
from builder.export.parity import Case
from builder.export.record import BACKENDS, ExportedModel, File, Rung, gap, score_delta
from builder.export.source import LOGITS
from builder.runtime import backends, views
from builder.runtime.contract import Cells, Input, Joint
from builder.runtime.heads import IDENTITY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from builder.export.source import Run
    from builder.metrics import Metric
    from builder.runtime.contract import Head
    from builder.shown import Shown

ROWS = 256  # rows that a model which saw them all is compared on


@dataclass(frozen=True)
class Recipe:
    """What all folds of a version have in common.

    Attributes:
        views: Names of views, `identity` among them.
        y: The truth, as the metric takes it.
        device: `cuda` or `cpu`, where models are compared; `threads` are those of the CPU.
        backend: What will run them, and so what is compared; empty for the format's own.
        heads: What the outputs are; none: one class of each row.
    """

    folder: Path
    format: str
    precision: str
    views: tuple[str, ...]
    planned: int
    max_abs_diff: float | None
    metric: Metric
    y: NDArray[Any]
    device: str
    threads: int
    image_torch: str
    notes: tuple[str, ...] = ()
    backend: str = ""
    heads: tuple[Head, ...] = ()


@dataclass(frozen=True)
class Fold:
    """One exported fold.

    Attributes:
        rows: Rows that it was compared on.
        honest: True when it had not seen them.
        before, after: Answers float32 (views, len(rows), outputs) of the source and of the export.
    """

    model: ExportedModel
    rows: NDArray[np.int64]
    honest: bool
    before: NDArray[np.float32]
    after: NDArray[np.float32]


@dataclass(frozen=True)
class Given:
    """What is exported.

    Attributes:
        fold: As the checkpoint says; -1 for a model that saw all rows.
        opening: Makes the network with its weights, as often as it is needed.
        base: How the model's own samples are read.
        shown: All training rows.
        apart: Whether the weights are so large that source and export must not be in memory together.
    """

    name: str
    fold: int
    opening: convert.Opening
    base: Input | Cells | Joint
    shown: Shown
    apart: bool = False


def export(recipe: Recipe, given: Given, held_out: NDArray[np.int64]) -> Fold:
    """Export one fold.

    Args:
        held_out: Rows that the model did not see, ascending; without any, it is compared on some rows that it saw.

    Raises:
        GateError: The model cannot be exported, or differs from its checkpoint.
    """
    rows = held_out if len(held_out) else _spread(len(given.shown))
    judged = bool(len(held_out))
    judge = partial(_judge, recipe, f"{given.name} fold {given.fold}", judged)
    opened = partial(_open, recipe.device, recipe.threads, recipe.backend or BACKENDS[recipe.format])
    with tempfile.TemporaryDirectory(dir=recipe.folder, prefix=".steps-") as scratch:
        stem = recipe.folder / f"{given.name}-f{given.fold}"
        made = convert.convert(given.opening, _order(recipe, given, rows), stem, opened, judge, Path(scratch))
    before, after = (np.stack([answers[LOGITS] for answers in said]) for said in (made.before, made.after))
    return compared(recipe, given, rows, made, before, after, judged=judged)


def compared(
    recipe: Recipe,
    given: Given,
    rows: NDArray[np.int64],
    made: convert.Made,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    judged: bool,
) -> Fold:
    """The record of what was made, once its answers were judged. Raises GateError."""
    judge = partial(_judge, recipe, f"{given.name} fold {given.fold}", judged)
    sizes = _sizes(recipe, given)
    rungs = [
        _rung(recipe, view, sizes.get(view, {}), rows, *seen, judged=judged)
        for view, *seen in zip(recipe.views, before, after, strict=True)
    ]
    judge(recipe.precision, rungs, lambda: "")
    score = recipe.metric.or_none(recipe.y[rows], after[0]) if judged else None
    return Fold(_record(recipe, given, made, rungs, score), rows, judged, before, after)


def _order(recipe: Recipe, given: Given, rows: NDArray[np.int64]) -> convert.Order:
    few = rows[_spread(len(rows), 2 * recipe.planned)]
    unseen = np.setdiff1d(np.arange(len(given.shown)), rows)
    unseen = unseen if len(unseen) else rows
    cases: dict[tuple[tuple[str, int], ...], Case] = {}
    for view, size in [("identity", {}), *_sizes(recipe, given).items()]:
        cases.setdefault(tuple(size.items()), Case(pictures.of(given.shown, few, view), view, size))
    return convert.Order(
        format=recipe.format,
        precision=recipe.precision,
        cases=tuple(cases.values()),
        calibration=pictures.of(given.shown, unseen[_spread(len(unseen), convert.CALIBRATION_ROWS)]),
        planned=recipe.planned,
        others=tuple(pictures.of(given.shown, rows, view) for view in recipe.views),
        image_torch=recipe.image_torch,
        apart=given.apart,
        source_batch=recipe.planned if recipe.device == "cuda" else convert.SOURCE_BATCH,
        heads=recipe.heads,
    )


def _sizes(recipe: Recipe, given: Given) -> dict[str, dict[str, int]]:
    """Height and width of what the model sees, of the views for which they are not its own. Cells have no size of their own."""
    base = given.base.parts[0]
    if isinstance(base, Cells):
        return {}
    shapes = {view: views.shape_of(view, base) for view in recipe.views}
    own = (base.height, base.width)
    return {view: {"height": shape[0], "width": shape[1]} for view, shape in shapes.items() if shape != own}


def _record(recipe: Recipe, given: Given, made: convert.Made, rungs: list[Rung], score: float | None) -> ExportedModel:
    ladder = (*made.ladder, *rungs)
    final = [one for one in ladder if one.step == recipe.precision]
    plain = rungs[0]
    file, *beside = (File.of(path) for path in made.files)
    return ExportedModel(
        name=given.name,
        fold=given.fold,
        format=recipe.format,
        precision=recipe.precision,
        file=file.file,
        sha256=file.sha256,
        bytes=file.bytes,
        batches=(1, 2, recipe.planned),
        max_abs_diff=max(one.max_abs_diff for one in final),
        argmax_equal=plain.argmax_equal,
        score=score,
        score_delta=plain.score_delta,
        ms_per_sample={},
        load_ms=0.0,
        beside=tuple(beside),
        ladder=ladder,
        notes=(*recipe.notes, *made.notes),
    )


def _rung(
    recipe: Recipe,
    view: str,
    sizes: dict[str, int],
    rows: NDArray[np.int64],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    judged: bool,
) -> Rung:
    """All rows under one view, in the planned batch."""
    delta = score_delta(recipe.metric, recipe.y[rows], before, after) if judged and np.isfinite(after).all() else None
    seen = gap({LOGITS: before}, {LOGITS: after}, recipe.heads)
    return parity.rung(recipe.precision, view, str(recipe.planned), seen, sizes=sizes, score_delta=delta)


def _judge(recipe: Recipe, what: str, judged: bool, step: str, rungs: list[Rung], start: Callable[[], str]) -> None:
    """Raise GateError when one of `rungs` is further off than allowed."""
    allowed = parity.limit(step, recipe.max_abs_diff if step == recipe.precision else None, judged=judged)
    wrong = parity.worst(rungs, allowed)
    if wrong is None:
        return
    where = ""
    with contextlib.suppress(Exception):  # the refusal counts, whether or not its cause can be found
        where = start()
    raise GateError(
        f"the export of {what} differs from its checkpoint",
        found=f"{_what(recipe)} differs by {wrong.max_abs_diff:.1e} ({step}, view {wrong.view}, batch {wrong.batch})"
        + (f"; the difference starts at {where}" if where else ""),
        expected="finite numbers" if allowed is None else f"at most {allowed:.0e}",
        remedy='set export.precision = "fp32", or export.max_abs_diff if you know why',
    )


def _what(recipe: Recipe) -> str:
    links = {head.link for head in recipe.heads}
    if IDENTITY not in links:
        return "a probability"
    number = "a number, in units of the target's spread,"
    return number if len(links) == 1 else f"a probability, or {number}"


def _open(device: str, threads: int, kind: str, path: Path) -> Run:
    """What runs a file, on the device that was asked for and no other."""
    remedy = "mend the accelerator, or export on a machine without"
    try:
        backend = backends.open(path, device, threads, kind)
    except backends.BackendError as error:
        raise GateError("the exported model does not run here", file=path, found=error, remedy=remedy) from None
    if backend.accelerator != device:  # whatever KKB_ALLOW_CPU says: prices and differences of a CPU are not a GPU's
        raise GateError(
            "the exported model does not run where it should",
            file=path,
            found=backend.accelerator,
            expected=device,
            remedy=remedy,
        )
    return backend.logits


def _spread(rows: int, count: int = ROWS) -> NDArray[np.int64]:
    """Up to `count` indices below `rows`, evenly spread: neighbours in a table are often alike."""
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).astype(np.int64))
