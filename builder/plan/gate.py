"""The last rung of the parity ladder: the plan's blend of the exports against the same blend of their sources.

Expects: a plan and the members that it was made from.
Produces: GateError when the ensemble lost more score than kernel.toml allows.
Never: judges a view that the sources were not asked for: what is not known is no loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder.errors import GateError
from builder.export import record as exported
from builder.plan.deciding import answered, pooled, used_by
from builder.train import record as trained

if TYPE_CHECKING:
    from builder.config import Config
    from builder.metrics import Metric
    from builder.plan.members import Joined
    from builder.runtime.contract import Plan


def refuse_lost(config: Config, made: Plan, together: Joined, metric: Metric) -> None:
    """Raise GateError when the plan's blend of exports scores worse than that of sources, by more than is allowed."""
    used = used_by(made, together)
    sources = {}
    for at in set(used):
        member, view = together.origin[at]
        path = member.version.oof(member.model.name, view)
        if not path.is_file():  # a view that was asked for after the training
            return
        sources[at] = np.load(path)[together.places[at]]
    whole = answered(together.oof[used])
    if not whole.any():
        return
    before, after = (pooled(made, [array[at][whole] for at in used]) for array in (sources, together.oof))
    y, heads = together.y[whole], made.answer.parts
    rung = exported.ensemble(before, after, metric, y, heads)
    allowed = trained.bearable(config.export.max_score_drop, metric, metric.or_none(y, before) or 0.0, heads)
    if rung.score_delta is not None and -metric.gain(rung.score_delta, 0.0) > allowed:
        raise GateError(
            "the ensemble of the exports lost score against that of their sources",
            found=f"{metric.name} {rung.score_delta:+.5f} on {rung.rows} rows, answers differ by {rung.max_abs_diff:.1e}",
            expected=f"a loss of at most {allowed:g}",
            remedy='set export.precision = "fp32", or export.max_score_drop if the loss is worth it',
        )
