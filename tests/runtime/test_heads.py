"""Heads: what becomes of their outputs, how each is blended alone, what a plan must not say of them, how they are submitted."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from kkb_runtime import backends, combine, contract, heads, job, submission, worker
from kkb_runtime.contract import Answer, ContractError, Head, Input, Plan, Prefix, Share, Unit
from kkb_runtime.effort import doubt

from .test_contract import UNIT, raw

KIND = Head("kind", "softmax", ("cat", "dog"))
SIZE = Head("size", "softmax", ("s", "m", "l"))
TAGS = Head("", "sigmoid", ("red", "green", "blue"))
NUMBERS = Head("", "identity", ("price", "area"), (200000.0, -3.0), (5000.0, 0.5))
EXTREME = np.array([[-1e4, 0.0, 1e4], [-745.2, 710.0, 36.8], [88.0, -88.0, -104.0], [0.0, -0.0, 1e-300], [3e38, -3e38, 1.0]])


# -- outputs to answers ------------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x)) if x > -30 else math.exp(x)


def softmax(row):
    return [1 / math.fsum(math.exp(min(other - one, 709)) for other in row) for one in row]


def test_labels_are_sigmoids_of_any_logit():
    found = heads.answers(EXTREME, (TAGS,))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[sigmoid(x) for x in row] for row in EXTREME], rtol=1e-6, atol=1e-45)
    np.testing.assert_array_equal(heads.answers(EXTREME, (TAGS,)) >= 0.5, EXTREME >= 0)


def test_classes_are_softmaxes_of_any_logit():
    found = heads.answers(EXTREME, (SIZE,))
    np.testing.assert_allclose(found, [softmax(row) for row in EXTREME], rtol=1e-6, atol=1e-45)
    assert backends.softmax(EXTREME.astype(np.float32)).tobytes() == heads.answers(EXTREME.astype(np.float32), (SIZE,)).tobytes()


def test_numbers_are_outputs_in_the_targets_own_unit():
    logits = np.array([[0.0, 0.0], [1.0, -2.0], [-0.25, 1e6]])
    np.testing.assert_allclose(heads.answers(logits, (NUMBERS,)), [[200000, -3], [205000, -4], [198750, 499997]], rtol=1e-7)
    plain = Head("", "identity", ("price", "area"))
    assert heads.answers(logits, (plain,)).tolist() == logits.tolist()


def test_numbers_differ_in_units_of_their_spread_and_never_by_less_than_single_precision_tells():
    before = np.array([[0.25, 0.75, 200000.0, -3.0], [0.5, 0.5, 2e9, 1.0]], dtype=np.float32)
    after = before + np.array([[-0.01, 0.01, 50.0, 0.25], [0, 0, 0, 0]], dtype=np.float32)
    after[1, 2] = np.nextafter(before[1, 2], np.float32(np.inf))
    found = heads.apart(before, after, (KIND, NUMBERS))
    np.testing.assert_allclose(found, [[0.01, 0.01, 0.01, 0.5], [0, 0, 0, 0]], atol=1e-5)
    plain = Head("", "identity", ("price", "area"))
    np.testing.assert_allclose(heads.apart(before, after, (KIND, plain))[0], [0.01, 0.01, 50, 0.25], rtol=1e-3)
    assert np.isnan(heads.apart(before * np.nan, after, (KIND, NUMBERS))).all()


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_a_row_with_an_answer_that_is_not_finite_has_none(strange):
    """Of a sigmoid infinity is as good a logit as any."""
    logits = np.zeros((3, 4))
    logits[1, 3] = strange
    found = heads.answers(logits, (KIND, NUMBERS))
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    assert np.isnan(heads.answers(np.array([[1e38, 0.0]]), (NUMBERS,))).all()  # beyond float32
    certain = heads.answers(np.array([[strange, 0.0, 0.0]]), (TAGS,))
    assert np.isnan(certain).all() if math.isnan(strange) else certain.tolist() == [[float(strange > 0), 0.5, 0.5]]


def test_heads_side_by_side_are_each_head_alone():
    every = (KIND, TAGS, NUMBERS, SIZE)
    logits = np.random.default_rng(1).standard_normal((20, 10))
    found = heads.answers(logits, every)
    places = heads.slices(every)
    assert [(place.start, place.stop) for place in places] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    for head, place in zip(every, places, strict=True):
        assert found[:, place].tobytes() == heads.answers(logits[:, place], (head,)).tobytes()
    assert heads.answers(logits[:0], every).shape == (0, 10)


class Fixed(backends.Backend):
    """A model whose logits are known."""

    outputs = ("logits",)

    def __init__(self, logits):
        self.values, self.calls = np.asarray(logits, dtype=np.float32), 0

    def _outputs(self, feeds, names):
        self.calls += 1
        return {names[0]: self.values[: len(feeds)]}


def test_a_model_with_other_outputs_than_its_heads_is_to_blame_not_its_samples():
    model, bad = Fixed(np.zeros((4, 3))), {}
    assert model.run(np.zeros(4), (TAGS,)).tolist() == [[0.5] * 3] * 4
    assert model.run(np.zeros(4)).tobytes() == model.run(np.zeros(4), (SIZE,)).tobytes()
    model.calls = 0
    with pytest.raises(backends.OutputError, match=r"logits: found outputs of shape \(4, 3\), expected \(rows, 2\)"):
        worker.run(model, np.zeros(4), (NUMBERS,), np.arange(4), np.zeros((4, 2), np.float32), bad)
    assert (model.calls, bad) == (1, {})


def test_workers_are_told_the_heads(tmp_path):
    decided = Head("size", "softmax", ("s", "m"), decision={"steps": [{"kind": "argmax", "values": [1.0, 2.5]}]})
    unit = Unit("v001:a", 0, "identity", "d", "f", "onnxruntime", Input(4, 4), 1, 0.0, 0.0)
    told = job.Job((unit,), (("m.onnx",),), (KIND, decided, NUMBERS), "cpu", 1, 1, "", "c", {}, "v")
    job.save(tmp_path, told, [], [])
    assert job.load(tmp_path)[0] == told
    assert told.outputs == 6


def test_doubts_are_the_mean_over_heads():
    p = np.array([[0.9, 0.1, 0.5, 1.0, 0.2, 7.0, -7.0]])
    labels = 1 - (0.5 + 1.0 + 0.8) / 3
    assert doubt(p, (KIND, TAGS, NUMBERS))[0] == pytest.approx((0.1 + labels + 0.0) / 3)
    assert doubt(p[:, :2], (KIND,)).tobytes() == doubt(p[:, :2]).tobytes()
    assert doubt(p[:, 2:5], (TAGS,))[0] == pytest.approx(labels)


# -- blends ------------------------------------------------------------------------------------------------------------

HEATS = (1.0, 2.0, 0.5)
WEIGHTS = {"kind": ((1.0,), (0.25, 0.75), (0.2, 0.3, 0.5)), "size": ((1.0,), (0.5, 0.5), (0.0, 0.9, 0.1))}
TEMPERATURES = {"kind": (2.0, 1.0, 0.5), "size": (1.0, 3.0, 0.7)}
LINKS = [(link, blend) for link, blends in (("softmax", contract.BLENDS), ("sigmoid", ("weighted", "geometric", "rank")))
         for blend in blends] + [("identity", "weighted")]  # fmt: skip


def predictions(link, rows=60, outputs=5, seed=0):
    values = np.random.default_rng(seed).random((3, rows, outputs))
    if link == "identity":
        values = 1e5 + values
    elif link == "softmax":
        for place in heads.slices(parts(link)):
            values[..., place] /= values[..., place].sum(axis=2, keepdims=True)
    p = list(values.astype(np.float32))
    p[2][::3], p[1][::5], p[0][::7] = np.nan, np.nan, np.nan
    return p


def parts(link):
    return (Head("kind", link, ("a", "b")), Head("size", link, ("c", "d", "e")))


def prefixes(link, kind):
    """Prefixes of two heads, and those of each head alone."""
    shift = (0.1, -0.2, 0.3, 0.0, 0.4) if kind == "stack" else ()
    both, alone = [], {"kind": [], "size": []}
    for place in range(3):
        shares = []
        for name, own in (("kind", shift[:2]), ("size", shift[2:])):
            heat = 1.0 if link == "identity" else TEMPERATURES[name][place]
            shares.append(Share(WEIGHTS[name][place], heat))
            alone[name].append(Prefix(WEIGHTS[name][place], heat, None, own))
        mean = tuple(np.mean([share.weights for share in shares], axis=0).tolist())
        both.append(Prefix(mean, 1.0, None, shift, tuple(shares)))
    return both, alone


def references(outputs=5):
    return tuple(tuple(np.sort(np.random.default_rng(9 + unit).random((outputs, 50)), axis=1)) for unit in range(3))


def unit(member, fold, view="identity"):
    return Unit(member, fold, view, "d", "f", "onnxruntime", Input(4, 4), 1, 0.0, 0.0)


@pytest.mark.parametrize(("link", "kind"), LINKS)
def test_pooling_heads_is_pooling_each_head_alone(link, kind):
    p, (both, alone) = predictions(link), prefixes(link, kind)
    lengths = combine.reached(p)
    assert set(lengths.tolist()) == {0, 1, 2, 3}
    heats = HEATS if link != "identity" else ()
    known, units = references(), [unit("m", 0), unit("m", 1), unit("n", -1)]
    folds = np.arange(len(p[0])) % 3 - (np.arange(len(p[0])) % 4 == 3) * (np.arange(len(p[0])) % 3 + 2)
    assert {0, 1, 2, combine.UNKNOWN_FOLD} <= set(folds.tolist())
    blend = combine.Blend(kind, heats, known, parts(link))
    found = combine.pool(p, lengths, both, blend), combine.pool_honest(p, lengths, both, units, folds, blend)
    for head, place in zip(parts(link), heads.slices(parts(link)), strict=True):
        one = [values[:, place] for values in p]
        own = combine.Blend(kind, heats, tuple(each[place] for each in known), (head,))
        assert found[0][:, place].tobytes() == combine.pool(one, lengths, alone[head.name], own).tobytes()
        assert found[1][:, place].tobytes() == combine.pool_honest(one, lengths, alone[head.name], units, folds, own).tobytes()


@pytest.mark.parametrize("kind", contract.BLENDS)
def test_one_head_of_classes_is_what_there_was_before_heads(kind):
    p = predictions("softmax")
    lengths, shift = combine.reached(p), (0.1, -0.2, 0.3, 0.0, 0.4) if kind == "stack" else ()
    some = [Prefix(WEIGHTS["kind"][place], TEMPERATURES["kind"][place], None, shift) for place in range(3)]
    units, folds = [unit("m", 0), unit("m", 1), unit("n", -1)], np.arange(len(p[0])) % 2
    before = combine.Blend(kind, HEATS, references())
    now = combine.Blend(kind, HEATS, references(), heads.single("abcde"))
    assert combine.pool(p, lengths, some, now).tobytes() == combine.pool(p, lengths, some, before).tobytes()
    honest = [combine.pool_honest(p, lengths, some, units, folds, blend).tobytes() for blend in (before, now)]
    assert honest[0] == honest[1]


def bent(p, heat):
    a = 1 / heat
    return p**a / (p**a + (1 - p) ** a)


def label_by_hand(kind, p, weights, heat, known):
    own = [bent(float(value), heat) for value, heat in zip(p, HEATS, strict=False)]
    if kind == "geometric":
        own = [min(max(value, 1e-12), 1 - 1e-12) for value in own]
        total = sigmoid(sum(w * math.log(value / (1 - value)) for w, value in zip(weights, own, strict=True)))
    elif kind == "rank":
        ranks = [((k < value).sum() + (k <= value).sum()) / (2 * len(k)) for k, value in zip(known, own, strict=False)]
        total = sum(w * rank for w, rank in zip(weights, ranks, strict=True))
    else:
        total = sum(w * value for w, value in zip(weights, own, strict=True))
    return bent(total, heat)


@pytest.mark.parametrize("kind", ["weighted", "geometric", "rank"])
def test_every_blend_of_labels_is_its_formula_in_every_row_alone(kind):
    p = predictions("sigmoid")
    p[0][1], p[1][1], p[2][1] = [0, 1, 0, 1, 0.5], [0, 1, 1, 0, 1], [0, 1, 0, 1, 0]  # labels that somebody is sure of
    lengths, known = combine.reached(p), references()
    some = [Prefix(WEIGHTS["kind"][place], TEMPERATURES["kind"][place]) for place in range(3)]
    blend = combine.Blend(kind, HEATS, known, (Head("", "sigmoid", tuple("abcde")),))
    found = combine.pool(p, lengths, some, blend)
    for row, length in enumerate(lengths.tolist()):
        if not length:
            assert np.isnan(found[row]).all()
            continue
        weights, heat = some[length - 1].weights, some[length - 1].temperature
        hand = [
            label_by_hand(kind, [p[i][row, label] for i in range(length)], weights, heat, [each[label] for each in known])
            for label in range(5)
        ]
        np.testing.assert_allclose(found[row], hand, rtol=1e-9, atol=1e-12)
        alone = combine.pool([values[[row]] for values in p], lengths[[row]], some, blend)
        assert alone.tobytes() == found[[row]].tobytes()
    assert ((found >= 0) & (found <= 1))[lengths > 0].all()


def test_temperature_1_leaves_labels_as_they_are():
    p = np.array([[0.0, 1.0, 0.3], [1e-38, 0.99999994, 0.5]], dtype=np.float32)
    blend = combine.Blend(heads=(TAGS,))
    found = combine.pool([p], np.array([1, 1]), [Prefix((1.0,))], blend)
    assert found.tobytes() == p.astype(np.float64).tobytes()
    for heat in (0.001, 0.3, 3.0, 1000.0):
        found = combine.pool([p], np.array([1, 1]), [Prefix((1.0,), heat)], blend)
        assert found[0, :2].tolist() == [0.0, 1.0]
        assert found[1, 2] == 0.5
        assert np.isfinite(found).all()


def test_numbers_are_their_weighted_mean_however_large_they_are():
    p = [np.full((2, 2), 3e7, dtype=np.float32), np.full((2, 2), 3e7 + 8, dtype=np.float32)]
    rounded = (0.3333333, 0.6666666)  # sums to 1 as far as a plan must
    found = combine.pool(p, np.array([1, 2]), [Prefix((1.0,)), Prefix(rounded)], combine.Blend(heads=(NUMBERS,)))
    assert found[0].tolist() == [3e7, 3e7]
    np.testing.assert_allclose(found[1], 3e7 + 8 * 2 / 3, atol=1e-5)


def test_a_plans_blend_knows_its_heads():
    assert combine.Blend.of(Plan.from_json(raw())).heads == heads.single(("a", "b"))
    assert combine.Blend.of(Plan.from_json(two_heads())).heads == Plan.from_json(two_heads()).answer.heads


# -- plans -------------------------------------------------------------------------------------------------------------


def head(name, link, *classes, **more):
    return {"name": name, "link": link, "classes": list(classes), **more}


def share(*weights, temperature=1.0):
    return {"weights": list(weights), "temperature": temperature}


TWO = [head("kind", "softmax", "a", "b"), head("size", "softmax", "s", "m", "l")]
SHARED = [
    {"weights": [1.0], "shares": [share(1.0), share(1.0, temperature=2.0)]},
    {"weights": [0.4, 0.6], "shares": [share(0.5, 0.5), share(0.3, 0.7)]},
]


def answered(form, columns, classes, some):
    return {"file": "s.csv", "id": "id", "form": form, "columns": columns, "classes": classes, "heads": some}


def two_heads(some=TWO, prefixes=SHARED, form="heads", columns=("size", "kind"), **changes):
    classes = [label for each in TWO for label in each["classes"]]
    answer = answered(form, list(columns), classes, some) | changes.pop("answer", {})
    return raw(answer=answer, prefixes=prefixes, prior=[0.5, 0.5, 0.2, 0.3, 0.5], **changes)


def labels(form="columns", columns=("a", "b"), **changes):
    answer = answered(form, list(columns), ["a", "b"], [head("", "sigmoid", "a", "b")]) | changes.pop("answer", {})
    return raw(answer=answer, **changes)


def numbers(form="numbers", columns=("a", "b"), one=None, **changes):
    some = [head("", "identity", "a", "b", offset=[1e6, 0.0], spread=[10.0, 2.0]) | (one or {})]
    return raw(answer=answered(form, list(columns), ["a", "b"], some) | changes.pop("answer", {}), **changes)


def priced(form="heads", columns=("kind", "price"), prefixes=None, **changes):
    some = [head("kind", "softmax", "a", "b"), head("price", "identity", "price", offset=[1e6], spread=[10.0])]
    answer = answered(form, list(columns), ["a", "b", "price"], some) | changes.pop("answer", {})
    plain = [{"weights": one["weights"], "shares": [share(*one["weights"])] * 2} for one in HALF]
    return raw(answer=answer, prefixes=prefixes or plain, prior=[0.5, 0.5, 1e6], **changes)


def steps(kind, *values, **more):
    return {"steps": [{"kind": kind, "values": list(values), **more}]}


HALF = [{"weights": [1.0]}, {"weights": [0.5, 0.5]}]
DECIDED = [{**TWO[0], "decision": steps("threshold", 0.3)}, {**TWO[1], "decision": steps("cuts", 0.5, 1.5)}]
RANKS = {"v001:a identity": [[0.1, 0.9], [0.1, 0.9]]}
KEYED = {"key_column": "id", "key": "{id}_{class}"}


@pytest.mark.parametrize(
    "plan",
    [
        two_heads(),
        two_heads(DECIDED),
        two_heads(form="columns", columns=("k_a", "k_b", "s_s", "s_m", "s_l")),
        two_heads(blend="geometric"),
        two_heads(form="long-heads", columns=("value",), answer=KEYED),
        two_heads(DECIDED, form="long-heads", columns=("value",), answer=KEYED),
        priced(),
        priced(form="long-heads", columns=("value",), answer=KEYED),
        labels(),
        labels("strings", ("tags",), answer={"decision": steps("thresholds", 0.3, 0.4)}),
        labels("long", ("p",), answer=KEYED),
        labels(blend="geometric"),
        labels(blend="rank", references=RANKS),
        labels(prefixes=[{"weights": [1.0], "temperature": 2.0}, HALF[1]]),
        numbers(),
        numbers(one={"offset": [], "spread": []}),
        numbers(answer={"decision": {"steps": [{"kind": "clip", "values": [0.0, 9.0, 0.0, 9.0]}]}}),
        numbers("long", ("y",), answer=KEYED),
    ],
)
def test_a_plan_with_heads_is_read_back_as_it_was_written(plan):
    read = Plan.from_json(plan)
    told = json.loads(json.dumps(read.to_json()))
    assert Plan.from_json(told) == read
    assert told["answer"]["heads"]
    assert all(("shares" in prefix) == (len(read.answer.heads) > 1) for prefix in told["prefixes"])


def test_plans_of_one_class_per_row_say_nothing_of_heads():
    told = json.dumps(Plan.from_json(raw()).to_json())
    assert "heads" not in told
    assert "shares" not in told


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        (two_heads([TWO[0], head("size", "probit", "s", "m", "l")]), "the head 'size' has link 'probit'; known are softmax"),
        (two_heads([TWO[0], head("size", "softmax", "s", "m")]), "heads of [2, 2] outputs, but 5 classes"),
        (
            two_heads([head("", "softmax", *"abcde")], HALF, "columns", tuple("abcde")),
            "the heads name other classes than the answer",
        ),
        (two_heads([TWO[0], head("size", "softmax", "s", "m", "m")]), "the head 'size' has the outputs ['s', 'm', 'm']"),
        (two_heads([*TWO, head("none", "softmax")]), "2 shares, expected 3"),
        (two_heads([TWO[0], {**TWO[1], "name": "kind"}]), "heads called ['kind', 'kind']"),
        (two_heads([{**TWO[0], "name": ""}, TWO[1]]), "heads called ['', 'size']"),
        (two_heads(prefixes=HALF), "prefix 1 has 0 shares, expected 2"),
        (two_heads(prefixes=[SHARED[0], {**SHARED[1], "shares": [share(0.5, 0.5)]}]), "prefix 2 has 1 shares, expected 2"),
        (
            two_heads(prefixes=[SHARED[0], {**SHARED[1], "shares": [share(0.5, 0.5), share(1.0)]}]),
            "the share of the head 'size' in prefix 2 has 1 weights",
        ),
        (
            two_heads(prefixes=[SHARED[0], {**SHARED[1], "shares": [share(0.5, 0.5), share(1.5, -0.5)]}]),
            "head 'size' in prefix 2 has weights that are not a convex",
        ),
        (
            two_heads(prefixes=[{**SHARED[0], "shares": [share(1.0), share(1.0, temperature=0)]}, SHARED[1]]),
            "head 'size' in prefix 1 has temperature 0",
        ),
        (two_heads(form="labels", columns=("kind",)), "the form 'labels' of 2 heads of link softmax"),
        (two_heads(columns=("size", "sort")), "columns ['size', 'sort'] of heads ['kind', 'size']"),
        (two_heads(columns=("size", "kind", "kind")), "found columns size, kind, kind of heads kind, size"),
        (two_heads([{**TWO[0], "decision": steps("cuts", 0.5, 1.5)}, TWO[1]]), "'cuts' is for 3 outputs, found 2"),
        (two_heads([{**TWO[0], "decision": steps("round", 0.5)}, TWO[1]]), "the form 'heads' needs one class for each row"),
        (two_heads([{**TWO[0], "decision": steps("wish")}, TWO[1]]), "the head 'kind': decision: unknown step 'wish'"),
        (two_heads(answer={"decision": steps("argmax")}), "one decision for 2 heads"),
        (two_heads(DECIDED, form="columns", columns=tuple("abcde")), "the head 'kind' has a decision, and the form 'columns'"),
        (raw(answer={**raw()["answer"], "form": "heads"}), "the form 'heads' with 0 heads"),
        (two_heads(form="long-heads", columns=("value",)), "the form 'long-heads' with the key ''"),
        (priced(form="long-heads", answer=KEYED), "the form 'long-heads' with the columns ['kind', 'price'], expected one"),
        (priced(blend="geometric"), "a blend 'geometric' of a head of link 'identity'"),
        (priced(form="columns", columns=("a", "b", "price")), "the form 'columns' of 2 heads of link"),
        (raw(prefixes=[{"weights": [1.0], "shares": [share(1.0)]}, HALF[1]]), "prefix 1 has 1 shares, expected 0"),
        (labels("labels", ("tags",)), "the form 'labels' of 1 heads of link sigmoid"),
        (labels("numbers"), "the form 'numbers' of 1 heads of link sigmoid"),
        (labels("probability", ("a",)), "the form 'probability' of 1 heads of link sigmoid"),
        (labels(blend="vote"), "a blend 'vote' of a head of link 'sigmoid'"),
        (
            labels(blend="stack", prefixes=[{"weights": [2.0], "shift": [0, 1]}, {"weights": [-1.0, 2.0], "shift": [0, 1]}]),
            "a blend 'stack' of a head of link 'sigmoid'",
        ),
        (labels(answer={"decision": steps("argmax")}), "the answer of link 'sigmoid' is decided by 'argmax'"),
        (labels(answer={"decision": steps("noise", 0.1, 1.0)}), "the answer of link 'sigmoid' is decided by 'noise'"),
        (labels(answer={"decision": steps("thresholds", 0.5)}), "'thresholds' is for 1 outputs, found 2"),
        (labels("strings", ("tags",), answer={"decision": steps("rank")}), "needs thresholds or the top classes"),
        (
            labels("strings", ("tags",), answer={"classes": ["a b", "c"], "heads": [head("", "sigmoid", "a b", "c")]}),
            "the form 'strings' with the label 'a b'",
        ),
        (labels(columns=("a",)), "found 1 columns for 2 outputs"),
        (labels(answer={"heads": [head("", "sigmoid", "a", "b", offset=[0, 0], spread=[1, 1])]}), "2 offsets and 2 spreads"),
        (
            labels(answer={"heads": [head("", "sigmoid", "a", "b", decision=steps("thresholds", 0.5, 0.5))]}),
            "its only head has a decision",
        ),
        (numbers("labels", ("a",)), "the form 'labels' of 1 heads of link identity"),
        (numbers("columns"), "the form 'columns' of 1 heads of link identity"),
        (numbers(blend="geometric"), "a blend 'geometric' of a head of link 'identity'"),
        (numbers(blend="rank", references=RANKS), "a blend 'rank' of a head of link 'identity'"),
        (
            numbers(prefixes=[{"weights": [1.0], "temperature": 2.0}, HALF[1]]),
            "prefix 1 has temperature 2.0 of a head of link 'id",
        ),
        (numbers(units=[{**UNIT, "temperature": 0.5}, UNIT]), "unit 1 has temperature 0.5, and its answers are numbers"),
        (numbers(one={"offset": [0.0], "spread": [1.0]}), "has 2 outputs, 1 offsets and 1 spreads"),
        (numbers(one={"offset": []}), "0 offsets and 2 spreads"),
        (numbers(one={"spread": [1.0, 0.0]}), "a spread that is not above 0: [1.0, 0.0]"),
        (numbers(one={"spread": [1.0, -2.0]}), "a spread that is not above 0"),
        (numbers(one={"offset": ["x", 0.0]}), "offset[0]: found 'x', expected a number"),
        (numbers(answer={"decision": steps("thresholds", 1.0, 2.0)}), "of link 'identity' is decided by 'thresholds'"),
        (numbers(answer={"decision": steps("clip", 0.0, 9.0)}), "'clip' is for 1 outputs, found 2"),
    ],
)
def test_a_contradiction_of_heads_is_refused_by_name(plan, named):
    with pytest.raises(ContractError) as caught:
        Plan.from_json(plan)
    assert named in str(caught.value)


# -- submissions -------------------------------------------------------------------------------------------------------


def made(answer, prior, values, given=None):
    """The rows of a file, valid or not written."""
    shape = submission.template(answer, ["7", "007", "8"], given, prior)
    frame = submission.compose(shape, np.array(values, dtype=float))
    submission.validate(frame, shape)
    return frame.to_numpy().tolist()


LOST = [math.nan] * 5
BOTH = Answer("s.csv", "id", "heads", ("size", "kind"), (*KIND.classes, *SIZE.classes), heads=(KIND, SIZE))
VALUES = [[0.6, 0.4, 0.1, 0.2, 0.7], [0.45, 0.55, 0.6, 0.3, 0.1], LOST]
PRIOR = (0.2, 0.8, 0.1, 0.5, 0.4)


def test_each_head_is_a_column_of_its_labels_in_the_order_of_the_file():
    assert made(BOTH, PRIOR, VALUES) == [["7", "l", "cat"], ["007", "s", "dog"], ["8", "m", "dog"]]
    given = pd.DataFrame({"id": ["8", "7", "007"], "size": ["s", "s", "s"], "kind": ["cat", "cat", "cat"]}, dtype=object)
    assert made(BOTH, PRIOR, VALUES, given) == [["8", "s", "cat"], ["7", "l", "cat"], ["007", "s", "dog"]]


def test_each_head_has_its_own_decision():
    kind = Head(*KIND_FACTS, decision=steps("threshold", 0.35))
    size = Head("size", "softmax", SIZE.classes, decision=steps("cuts", 0.7, 1.7))
    decided = Answer("s.csv", "id", "heads", ("kind", "size"), BOTH.classes, heads=(kind, size))
    assert made(decided, PRIOR, VALUES) == [["7", "dog", "m"], ["007", "dog", "s"], ["8", "dog", "m"]]


KIND_FACTS = ("kind", "softmax", ("cat", "dog"))


def test_a_parquet_of_heads_has_the_types_of_the_sample():
    size = Head("size", "softmax", ("0", "1", "2"))
    answer = Answer(
        "s.parquet", "id", "heads", ("kind", "size"), (*KIND.classes, *size.classes), kinds=("int64", "text", "int64"),
        heads=(KIND, size),
    )  # fmt: skip
    shape = submission.template(answer, ["7", "8", "9"], None, PRIOR)
    frame = submission.compose(shape, np.array(VALUES, dtype=float))
    submission.validate(frame, shape)
    assert frame["size"].tolist() == [2, 0, 1]
    assert frame["size"].dtype == frame["id"].dtype == np.int64


def test_numbers_are_written_in_their_own_unit_and_fall_back_to_their_means():
    answer = Answer("s.csv", "id", "numbers", ("area", "price"), NUMBERS.classes, heads=(NUMBERS,))
    values = [[123456789.25, -0.5], [1e-7, 2.0], [math.nan] * 2]
    assert made(answer, (200000.5, -3.25), values) == [
        ["7", "-0.5", "123456789"],
        ["007", "2", "1e-07"],
        ["8", "-3.25", "200000.5"],
    ]


@pytest.mark.parametrize(
    ("form", "columns", "decision", "rows"),
    [
        ("columns", ("blue", "green", "red"), None, [["0.3", "0.6", "0.9"], ["0.1", "0.2", "0.2"], ["0.2", "0.3", "0.1"]]),
        ("columns", TAGS.classes, steps("thresholds", 0.5, 0.5, 0.3), [["1", "1", "1"], ["0", "0", "0"], ["0", "0", "0"]]),
        ("strings", ("tags",), None, [["red green"], ["red"], ["green"]]),
        ("strings", ("tags",), steps("thresholds", 0.5, 0.7, 0.1), [["red blue"], ["blue"], ["blue"]]),
        ("strings", ("tags",), steps("thresholds", 0.5, 0.5, 0.5), [["red green"], [""], [""]]),
        ("strings", ("tags",), steps("top", 2), [["red green"], ["red green"], ["green blue"]]),
    ],
)
def test_labels_that_are_there_or_not_are_submitted_in_every_form(form, columns, decision, rows):
    answer = Answer("s.csv", "id", form, columns, TAGS.classes, decision=decision, heads=(TAGS,))
    found = made(answer, (0.1, 0.3, 0.2), [[0.9, 0.6, 0.3], [0.2, 0.2, 0.1], [math.nan] * 3])
    assert found == [[name, *cells] for name, cells in zip(("7", "007", "8"), rows, strict=True)]


PRICE = Head("price", "identity", ("price",), (50.0,), (10.0,))
PRICED = Answer("s.csv", "id", "heads", ("price", "kind"), (*KIND.classes, "price"), heads=(KIND, PRICE))
OFFERS = [[0.6, 0.4, 12.5], [0.1, 0.9, -3.0], [math.nan] * 3]


def test_a_head_of_numbers_is_a_column_of_them_beside_labels():
    assert made(PRICED, (0.2, 0.8, 40.0), OFFERS) == [["7", "12.5", "cat"], ["007", "-3", "dog"], ["8", "40", "dog"]]
    low = replace(PRICE, decision={"steps": [{"kind": "clip", "values": [0.0, 10.0]}, {"kind": "round", "values": [1.0]}]})
    clipped = replace(PRICED, heads=(KIND, low))
    assert [row[1] for row in made(clipped, (0.2, 0.8, 40.0), OFFERS)] == ["10", "0", "10"]


def test_several_heads_have_a_long_form_of_a_row_for_each():
    long = replace(PRICED, form="long-heads", columns=("value",), key_column="row", key="{class}_{id}")
    found = made(long, (0.2, 0.8, 40.0), OFFERS)
    assert found == [
        ["kind_7", "cat"], ["price_7", "12.5"], ["kind_007", "dog"], ["price_007", "-3"], ["kind_8", "dog"], ["price_8", "40"],
    ]  # fmt: skip
    given = pd.DataFrame({"row": [row[0] for row in found[::-1]], "value": ["1.5", "cat"] * 3}, dtype=object)
    assert made(long, (0.2, 0.8, 40.0), OFFERS, given) == [
        ["price_8", "1.5"], ["kind_8", "cat"], *(found[at] for at in (3, 2, 1, 0)),
    ]  # fmt: skip


def test_a_parquet_of_classes_and_numbers_has_the_types_of_the_sample():
    kind = Head("kind", "softmax", ("0", "1"))
    answer = replace(
        PRICED, file="s.parquet", classes=("0", "1", "price"), kinds=("text", "float32", "int64"), heads=(kind, PRICE)
    )
    shape = submission.template(answer, ["7", "8", "9"], None, (0.2, 0.8, 40.0))
    frame = submission.compose(shape, np.array(OFFERS))
    assert (frame["price"].dtype, frame["kind"].dtype) == (np.float32, np.int64)
    assert frame["price"].tolist() == [12.5, -3.0, 40.0]


def test_labels_that_are_there_or_not_have_a_long_form():
    answer = Answer("s.csv", "id", "long", ("p",), TAGS.classes, "key", "{id}_{class}", heads=(TAGS,))
    found = made(answer, (0.1, 0.3, 0.2), [[0.9, 0.6, 0.3], [0.2, 0.2, 0.1], [math.nan] * 3])
    assert found[:3] == [["7_red", "0.9"], ["7_green", "0.6"], ["7_blue", "0.3"]]
    assert found[6:] == [["8_red", "0.1"], ["8_green", "0.3"], ["8_blue", "0.2"]]
