"""Score against time, for eyes: a drawing in characters, an SVG or a PNG (matplotlib, imported late).

Expects: the predicted points of a plan, and optionally those of a rival list.
Produces: text, or a file by atomic rename.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builder import metrics
from builder.errors import UserError
from builder.plan.course import Point
from builder.workspace import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 12
LABELS = 4  # rows of a drawing in characters that say their score
NARROW, WIDE = 30, 160
FORMATS = (".svg", ".png", ".pdf")
TICKS_S = (
    *(unit * some for unit in (1e-3, 1e-2, 1e-1) for some in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 20.0),
    *(60.0 * some for some in (1, 2, 5, 10, 20)),
    *(3600.0 * some for some in (1, 2, 4, 8, 16, 32, 64, 128)),
)
MOST_TICKS = 9
PLAN, LIST, QUIET = "#1f6fb4", "#d9702b", "#707070"


def terminal(
    points: Sequence[Point],
    budget_s: float,
    metric: str,
    *,
    width: int = 80,
    fixed_list: Sequence[Point] = (),
    height: int = HEIGHT,
) -> str:
    """The curve in at most `width` characters: `*` the plan, `o` a fixed list, `|` the budget, `-` the full ensemble."""
    width = max(NARROW, min(width, WIDE))
    drawn = [*points, *fixed_list]
    scores = [point.score for point in points if np.isfinite(point.score)]
    if not scores:
        return f"{metric}: nothing is known to draw"
    low, high = min(scores), max(scores)
    places = _places((high - low) / (LABELS - 1))
    told = [f"{high + (low - high) * i / (LABELS - 1):.{places}f}" for i in range(LABELS)]
    sides = {round(i * (height - 1) / (LABELS - 1)): text for i, text in enumerate(told)}
    label = max(map(len, sides.values()))
    columns = width - label - 2
    seconds = np.array([point.budget_s for point in drawn] + [budget_s])
    start, end = np.log(seconds.min()), np.log(seconds.max())

    def column(budget: float) -> int:
        return int(np.rint((np.log(budget) - start) / max(end - start, 1e-9) * (columns - 1)))

    def row(score: float) -> int:  # what lies outside is drawn at the edge: a bad rival must not flatten the plan's own curve
        return int(np.clip(np.rint((high - score) / max(high - low, 1e-12) * (height - 1)), 0, height - 1))

    grid = [[" "] * columns for _ in range(height)]
    if np.isfinite(points[-1].score):
        grid[row(points[-1].score)] = ["-"] * columns
    for line in grid:
        line[column(budget_s)] = "|"
    for some, mark in ((fixed_list, "o"), (points, "*")):
        for point in some:
            if np.isfinite(point.score):
                grid[row(point.score)][column(point.budget_s)] = mark
    lines = [f"{sides.get(i, ''):>{label}} {''.join(line).rstrip()}" for i, line in enumerate(grid)]
    ends = f"{minutes(float(seconds.min()))}", f"{minutes(float(seconds.max()))}"
    lines.append(" " * (label + 1) + ends[0] + ends[1].rjust(columns - len(ends[0])))
    legend = f"* {_titled(metric)}   | budget {minutes(budget_s)}   - full ensemble" + ("   o fixed list" if fixed_list else "")
    return "\n".join([*lines, legend])


def save(path: Path, points: Sequence[Point], budget_s: float, metric: str, *, fixed_list: Sequence[Point] = ()) -> None:
    """Draw the curve into `path`, an SVG, PNG or PDF. The same curve gives the same bytes of SVG and PNG."""
    refuse_format(path)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib", file=path, remedy="pip install matplotlib") from None
    with mpl.rc_context({"svg.hashsalt": "kkb", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
        _draw(figure.add_subplot(), points, budget_s, metric, fixed_list)
        with replacing(path) as temporary:
            plain = {"Date": None} if path.suffix == ".svg" else None
            figure.savefig(temporary, format=path.suffix[1:], metadata=plain)


def refuse_format(path: Path) -> None:
    """Raise UserError for the name of a picture that `save` cannot make."""
    if path.suffix not in FORMATS:
        raise UserError("no such picture", file=path, found=path.suffix, expected=", ".join(FORMATS), remedy="name it so")


def _draw(axes: Axes, points: Sequence[Point], budget_s: float, metric: str, fixed_list: Sequence[Point]) -> None:
    x = [point.budget_s for point in points]
    band = axes.fill_between(x, [p.low for p in points], [p.high for p in points], color=PLAN, alpha=0.15, lw=0)
    band.set_label("its 90 % interval")
    axes.plot(x, [p.score for p in points], color=PLAN, marker="o", ms=4, lw=2, label="this plan", zorder=3)
    last = points[-1].score
    axes.axhline(last, color=QUIET, lw=1, label=f"full ensemble, {last:.4f}")
    axes.axvline(budget_s, color="black", lw=1, ls=":", label=f"budget, {minutes(budget_s)}")
    low, high = _bounds(points, fixed_list)
    if fixed_list:
        outside = any(not low <= p.score <= high for p in fixed_list)
        name = "fixed list, equal weights" + (" (partly outside)" if outside else "")
        listed = [p.budget_s for p in fixed_list], [p.score for p in fixed_list]
        axes.plot(*listed, color=LIST, ls="--", marker="s", ms=3.5, lw=1.3, label=name)
    if low < high:
        axes.set_ylim(low, high)
    axes.set_xscale("log")
    seconds = [*x, budget_s, *(p.budget_s for p in fixed_list)]
    ticks = _ticks(min(seconds), max(seconds))
    axes.set_xticks(ticks, [minutes(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="time for all rows", ylabel=_titled(metric))
    axes.grid(visible=True, color="#e6e6e6", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize="small", loc="best", framealpha=0.9)


def _titled(metric: str) -> str:
    known = metrics.OWN not in metric  # what a function of the user's own says is not known without its folder
    return f"{metric} (less is better)" if known and not metrics.get(metric).greater_is_better else metric


def _bounds(points: Sequence[Point], fixed_list: Sequence[Point]) -> tuple[float, float]:
    """From and to which score is drawn: a bad rival takes at most half of the picture."""
    own = np.array([value for p in points for value in (p.low, p.score, p.high) if np.isfinite(value)])
    if not len(own):
        return 0.0, 0.0
    reach = float(np.ptp(own)) or 1e-3
    every = np.append(own, [p.score for p in fixed_list if np.isfinite(p.score)])
    low, high = max(every.min(), own.min() - reach), min(every.max(), own.max() + reach)
    margin = 0.05 * (high - low)
    return float(low - margin), float(high + margin)


def _places(step: float) -> int:
    """Decimal places that tell scores `step` apart."""
    return int(np.clip(np.ceil(-np.log10(step)), 4, 8)) if step > 0 else 4


def _ticks(first: float, last: float) -> list[float]:
    """Round times in the range, few enough to be read."""
    found = [tick for tick in TICKS_S if first * 0.98 <= tick <= last * 1.02]
    while len(found) > MOST_TICKS:
        found = found[::2]
    return found if len(found) > 1 else [first, last]


def minutes(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120 and seconds != 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 and seconds != 3600 else f"{seconds / 3600:.3g} h"
