"""The stages at home: train, plan, render, rehearse."""

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
    """Train the models of kernel.toml: a new weights/NAME/vNNN with checkpoints and out-of-fold predictions.

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
    name: Annotated[str, typer.Argument(help="The kernel: a folder in kernels/.", show_default=False)] = "",
    units: Annotated[
        Path | None, typer.Option(help="Instead of a kernel: a folder with units.json, oof.npy, y.npy, fold.npy, unlabelled.npy.")
    ] = None,
    metric: Annotated[str, typer.Option(help="With --units: a metric's name.")] = "logloss",
    budget: Annotated[str, typer.Option(help="With --units: seconds, or 9h, 90min, 45s.")] = "",
    rows: Annotated[int, typer.Option(help="With --units: samples to predict.")] = 0,
    out: Annotated[Path, typer.Option(help="With --units: where the plan goes.")] = Path("plan.json"),
    blend: Annotated[str, typer.Option(help="With --units: auto or mean.")] = "auto",
    draw: Annotated[Path | None, typer.Option(help="A picture of score against minutes, .svg or .png.")] = None,
    json: Json = False,
) -> None:
    """Choose and order the units (model, fold, view) by gain per second: kernels/NAME/plan.json.

    Example: kkb plan digits

    Without a kernel: kkb plan --units arrays --metric logloss --budget 600 --rows 20000 --out plan.json
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
    """Render the notebook and kernel-metadata.json from the plan.

    Example: kkb render digits --check
    """
    from builder import pipeline

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        rendered = pipeline.render(kernel, context.owner(kernel, standin=standin, given=owner), check=check)
    fresh = kernel.fresh.get("render", False)
    told(screen, fresh, "render", f"{kernel.workspace.show(kernel.folder)}/notebook.ipynb, digest {rendered.digest[:12]}")
    screen.result({"digest": rendered.digest, "fresh": fresh, "notebook": str(kernel.folder / "notebook.ipynb")})


@app.command()
def rehearse(
    name: Name,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Size of the hidden set; default 400, at most the training rows.")
    ] = None,
    limit: Annotated[str, typer.Option(help="Wall clock, such as 20min; default: the competition's.")] = "",
    json: Json = False,
) -> None:
    """Run the rendered notebook as Kaggle would, on a hidden set made from training rows, and score it.

    Each row is answered only by models that did not see it.

    Example: kkb rehearse digits --rows 200 --limit 20min
    """
    from builder import pipeline
    from builder.errors import RunError

    screen = Screen(as_json=json)
    with context.working(screen, name) as kernel:
        found = pipeline.rehearse(kernel, rows=rows, limit_s=_seconds(limit))
    for what in found.not_enforced:
        screen.say(f"NOT enforced here: {what}")
    screen.say(f"enforced: {', '.join(found.enforced)}")
    screen.say(
        f"rehearse: {found.label}, score {number(found.score)} on {found.rows} rows, {found.seconds:.1f} s, "
        f"{found.peak_mb:.0f} MB memory, {found.disk_mb:.1f} MB output"
    )
    if found.forecast:
        cast = found.forecast
        screen.say(f"forecast: {cast['rows']:.0f} rows in {cast['low_s']:.0f} to {cast['high_s']:.0f} s on this machine")
    screen.result(found.record())
    if found.label != "Scored":
        first = next(finding for finding in found.findings if finding.severity == "must-fix")
        text = _with_log(found.folder, first.message)
        screen.refuse(RunError(f"the rehearsal ended in '{found.label}'", found=text, remedy=first.remedy))


def _with_log(folder: str, message: str) -> str:
    from builder.rehearse.stage import log_tail

    return message + "\n    " + log_tail(Path(folder), 20).replace("\n", "\n    ")


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
