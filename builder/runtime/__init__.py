"""The code that travels: it leaves home as a wheel and runs, offline and under a clock, on a machine we cannot reach.

Imports only the standard library, numpy, pandas and, late, in the modules that need them, PIL / cv2 / onnxruntime / torch /
openvino.
Imports among its own modules are relative, so that it runs under another name (`kkb_runtime`) than at home
(`builder.runtime`). It never imports the rest of `builder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .result import Result


def run(
    plan: Mapping[str, Any],
    datasets: Sequence[Mapping[str, Any]],
    hooks: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Run the plan on the test set under the clock and leave a submission: see `supervisor.run`, imported when called."""
    from .supervisor import run as supervise

    return supervise(plan, datasets, hooks, settings)
