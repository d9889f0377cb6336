"""Portable models, how far they are from their source, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from builder.cli import context
from builder.cli.app import Json, Name, app
from builder.cli.screen import Screen, number, size
from builder.cli.stages import told

if TYPE_CHECKING:
    from builder.export.record import Export, ExportedModel

MODELS = ("model", "fold", "precision", "max diff", "equal", "score delta", "size", "ms/sample")
LADDER = ("against the source", "step", "view", "batch", "max diff", "equal", "score delta")
PRICES = ("price", "backend", "device", "load", "batch", "first call", "ms/sample", "p99", "memory")


@app.command()
def export(name: Name, json: Json = False) -> None:
    """Export every fold, compare it with its source, and price it.

    It becomes ONNX or TorchScript; the price is in seconds. An export whose score or probabilities are not those of its source
    is refused, with the layer where the difference starts.

    Example: kkb export digits
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        exports = pipeline.export(kernel)
    rows = pipeline.export_rows(exports)
    told(screen, kernel.fresh["export"], "export", ", ".join(kernel.workspace.show(e.folder) for e in exports.values()))
    screen.table("", MODELS, [_row(row) for row in rows], right=(1, 3, 4, 5, 6, 7))
    screen.table("", LADDER, _ladder(exports.values()), right=(4, 5, 6))
    screen.table("", PRICES, _prices(exports.values()), right=(3, 4, 5, 6, 7, 8))
    for note in dict.fromkeys(note for export in exports.values() for model in export.models for note in model.notes):
        screen.say(f"  {note}")
    screen.say(f"next: kkb plan {name}")
    screen.result({"fresh": kernel.fresh["export"], "models": rows})


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    batch = max(row["ms_per_sample"], key=int, default="")
    return (
        row["name"],
        row["fold"],
        row["precision"],
        f"{row['max_abs_diff']:.1e}",
        f"{row['argmax_equal']:.2%}",
        number(row["score_delta"]),
        size(row["bytes"]),
        f"{row['ms_per_sample'][batch]:.3f}" if batch else "-",
    )


def _ladder(exports: Iterable[Export]) -> list[tuple[object, ...]]:
    """One row per model, step, view and batch: the worst of its folds."""
    worst: dict[tuple[str, str, str, str], list[Any]] = {}
    for export in exports:
        for model in export.models:
            for rung in model.ladder:
                sizes = "".join(f" {axis} {length}" for axis, length in rung.sizes.items())
                worst.setdefault((model.name, rung.step, rung.view, f"{rung.batch}{sizes}"), []).append(rung)
    return [
        (
            *key,
            f"{max(rung.max_abs_diff for rung in rungs):.1e}",
            f"{min(rung.argmax_equal for rung in rungs):.2%}",
            number(min((r.score_delta for r in rungs if r.score_delta is not None), key=lambda d: -abs(d), default=None)),
        )
        for key, rungs in worst.items()
    ]


def _prices(exports: Iterable[Export]) -> list[tuple[object, ...]]:
    """One row per model, backend and batch; folds have equal graphs, so the first tells of all."""
    first: dict[str, ExportedModel] = {}
    for export in exports:
        for model in export.models:
            first.setdefault(f"{export.version}:{model.name}", model)
    return [
        (
            f"{name} at {price.size}" if price.size else name,
            price.backend,
            price.device,
            f"{price.load_ms:.0f} ms",
            batch,
            f"{spent['first_ms']:.1f} ms",
            f"{spent['median_ms']:.3f}",
            f"{spent['p99_ms']:.3f}",
            f"{price.peak_mb:.0f} MB",
        )
        for name, model in first.items()
        for price in model.prices
        for batch, spent in price.batch.items()
    ]
