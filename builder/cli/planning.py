"""The planner on files: `kkb plan --units DIR` and `kkb simulate`. Arrays in, plan.json and arrays out, no kernel needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from builder.cli.app import Json, app
from builder.cli.screen import Screen, number

if TYPE_CHECKING:
    from builder.metrics import Metric
    from builder.plan.units import UnitsPlan

SPENT_DIGITS = 6
WIDEST = 100


def plan_units(
    folder: Path, *, metric: str, budget: str, rows: int, out: Path, blend: str, draw: Path | None, as_json: bool
) -> None:
    """Plan the units that `folder` describes, write `out`, and show the plan: what `kkb plan --units` does."""
    from builder import metrics
    from builder.errors import UserError, did_you_mean
    from builder.plan import planner, units
    from builder.plan.asked import reblended
    from builder.plan.blends import KINDS
    from builder.plan.units import UnitsPlan

    screen = Screen(as_json=as_json)
    known, seconds = metrics.get(metric, folder), _seconds(budget)  # one of the user's own lies beside the arrays
    if rows < 1:
        raise UserError("there are no rows to plan for", found=f"--rows {rows}", expected="1 or more", remedy="say how many")
    if blend not in {"auto", *KINDS}:
        raise UserError(f"unknown blend '{blend}'", expected=", ".join(("auto", *KINDS)), remedy=did_you_mean(blend, KINDS))
    _refuse_places(out, draw)
    offer = units.read(folder)
    _refuse_unscored(known, offer.evidence.y, offer.evidence.oof.shape[2], folder / "y.npy")
    with screen.working() as report:
        report(0, None, "planning")
        course = planner.course(offer.families, offer.evidence, known, budget_s=seconds, rows=rows, equal=blend == "mean")
    if blend in {"auto", "mean", "weighted"}:
        made = UnitsPlan(metric, rows, seconds, len(offer.families[0].folds), course)
    else:
        course, references = reblended(course, offer.evidence, blend, known)
        made = UnitsPlan(metric, rows, seconds, len(offer.families[0].folds), course, blend, references)
    units.save(out, made)
    _show(screen, made, out)
    if draw:
        from builder.plan import curve

        curve.save(draw, course.predicted, seconds, metric, fixed_list=course.fixed_list)
    screen.result(_summary(made))


@app.command()
def simulate(
    plan: Annotated[Path, typer.Argument(help="What kkb plan --units wrote.", show_default=False)],
    predictions: Annotated[Path, typer.Option(help="float .npy (families, folds, rows, classes).", show_default=False)],
    budget: Annotated[str, typer.Option(help="Seconds, or 9h, 90min, 45s.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Where the answers go: float .npy (rows, classes).")] = None,
    y: Annotated[Path | None, typer.Option(help="True classes, .npy (rows,), to score the answers.")] = None,
    metric: Annotated[str, typer.Option(help="Default: the plan's.")] = "",
    json: Json = False,
) -> None:
    """Play a plan on predictions that are there, by its own prices.

    Example: kkb simulate plan.json --predictions test.npy --budget 600 --y truth.npy --out probs.npy
    """
    import numpy as np

    from builder import metrics
    from builder.plan import playing, units

    screen = Screen(as_json=json)
    made, seconds = units.load(plan), _seconds(budget)
    known = metrics.get(metric or made.metric, plan.parent)
    table = _predictions(predictions, made)
    truth = None if y is None else _truth(y, table.shape[2], table.shape[3])
    played = playing.play(made.course, table, seconds, made.blend, made.references)
    answered = np.asarray(np.isfinite(played.answers).all(axis=1))
    score = None
    if truth is not None:
        _refuse_unscored(known, truth, table.shape[3], y)
        score = known.or_none(truth, np.where(answered[:, None], played.answers, 1.0 / table.shape[3]))
    if out:
        _save(out, played.answers)
    lengths, counts = np.unique(played.lengths, return_counts=True)
    per_prefix = {str(length): int(count) for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)}
    screen.say(f"simulate: spent {played.seconds:.4g} of {seconds:.4g} s, {known.name} {number(score)}, {len(answered)} rows")
    screen.table("", ("units", "rows"), list(per_prefix.items()), right=(0, 1))
    if not answered.all():
        screen.say(f"  {int((~answered).sum())} rows got no unit at all; they are NaN in the answers, and scored as equal odds")
    screen.result(
        {
            "spent_s": round(played.seconds, SPENT_DIGITS),
            "budget_s": seconds,
            "score": score,
            "metric": known.name,
            "rows": len(answered),
            "per_prefix": per_prefix,
        }
    )


def _seconds(text: str) -> float:
    """Seconds of `text`: a plain number, or a duration such as 9h."""
    from builder.config import seconds
    from builder.errors import UserError

    try:
        found = float(text) if text.replace(".", "", 1).replace("e", "", 1).replace("-", "", 1).isdigit() else seconds(text)
    except ValueError:
        found = float("nan")
    if not 0 < found < float("inf"):
        raise UserError("not a budget", found=repr(text), expected="seconds such as 600, or 9h, 90min, 45s", remedy="write that")
    return found


def _refuse_places(out: Path, draw: Path | None) -> None:
    """Raise UserError, before any work is done, for places where nothing can be written."""
    from builder.errors import UserError
    from builder.plan import curve

    for path in filter(None, (out, draw)):
        if path.is_dir():
            raise UserError("a folder, not a file", file=path, remedy="name a file, such as plan.json")
    if draw:
        curve.refuse_format(draw)


def _refuse_unscored(metric: Metric, y: Any, classes: int, file: Path | None) -> None:
    """Raise UserError when the rows have too few classes for the metric."""
    import numpy as np

    from builder.errors import UserError

    try:
        metric(y, np.full((len(y), classes), 1.0 / classes))
    except ValueError as error:
        raise UserError(
            f"'{metric.name}' cannot be told from these labels",
            file=file,
            found=f"{len(np.unique(y))} of {classes} classes in {len(y)} rows ({error})",
            expected="labels that this metric can score",
            remedy="use --metric logloss or accuracy, or more rows",
        ) from None


def _predictions(path: Path, made: UnitsPlan) -> Any:
    import numpy as np

    from builder.errors import UserError
    from builder.plan.units import array

    wanted = f"float ({len(made.course.families)} families, {made.folds} folds, rows, classes)"
    table = array(path, wanted)
    shaped = table.ndim == 4 and table.shape[:2] == (len(made.course.families), made.folds)
    if not shaped or not np.issubdtype(table.dtype, np.floating) or 0 in table.shape:
        raise UserError(
            "its shape is not that of the plan",
            file=path,
            found=f"{table.dtype} {table.shape}",
            expected=wanted,
            remedy="save it so",
        )
    if not all(np.isfinite(fold).all() for family in table for fold in family):
        raise UserError(
            "it has values that are no numbers", file=path, expected="probabilities", remedy="predict those rows again"
        )
    return table


def _truth(path: Path, rows: int, classes: int) -> Any:
    import numpy as np

    from builder.errors import UserError
    from builder.plan.units import array

    truth = array(path, f"integers ({rows},)")
    if truth.shape != (rows,):
        raise UserError(
            "its rows do not match the predictions", file=path, found=truth.shape, expected=(rows,), remedy="save the same rows"
        )
    codes = np.asarray(truth, dtype=np.int64)
    if codes.min() < 0 or codes.max() >= classes:
        raise UserError(
            "it names classes that the predictions do not have",
            file=path,
            found=f"{codes.min()} to {codes.max()}",
            expected=f"0 to {classes - 1}",
            remedy="number the classes as the predictions do",
        )
    return codes


def _save(path: Path, answers: Any) -> None:
    import numpy as np

    from builder.workspace import replacing

    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, answers)


def _summary(made: UnitsPlan) -> dict[str, Any]:
    """What `kkb plan --units --json` prints."""
    course = made.course
    return {
        "units": [
            {"model": course.families[s.family].name, "fold": s.fold, "view": "", "seconds": s.seconds, "gain": s.gain}
            for s in course.steps
        ],
        "predicted": [{"budget_s": p.budget_s, "score": p.score, "low": p.low, "high": p.high} for p in course.predicted],
        "rows": made.rows,
        "effort": {"kind": course.effort.kind, "stops": list(course.effort.stops)},
        "explained": [told.text for told in course.told],
        "notes": list(course.notes),
    }


def _show(screen: Screen, made: UnitsPlan, out: Path) -> None:
    """The plan as a table, the reasons, and the curve."""
    from builder.plan import curve

    course = made.course
    screen.say(f"plan: {out}, {len(course.steps)} units, effort: {course.effort.kind}, {made.rows} rows in {made.budget_s:g} s")
    spent, rows = 0.0, []
    for position, step in enumerate(course.steps, start=1):
        spent += step.seconds * made.rows + step.fixed
        name = course.families[step.family].name
        gain = "" if step.gain is None else f"{step.gain:+.5f}"
        rows.append((position, name, step.fold, f"{step.seconds * 1e3:.4g}", gain, number(step.score), f"{spent:.4g}"))
    columns = ("unit", "family", "fold", "ms/sample", "logloss won", made.metric, "s for all rows")
    screen.table("", columns, rows, right=(0, 2, 3, 4, 5, 6))
    for told in course.told:
        screen.say(f"  {told.family}: {told.text}")
    for note in course.notes:
        screen.say(f"  {note}")
    if course.predicted:
        width = min(screen.console.width, WIDEST)
        screen.say(curve.terminal(course.predicted, made.budget_s, made.metric, width=width, fixed_list=course.fixed_list))
