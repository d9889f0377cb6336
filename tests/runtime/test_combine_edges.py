"""Blends at their edges: one unit, one reference, ranks of nothing, weights that overflow, sums that round above 1."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from kkb_runtime import combine, contract
from kkb_runtime.contract import Head, Input, Prefix, Unit

LABEL = (Head("", "sigmoid", ("red",)),)


def unit(member, fold):
    return Unit(member, fold, "identity", "d", "f", "onnx", Input(4, 4), 1, 0.0, 0.0)


def plan(blend):
    units = [SimpleNamespace(member="v001:a", view=view, temperature=heat) for view, heat in (("identity", 1.0), ("hflip", 2.0))]
    tables = {"v001:a identity": [[0.1, 0.2], [0.3, 0.4]], "v001:a hflip": [[0.5], [0.6, 0.7]]}
    return SimpleNamespace(blend=blend, units=units, references=tables, answer=SimpleNamespace(parts=LABEL))


def test_a_plans_blend_has_its_temperatures_heads_and_references():
    found = combine.Blend.of(plan("geometric"))
    assert (found.kind, found.temperatures, found.references, found.heads) == ("geometric", (1.0, 2.0), (), LABEL)
    ranks = combine.Blend.of(plan("rank"))
    assert (ranks.kind, ranks.temperatures, ranks.heads) == ("rank", (1.0, 2.0), LABEL)
    assert [[table.tolist() for table in each] for each in ranks.references] == [[[0.1, 0.2], [0.3, 0.4]], [[0.5], [0.6, 0.7]]]


def test_the_usual_blend_is_one_that_plans_know():
    assert combine.WEIGHTED.kind == "weighted"
    assert combine.WEIGHTED.kind in contract.BLENDS


def test_one_unit_alone_is_a_whole_plan():
    p = [np.array([[0.25, 0.75], [np.nan, np.nan]], np.float32)]
    assert combine.reached(p).tolist() == [1, 0]
    assert combine.pool(p, combine.reached(p), [Prefix((1.0,))])[0].tolist() == [0.25, 0.75]


def test_rows_of_no_fold_are_answered_by_all_and_units_of_no_fold_answer_all():
    p = [np.array([[0.2, 0.8]], np.float32), np.array([[0.6, 0.4]], np.float32)]
    prefixes = [Prefix((1.0,)), Prefix((0.5, 0.5))]
    no_model_saw_it, held_out_in_7 = np.array([-2]), np.array([7])
    both = combine.pool_honest(p, np.array([2]), prefixes, [unit("a", 0), unit("b", 1)], no_model_saw_it)
    np.testing.assert_allclose(both, [[0.4, 0.6]], rtol=1e-6)
    whole = combine.pool_honest(p, np.array([2]), prefixes, [unit("a", 0), unit("b", -1)], held_out_in_7)
    np.testing.assert_allclose(whole, [[0.6, 0.4]], rtol=1e-6)


def test_rows_without_an_honest_unit_cost_no_warning():
    p = [np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = combine.pool_honest(p, np.array([1, 1]), [Prefix((1.0,))], [unit("a", 0)], np.array([7, 0]))
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0.5, 0.5]


def test_references_of_another_number_of_classes_are_refused():
    blend = combine.Blend("rank", (), ((np.array([0.5]),),))
    with pytest.raises(ValueError, match="zip"):
        combine.pool([np.array([[0.2, 0.8]], np.float32)], np.array([1]), [Prefix((1.0,))], blend)


def test_a_stack_of_large_weights_neither_overflows_nor_vanishes():
    p = [np.array([[0.5, 0.4, 0.1]], np.float32)]
    for weight in (5000.0, -5000.0):
        found = combine.pool(p, np.array([1]), [Prefix((weight,))], combine.Blend("stack"))
        np.testing.assert_allclose(found, [[1, 0, 0] if weight > 0 else [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_ranks_below_all_that_is_known_are_no_preference(temperature):
    known = np.array([0.4, 0.5, 0.6])
    blend, prefixes = combine.Blend("rank", (), ((known, known),)), [Prefix((1.0,), temperature)]
    found = combine.pool([np.array([[0.1, 0.2], [0.1, 0.9]], np.float32)], np.array([1, 1]), prefixes, blend)
    np.testing.assert_allclose(found[0], [0.5, 0.5])
    assert 0 <= found[1, 0] < 1e-3
    assert found[1].sum() == pytest.approx(1)


def test_a_single_reference_ranks_below_at_and_above():
    blend = combine.Blend("rank", (), ((np.array([0.5]),),), LABEL)
    found = combine.pool([np.array([[0.1], [0.5], [0.9]], np.float32)], np.ones(3, int), [Prefix((1.0,))], blend)
    assert found[:, 0].tolist() == [0.0, 0.5, 1.0]


def test_certain_labels_stay_certain_when_weights_round_above_1():
    draws = (np.random.default_rng(seed).dirichlet(np.ones(12)) for seed in itertools.count())
    weights = next(draw for draw in draws if sum(draw.tolist()) > draw.sum())
    prefixes = [Prefix(tuple(weights[:k]), 2.0) for k in range(1, 13)]
    p = [np.ones((1, 1), np.float32)] * 12
    assert combine.pool(p, np.array([12]), prefixes, combine.Blend(heads=LABEL)).tolist() == [[1.0]]
