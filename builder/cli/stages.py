"""The stages at home: train, plan, render."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from builder.cli import context
from builder.cli.app import Json, Name, Owner, Standin, app
from builder.cli.screen import Screen, number


def told(screen: Screen, fresh: bool, stage: str, text: str) -> None:
    screen.say(f"{stage}: {text}" if fresh else f"{stage}: up to date ({text})")


@app.command()
def train(
    name: Name,
    resume: Annotated[bool, typer.Option("--resume", help="Take over the finished folds of an interrupted training.")] = False,
    fold: Annotated[int | None, typer.Option(help="Train this fold only; --resume completes the version.")] = None,
    json: Json = False,
) -> None:
    """Train the models of kernel.toml: a new weights/NAME/vNNN. It holds checkpoints and out-of-fold predictions.

    Example: kkb train digits --resume
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        version = pipeline.train(kernel, resume=resume, fold=fold)
    if version is None:
        screen.say(f"train: fold {fold} is done; complete the version with: kkb train {name} --resume")
        screen.result({"version": None, "fold": fold})
        return
    told(
        screen,
        kernel.fresh["train"],
        "train",
        f"{kernel.workspace.show(version.folder)}, {version.rows} rows, {version.folds} folds",
    )
    rows = [(m.name, m.backbone, number(m.score), " ".join(number(c.score, 4) for c in m.checkpoints)) for m in version.models]
    screen.table("", ("model", "backbone", f"OOF {version.metric}", "folds"), rows, right=(2,))
    screen.say(f"next: kkb export {name}")
    screen.result(
        {
            "version": version.version,
            "folder": str(version.folder),
            "fresh": kernel.fresh["train"],
            "metric": version.metric,
            "models": [{"name": m.name, "score": m.score, "folds": [c.score for c in m.checkpoints]} for m in version.models],
        }
    )


@app.command()
def plan(
    name: Name = "",
    units: Annotated[Path | None, typer.Option(help="Instead of a kernel: a folder with units.json, oof.npy and so on.")] = None,
    metric: Annotated[str, typer.Option(help="With --units: a metric's name.")] = "logloss",
    budget: Annotated[str, typer.Option(help="With --units: seconds, or 9h, 90min, 45s.")] = "",
    rows: Annotated[int, typer.Option(help="With --units: samples to predict.")] = 0,
    out: Annotated[Path, typer.Option(help="With --units: where the plan goes.")] = Path("plan.json"),
    blend: Annotated[str, typer.Option(help="With --units: auto, mean, rank, vote, stack, ...")] = "auto",
    draw: Annotated[Path | None, typer.Option(help="A picture of score against minutes, .svg or .png.")] = None,
    json: Json = False,
) -> None:
    """Choose and order models, folds and views by gain per second. The result is kernels/NAME/plan.json.

    Example: kkb plan digits

    Without a kernel: kkb plan --units arrays --budget 600 --rows 20000
    """
    if units:
        from builder.cli.planning import plan_units

        plan_units(units, metric=metric, budget=budget, rows=rows, out=out, blend=blend, draw=draw, as_json=json)
        return
    _refuse_nameless(name, budget)
    from builder import pipeline
    from builder.cli import plan_view
    from builder.plan.stage import summary

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        planned = pipeline.plan(kernel)
    told(screen, kernel.fresh["plan"], "plan", f"{kernel.workspace.show(planned.path)}, {len(planned.plan.units)} units")
    plan_view.show(screen, planned)
    if draw:
        plan_view.draw(screen, planned, draw)
    screen.say(f"next: kkb bundle {name}{context.toward(kernel.workspace)}")
    screen.result(summary(planned))


def _refuse_nameless(name: str, budget: str) -> None:
    from builder.errors import UserError

    if not name:
        raise UserError("nothing to plan", expected="a kernel, or --units DIR", remedy="kkb plan --help")
    if budget:
        raise UserError(
            "a kernel is planned for its competition's limit",
            found=f"--budget {budget}",
            remedy="set competition.limit in kernel.toml",
        )


@app.command()
def render(
    name: Name,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when the committed files are stale.")] = False,
    standin: Standin = False,
    owner: Owner = "",
    json: Json = False,
) -> None:
    """Write the notebook and kernel-metadata.json from the plan.

    Example: kkb render digits --check
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        rendered = pipeline.render(kernel, context.owner(kernel, standin=standin, given=owner), check=check)
    fresh = kernel.fresh.get("render", False)
    told(screen, fresh, "render", f"{kernel.workspace.show(kernel.folder)}/notebook.ipynb, digest {rendered.digest[:12]}")
    screen.say(f"next: kkb rehearse {name}")
    screen.result({"digest": rendered.digest, "fresh": fresh, "notebook": str(kernel.folder / "notebook.ipynb")})


def _seconds(text: str) -> float | None:
    """Seconds of a duration option; None when it was not given."""
    from builder.config import seconds
    from builder.errors import UserError

    if not text:
        return None
    try:
        return seconds(text)
    except ValueError:
        raise UserError("not a duration", found=repr(text), expected="9h, 90min or 45s", remedy="write it like that") from None
