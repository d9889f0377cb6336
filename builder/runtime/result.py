"""What the notebook's last cell shows: the outcome as a table and a picture.

Expects: the content of run.json, and the progress curve.
Produces: a DataFrame and, where matplotlib is there, a PNG.
Never: computes anything that run.json does not hold.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Picture:
    """A PNG that notebooks display by themselves."""

    png: bytes

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
        """Units per sample against time, with the deadline; None when matplotlib is not there."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        clock = self.run["clock"]
        figure = Figure(figsize=(7.0, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.step([at for at, _ in self.curve], [units for _, units in self.curve], where="post")
        deadline = clock["limit_s"] - clock["reserve_s"]
        if self.curve[-1][0] > deadline / 4:
            axes.axvline(deadline, color="tab:red", linestyle="--", label="deadline")
            axes.legend(loc="lower right")
        axes.set(xlabel="seconds of the session", ylabel="units per sample", ylim=(0, max(1, len(self.run["units"])) * 1.05))
        axes.set_title(f"{self.rows} samples, {clock['spent_s']:.0f} s of {clock['limit_s']:.0f} s")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)
        return Picture(stream.getvalue())

    def _repr_html_(self) -> str:
        return str(self.table().to_html())
