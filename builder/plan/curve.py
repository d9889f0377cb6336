"""Score against minutes, for eyes: a drawing in characters, an SVG or a PNG (matplotlib, imported late).

Expects: the predicted points of a plan, and optionally those of a rival list.
Produces: text, or a file by atomic rename.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builder.errors import UserError
from builder.plan.course import Point
from builder.workspace import replacing

HEIGHT = 12
NARROW, WIDE = 30, 160
FORMATS = (".svg", ".png", ".pdf")


def terminal(
    points: Sequence[Point],
    budget_s: float,
    metric: str,
    *,
    width: int = 80,
    fixed_list: Sequence[Point] = (),
    height: int = HEIGHT,
) -> str:
    """The curve in at most `width` characters: `*` the plan, `o` a fixed list, `|` the budget, `-` everything."""
    width = max(NARROW, min(width, WIDE))
    drawn = [*points, *fixed_list]
    scores = [point.score for point in points if np.isfinite(point.score)]
    if not scores:
        return f"{metric}: nothing is known to draw"
    low, high = min(scores), max(scores)
    label = max(len(f"{low:.4f}"), len(f"{high:.4f}"))
    columns = width - label - 2
    seconds = np.array([point.budget_s for point in drawn] + [budget_s])
    start, end = np.log(seconds.min()), np.log(seconds.max())

    def column(budget: float) -> int:
        return int(np.rint((np.log(budget) - start) / max(end - start, 1e-9) * (columns - 1)))

    def row(score: float) -> int:  # what lies outside is drawn at the edge: a bad rival must not flatten the plan's own curve
        return int(np.clip(np.rint((high - score) / max(high - low, 1e-12) * (height - 1)), 0, height - 1))

    grid = [[" "] * columns for _ in range(height)]
    grid[row(points[-1].score)] = ["-"] * columns
    for line in grid:
        line[column(budget_s)] = "|"
    for some, mark in ((fixed_list, "o"), (points, "*")):
        for point in some:
            if np.isfinite(point.score):
                grid[row(point.score)][column(point.budget_s)] = mark
    sides = [f"{high:.4f}", *[""] * (height - 2), f"{low:.4f}"]
    lines = [f"{side:>{label}} {''.join(line).rstrip()}" for side, line in zip(sides, grid, strict=True)]
    ends = f"{minutes(float(seconds.min()))}", f"{minutes(float(seconds.max()))}"
    lines.append(" " * (label + 1) + ends[0] + ends[1].rjust(columns - len(ends[0])))
    legend = f"* {metric}   | budget {minutes(budget_s)}   - everything" + ("   o fixed list" if fixed_list else "")
    return "\n".join([*lines, legend])


def save(path: Path, points: Sequence[Point], budget_s: float, metric: str, *, fixed_list: Sequence[Point] = ()) -> None:
    """Draw the curve into `path`, an SVG, PNG or PDF. The same curve gives the same bytes of SVG."""
    if path.suffix not in FORMATS:
        raise UserError("no such picture", file=path, found=path.suffix, expected=", ".join(FORMATS), remedy="name it so")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib", file=path, remedy="pip install matplotlib") from None
    with mpl.rc_context({"svg.hashsalt": "kkb", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.add_subplot()
        x = [point.budget_s / 60 for point in points]
        axes.fill_between(x, [p.low for p in points], [p.high for p in points], alpha=0.15, lw=0, label="90 % interval")
        axes.plot(x, [p.score for p in points], marker=".", label="plan")
        if fixed_list:
            axes.plot(
                [p.budget_s / 60 for p in fixed_list], [p.score for p in fixed_list], "--", label="fixed list, equal weights"
            )
        axes.axhline(points[-1].score, color="gray", lw=0.8, label="everything")
        axes.axvline(budget_s / 60, color="black", lw=0.8, ls=":", label=f"budget {minutes(budget_s)}")
        axes.set(xscale="log", xlabel="minutes", ylabel=metric)
        axes.legend(fontsize="small")
        with replacing(path) as temporary:
            plain = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(temporary, format=path.suffix[1:], metadata=plain)


def minutes(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
