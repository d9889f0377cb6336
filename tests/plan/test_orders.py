"""Orders of several heads or numbers that are tried: the best that fits, Caruana's, cheap to dear; each of what helps."""

import numpy as np

from builder import metrics
from builder.plan import general
from builder.plan.course import Evidence
from builder.plan.prices import Family, Prices
from builder.runtime.contract import Head

from .test_general import World

ROWS = 200
NUMBER = Head("", "identity", ("x",), offset=(0.0,), spread=(1.0,))


def tried(errors, seconds, budget, folds=1):
    """(the ground, the lanes) of families that are off by `errors` float (families, rows)."""
    y = np.random.default_rng(9).normal(0, 3, ROWS)
    oof = (y + errors)[:, :, None].astype(np.float32)
    ground = general.Ground((NUMBER,), Evidence(oof, y[:, None], np.arange(ROWS) % 3), metrics.get("rmse"), equal=False)
    families = [Family(f"m{f}", price, tuple(range(folds))) for f, price in enumerate(seconds)]
    return ground, general._lanes(families, ground, Prices.of_families(families, 0), budget)


def test_the_best_families_that_fit_are_tried_where_neither_caruanas_order_nor_the_cheap_ones_come_to_them():
    """A cheap family that is off against the dear one, and of no use to the two between them."""
    draw = np.random.default_rng(0).normal(0, 1, (4, ROWS))
    errors = np.stack([-5 * draw[3] + 0.1 * draw[0], draw[1], draw[2], 0.6 * draw[3]])
    ground, lanes = tried(errors, (1.0, 2.0, 2.0, 5.0), 4.0)
    assert general.caruana(ground, np.arange(ROWS))[0] == 3
    held = {lane.subset(lane.reached(4.0)) for lane in lanes if lane.costs[0] <= 4.0}
    assert frozenset((1, 2)) in held
    assert min(held, key=ground.loss) == frozenset((1, 2))


def test_caruanas_order_is_tried_whatever_fits():
    draw = np.random.default_rng(0).normal(0, 1, (3, ROWS))
    ground, lanes = tried(draw * [[2.0], [1.0], [0.7]], (1.0, 4.0, 9.0), 1.0)
    order = general.caruana(ground, np.arange(ROWS))
    assert order[0] == 2, "what does not fit"
    assert tuple(order) in {lane.chain for lane in lanes}


def test_one_fold_of_every_family_from_cheap_to_dear_is_tried_of_those_too_that_caruana_leaves_out():
    """By what is won per second, the dearest would come second."""
    draw = np.random.default_rng(0).normal(0, 1, (3, ROWS))
    ground, lanes = tried(draw * [[9.0], [3.0], [0.7]], (1.0, 4.0, 4.2), 14.0, folds=3)
    assert 0 not in general.caruana(ground, np.arange(ROWS))
    assert (0, 1, 2) in {lane.chain[:3] for lane in lanes}


def test_where_labels_are_judged_a_family_helps_that_loses_less_and_a_twin_does_not():
    world = World("softmax", (1.0, 2.0), fresh=0)
    twins = Evidence(world.oof[[0, 1, 0]], world.y, world.fold)
    ground = general.Ground(world.heads, twins, metrics.of("accuracy", world.heads), equal=False)
    assert ground.helps(0, frozenset())
    assert ground.helps(1, frozenset((0,)))
    assert not ground.helps(2, frozenset((0,)))
