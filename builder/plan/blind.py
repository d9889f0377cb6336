"""The order of units when nobody knows what they are worth: weights without a single row that they did not see.

Pure arithmetic. Equal weights and no temperature, the cheapest family first: with nothing measured, the average that most samples
get is the one that costs least. Nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from builder.plan.order import Family, Order, Step

UNKNOWN = "no row was left out by the models, so scores, gains and weights are unknown: equal weights, the cheapest first"


def order(families: Sequence[Family]) -> Order:
    """Every fold of every family: first one of each, cheapest first, then the next of each."""
    cheapest = sorted(range(len(families)), key=lambda f: (families[f].seconds, f))
    units = [
        (family, families[family].folds[depth])
        for depth in range(max(len(family.folds) for family in families))
        for family in cheapest
        if depth < len(families[family].folds)
    ]
    steps = tuple(
        Step(family, fold, (1.0 / count,) * count, 1.0, float("nan"), 0.0) for count, (family, fold) in enumerate(units, start=1)
    )
    return Order(steps, (UNKNOWN,), np.empty(0))
