"""What the notebook's last cell shows: the outcome as a table and a picture.

Expects: the content of run.json, and the progress curve.
Produces: a DataFrame and, where matplotlib is there, a PNG.
Never: computes anything that run.json does not hold.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Picture:
    """A PNG that notebooks display by themselves."""

    png: bytes = field(repr=False)  # what shows text shows the name alone

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        submission: The file.
        rows: Test samples.
        run: The content of run.json.
        curve: (seconds of the session, units per sample so far), in order.
    """

    submission: Path
    rows: int
    run: Mapping[str, Any]
    curve: tuple[tuple[float, float], ...]

    def table(self) -> pd.DataFrame:
        """One row per unit: member, fold, view, samples done, seconds per sample."""
        import pandas as pd

        columns = ["member", "fold", "view", "samples", "seconds_per_sample"]
        return pd.DataFrame([{name: unit[name] for name in columns} for unit in self.run["units"]], columns=columns)

    def picture(self) -> Picture | None:
        """Units per sample, units and stages against time, with the deadline; None when matplotlib is not there."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        clock, timeline = self.run["clock"], self.run["timeline"]
        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        above.step([at for at, _ in self.curve], [units for _, units in self.curve], where="post")
        above.set(ylabel="units per sample", ylim=(0, max(1, len(self.run["units"])) * 1.05))
        above.set_title(f"{self.rows} samples, {clock['spent_s']:.0f} s of {clock['limit_s']:.0f} s")
        _draw_bars(below, timeline)
        deadline = clock["limit_s"] - clock["reserve_s"]
        if self.curve[-1][0] > deadline / 4:
            for axes in (above, below):
                axes.axvline(deadline, color="tab:red", linestyle="--", label="deadline")
            above.legend(loc="lower right")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)
        return Picture(stream.getvalue())

    def show(self) -> None:
        """The picture and the table, below the cell. Nothing in the rerun: nobody sees it, and drawing takes seconds."""
        if self.run["rerun"]:
            return
        try:
            from IPython.display import display
        except ImportError:
            sys.displayhook(self.table())  # where no notebook is
        else:
            display(*filter(None, [self.picture()]), self.table())  # type: ignore[no-untyped-call]

    def _repr_html_(self) -> str:
        return str(self.table().to_html())


def _draw_bars(axes: Any, timeline: Mapping[str, Any]) -> None:
    """One bar per unit, as dark as its share of the workers' time, and one line of stages below them."""
    spans = [(place, *span) for place, span in enumerate(timeline["units"], start=1) if span]
    most = max([1e-9, *(busy / max(1e-9, last - first) for _, first, last, busy in spans)])
    for place, first, last, busy in spans:
        dark = 0.25 + 0.75 * busy / max(1e-9, last - first) / most
        axes.barh(place, last - first, left=first, height=0.8, color="tab:blue", alpha=min(1.0, dark))
    for number, (name, begin, end) in enumerate(timeline["stages"]):
        axes.barh(0, end - begin, left=begin, height=0.8, color=f"C{1 + number % 9}", label=name)
    axes.set(xlabel="seconds of the session", ylabel="unit (0: stages)", ylim=(-0.6, len(timeline["units"]) + 0.6))
    if timeline["stages"]:
        axes.legend(loc="upper left", ncols=3, fontsize="x-small")
