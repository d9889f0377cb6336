"""Weights that were trained elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.cli import context
from builder.cli.app import Json, Name, app
from builder.cli.screen import Screen, number

if TYPE_CHECKING:
    from builder.train.record import Comparison, Version


@app.command()
def adopt(name: Name, json: Json = False) -> None:
    """Take weights trained elsewhere: a new weights/NAME/vNNN.

    Each [[model]] of kernel.toml says where its weights are (checkpoints), and which rows they did not see (folds, holdout or
    [cv]). Out-of-fold predictions are made anew with the preprocessing that travels; those that came with the weights (oof) are
    compared with them, and a difference is explained.

    Example: kkb adopt cassava
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        version = pipeline.adopt(kernel)
    fresh = kernel.fresh["adopt"]
    where = f"{kernel.workspace.show(version.folder)}, {version.rows} rows, {version.folds or 'unknown'} folds"
    screen.say(f"adopt: {where}" if fresh else f"adopt: up to date ({where})")
    rows = [(m.name, m.source, str(c.fold), c.origin, number(c.score)) for m in version.models for c in m.checkpoints]
    rows += [(m.name, m.source, "all", "", number(m.score)) for m in version.models if len(m.checkpoints) > 1]
    screen.table("", ("model", "source", "fold", "weights from", f"OOF {version.metric}"), rows, right=(2, 4))
    compared = [(m.name, m.compared) for m in version.models if m.compared]
    if compared:
        columns = (
            "model",
            "given",
            "rows",
            "largest diff",
            "mean diff",
            "equal",
            f"its {version.metric}",
            f"our {version.metric}",
        )
        screen.table("", columns, [_comparison(model, found) for model, found in compared], right=(2, 3, 4, 5, 6, 7))
    screen.say(f"next: kkb export {name}")
    screen.result(_record(version, fresh=fresh))


def _comparison(model: str, found: Comparison) -> tuple[object, ...]:
    return (
        model,
        found.file,
        found.rows,
        f"{found.largest:.1e}",
        f"{found.mean:.1e}",
        f"{found.argmax_equal:.2%}",
        number(found.given_score),
        number(found.own_score),
    )


def _record(version: Version, *, fresh: bool) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "version": version.version,
        "folder": str(version.folder),
        "fresh": fresh,
        "metric": version.metric,
        "models": [
            {
                "name": model.name,
                "source": model.source,
                "score": model.score,
                "folds": [{"fold": c.fold, "origin": c.origin, "score": c.score} for c in model.checkpoints],
                "compared": asdict(model.compared) if model.compared else None,
            }
            for model in version.models
        ],
        "notes": list(version.notes),
    }
