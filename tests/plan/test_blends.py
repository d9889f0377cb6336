"""Blends on request: data that gives the notebook's answers, and honest scores."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import metrics
from builder.errors import UserError
from builder.plan import blend, blends

from .arrays import World

LOGLOSS, ACCURACY = metrics.get("logloss"), metrics.get("accuracy")
UNITS = [(1, 0), (0, 2), (1, 1), (2, 0), (0, 0)]


def literal(kind, p, table, known):
    """The formulas of the contract, spelt out unit by unit."""
    shape = p[0].shape
    total = np.zeros(shape)
    for unit, (q, weight) in enumerate(zip(p.astype(float), table.weights, strict=True)):
        if kind in {"mean", "weighted"}:
            total += weight * q
        elif kind == "geometric":
            total += weight * np.log(np.maximum(q, 1e-12))
        elif kind == "stack":
            total += weight * np.log(np.maximum(q, 1e-6))
        elif kind == "vote":
            total += weight * np.eye(shape[1])[q.argmax(axis=1)] + weight * q / (len(p) + 1)
        else:
            for (row, label), value in np.ndenumerate(q):
                some = np.array(known[unit][label])
                total[row, label] += weight * ((some < value).mean() + (some <= value).mean()) / 2
    if kind == "rank":
        total += 1e-12
    elif kind in {"geometric", "stack"}:
        total = np.exp(total + (np.array(table.shift) if kind == "stack" else 0))
    total /= total.sum(axis=1, keepdims=True)
    raised = total ** (1 / table.temperature)
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("kind", blends.KINDS)
def test_every_prefix_is_data_that_gives_the_answers_of_the_contract(kind):
    world = World(1, (1.0, 1.5, 1.8), rows=300)
    tables = blends.prefix_tables(kind, world.oof, world.y, UNITS, world.fold, LOGLOSS)
    known = blends.references(world.oof)
    for count, table in enumerate(tables, start=1):
        some = UNITS[:count]
        p = np.stack([world.test[f, k, :40] for f, k in some])
        ours = replace(table, references=tuple(known[f] for f, _ in some) if kind == "rank" else ())(p)
        np.testing.assert_allclose(ours, literal(kind, p, table, [known[f] for f, _ in some]), atol=1e-9)
        assert len(table.weights) == count
        assert (table.shift != ()) == (kind == "stack")
        if kind != "stack":
            assert sum(table.weights) == pytest.approx(1)
            assert min(table.weights) >= 0
        for family in {f for f, _ in some}:
            assert len({w for w, (f, _) in zip(table.weights, some, strict=True) if f == family}) == 1


@pytest.mark.parametrize("kind", blends.KINDS)
def test_the_last_prefix_is_the_fitted_blend_with_its_cross_fitted_score(kind):
    world = World(3, (1.0, 1.5, 1.8), rows=300)
    units = [(0, 0), (1, 0), (2, 0)]
    table = blends.prefix_tables(kind, world.oof, world.y, units, world.fold, LOGLOSS)[-1]
    whole = blends.fit(kind, world.oof, world.y)
    assert (table.weights, table.temperature, table.shift) == (whole.weights, whole.temperature, whole.shift)
    assert table.score == blends.cross_fitted(kind, world.oof, world.y, world.fold, LOGLOSS).score


def test_references_are_few_ascending_and_spread_over_all_rows():
    world = World(0, (1.0, 2.0), rows=900)
    known = blends.references(world.oof)
    assert [len(label) for family in known for label in family] == [blends.QUANTILES] * 6
    for family, p in zip(known, world.oof, strict=True):
        for label, some in enumerate(family):
            assert list(some) == sorted(some)
            assert (some[0], some[-1]) == pytest.approx((p[:, label].min(), p[:, label].max()), rel=1e-5)
            ranks = blends.ranks(p[None].astype(float), (family,))[0, :, label]
            assert np.quantile(ranks, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.02)


@settings(max_examples=6)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(blends.KINDS))
def test_blends_answer_with_probabilities_and_honestly(seed, kind):
    world = World(seed, (1.0, 1.5), rows=200)
    found = blends.cross_fitted(kind, world.oof, world.y, world.fold, LOGLOSS)
    np.testing.assert_allclose(found.answers.sum(axis=1), 1)
    lied = np.where(world.fold == 0, (world.y + 1) % 3, world.y)
    after = blends.cross_fitted(kind, world.oof, lied, world.fold, LOGLOSS)
    np.testing.assert_array_equal(after.answers[world.fold == 0], found.answers[world.fold == 0])


@pytest.mark.parametrize("kind", blends.KINDS)
def test_every_blend_of_two_is_better_than_the_worse_of_them(kind):
    world = World(2, (1.2, 1.6), rows=1500)
    found = blends.cross_fitted(kind, world.oof, world.y, world.fold, ACCURACY)
    assert found.score > min(ACCURACY(world.y, p) for p in world.oof)


def test_a_stack_is_at_the_optimum_and_as_good_as_the_weighted_mean():
    world = World(4, (1.2, 1.6, 1.8), rows=1500)
    stacked, weighted = (blends.cross_fitted(k, world.oof, world.y, world.fold, LOGLOSS).score for k in ("stack", "weighted"))
    assert stacked < 1.05 * weighted
    best = blends.fit("stack", world.oof, world.y)
    reached = blend.logloss(best(world.oof), world.y)
    for family in range(3):
        for step in (-0.1, 0.1):
            moved = replace(best, weights=tuple(w + step * (f == family) for f, w in enumerate(best.weights)))
            assert blend.logloss(moved(world.oof), world.y) > reached - 1e-3


@pytest.mark.parametrize("kind", blends.KINDS)
def test_one_row_one_unit_and_a_class_that_nobody_has_seen(kind):
    oof = np.full((1, 1, 3), 1 / 3)
    (table,) = blends.prefix_tables(kind, oof, np.zeros(1, np.int64), [(0, 0)], np.zeros(1, np.int64), LOGLOSS)
    assert np.isfinite([*table.weights, table.temperature, table.score]).all()
    world = World(5, (1.0, 1.5), rows=60)
    seen = world.y < 2
    found = blends.fit(kind, world.oof[:, seen], world.y[seen])(world.oof)
    assert np.isfinite(found).all()


def test_an_unknown_blend_is_named():
    with pytest.raises(UserError, match="unknown blend 'gmean'"):
        blends.fit("gmean", np.zeros((1, 2, 2)), np.zeros(2, np.int64))
    with pytest.raises(UserError, match="unknown blend 'gmean'"):
        blends.prefix_tables("gmean", np.zeros((1, 2, 2)), np.zeros(2, np.int64), [(0, 0)])
