"""Which families several heads want together: slopes that are slopes, seconds that are kept, and the same answer every time."""

import numpy as np
import pytest

from builder.plan.parts import Part
from builder.plan.prices import Prices
from builder.plan.together import SCREENED, Squares, Together, best, grown

ROWS = 300
NUMBERS, LABELS = "identity", "sigmoid"


def numbers(errors, spread=1.0, seed=0):
    """A head of one number whose families are off by as much as `errors` says."""
    draw = np.random.default_rng(seed)
    y = draw.normal(0, spread, (ROWS, 1))
    off = np.array([draw.normal(0, error, (ROWS, 1)) for error in errors])
    return Part(NUMBERS, y + off * spread, y, np.array([spread]))


def labels(skills, seed=0):
    draw = np.random.default_rng(seed)
    y = (draw.random((ROWS, 2)) < 0.4).astype(np.int64)
    p = [1 / (1 + np.exp(-(draw.normal(0, 1, y.shape) + skill * (2 * y - 1)))) for skill in skills]
    return Part(LABELS, np.array(p), y, np.ones(2))


def priced(*seconds, shared=()):
    return Prices(seconds, shared=shared)


def test_the_promise_of_numbers_is_the_slope_of_their_loss():
    part = numbers((1.0, 0.5, 0.8))
    squares, products = Squares(part), part.squares
    weights, step = squares.weights(frozenset((0, 2))), 1e-6
    for family, promised in enumerate(squares.promise(frozenset((0, 2)))):
        moved = (1 - step) * weights + step * np.eye(3)[family]
        assert promised == pytest.approx((weights @ products @ weights - moved @ products @ moved) / step, abs=1e-4)


def test_heads_promise_shares_of_what_their_prior_loses_and_none_takes_back_what_another_gives():
    parts = numbers((1.0, 0.5), spread=9.0), labels((3.0, 0.1))
    together, each, start = Together(parts), [Together([part]) for part in parts], frozenset((0,))
    promise = together.promise(start)
    own = [head._heads[0].promise(start) / part.unit for head, part in zip(each, parts, strict=True)]
    assert min(own[0][1], -own[1][1]) > 0, "the second family helps the first head only"
    assert promise[1] == pytest.approx(own[0][1])
    np.testing.assert_allclose([together.losses([start])[0]], [sum(head.losses([start])[0] for head in each)])


def test_an_order_grows_by_gain_per_second_while_that_helps_and_fits():
    together = Together([numbers((1.0, 0.5, 0.5, 4.0, 4.0))])
    order, loss = grown(together, priced(1.0, 1.0, 5.0, 1.0, 1.0), [0])
    assert order[:3] == [0, 1, 2], "the second is as good as the third and cheaper"
    assert loss == together.losses([frozenset(order)])[0]
    assert grown(together, priced(1.0, 1.0, 5.0, 1.0, 1.0), [0], budget=2.0)[0] == [0, 1]
    assert grown(together, priced(1.0, 1.0, 5.0, 1.0, 1.0), [0], budget=1.9)[0] == [0]


def test_what_is_held_pays_for_what_it_shares():
    together = Together([numbers((0.6, 0.5, 0.5))])
    decoding = ({"a": 8.0}, {"a": 8.0}, {"b": 8.0})
    order, _ = grown(together, priced(1.0, 1.0, 1.0, shared=decoding), [0], budget=10.0)
    assert order == [0, 1], "the second has its pixels already, the third would have to pay for its own"
    assert best(together, priced(1.0, 1.0, 1.0, shared=decoding), budget=8.5)[0] == 0, "alone, each pays for all: nothing fits"


def test_a_family_that_says_what_is_said_already_is_left_out_and_the_first_of_equals_is_taken():
    part = numbers((1.0, 0.5))
    twins = Part(NUMBERS, part.p[[0, 1, 1]], part.y, part.spread)
    assert grown(Together([twins]), priced(1.0, 1.0, 1.0), [0])[0] == [0, 1]


def test_the_best_order_starts_within_the_budget_its_last_second_included():
    together = Together([numbers((2.0, 0.1))])
    assert best(together, priced(1.0, 4.0), budget=4.0)[0] == 1
    assert best(together, priced(1.0, 4.0), budget=3.9)[0] == 0
    assert best(together, priced(2.0, 4.0), budget=1.0)[0] == 0, "nothing fits: the cheapest"
    decoding = ({"a": 2.0}, {"a": 2.0})
    assert best(together, priced(1.0, 3.0, shared=decoding), budget=4.0)[0] == 0, "pixels are paid by the first"


def test_of_many_families_the_promising_ones_are_tried():
    errors = (1.0, *[3.0] * (SCREENED + 4), 0.2)
    order, _ = grown(Together([numbers(errors)]), priced(*[1.0] * len(errors)), [0])
    assert order[1] == len(errors) - 1
