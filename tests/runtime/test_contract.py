"""The contract: a plan is read back as it was written, and one that contradicts itself is refused by name."""

import json

import pytest
from kkb_runtime.contract import ContractError, Plan

UNIT = {
    "member": "v001:a",
    "fold": 0,
    "view": "identity",
    "dataset": "v001:a",
    "file": "a-f0.onnx",
    "backend": "onnxruntime",
    "input": {"height": 8, "width": 8},
    "batch": 4,
    "seconds": 0.001,
    "load_s": 0.1,
}


def raw(**changes):
    plan = {
        "schema": 1,
        "kernel": "k",
        "task": "image-classification",
        "metric": "accuracy",
        "accelerator": "cpu",
        "limit_s": 60.0,
        "reserve": 0.05,
        "source": {"competition": "c", "test": "test.csv", "sample_submission": "", "pattern": "{id}.png"},
        "answer": {"file": "s.csv", "id": "id", "form": "labels", "columns": ["y"], "classes": ["a", "b"]},
        "units": [UNIT, {**UNIT, "fold": 1}],
        "prefixes": [{"weights": [1.0]}, {"weights": [0.5, 0.5]}],
        "prior": [0.5, 0.5],
    }
    return plan | changes


EFFORT = {"kind": "queue", "stops": [1, 2], "common": 1, "worth": [0.1], "doubts": [0.0, 1.0], "shape": [0.0, 2.0]}
RANKS = {"v001:a identity": [[0.1, 0.9], [0.1, 0.9]]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"effort": EFFORT},
        {"blend": "rank", "references": RANKS},
        {"blend": "stack", "prefixes": [{"weights": [2.0], "shift": [0, 1]}, {"weights": [-1.0, 2.0], "shift": [0, 1]}]},
    ],
)
def test_a_plan_is_read_back_as_it_was_written(changes):
    plan = Plan.from_json(raw(**changes))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 0}, "schema 0"),
        ({"extra": 1}, "unknown keys ['extra']"),
        ({"units": []}, "no units"),
        ({"units": [UNIT]}, "1 units but 2 prefixes"),
        ({"units": [{**UNIT, "backend": "magic"}, UNIT]}, "unit 1 has backend 'magic'"),
        ({"units": [{**UNIT, "temperature": 0}, UNIT]}, "unit 1 has temperature 0"),
        ({"units": [{**UNIT, "speed": 1}, UNIT]}, "unknown keys ['speed']"),
        ({"prefixes": [{"weights": [1.0]}, {"weights": [1.0]}]}, "prefix 2 has 1 weights"),
        ({"prefixes": [{"weights": [1.0]}, {"weights": [1.5, -0.5]}]}, "prefix 2 are not a convex combination"),
        ({"prefixes": [{"weights": [1.0], "temperature": float("nan")}, {"weights": [0.5, 0.5]}]}, "temperature: found nan"),
        ({"prefixes": [{"weights": [1.0], "temperature": -1}, {"weights": [0.5, 0.5]}]}, "prefix 1 has temperature -1"),
        ({"limit_s": "9h"}, "plan.limit_s: found '9h', expected a number"),
        ({"limit_s": True}, "plan.limit_s: found True, expected a number"),
        ({"units": {"a": 1}}, "plan.units: found {'a': 1}, expected a list"),
        ({"units": [{**UNIT, "input": {"height": 8.5, "width": 8}}]}, "plan.units[0].input.height: found 8.5, expected a whole"),
        ({"source": None}, "plan.source: found None, expected an object"),
        ({"expected": []}, "plan.expected: found [], expected an object"),
        ({"prior": [0.5, None]}, "plan.prior[1]: found None, expected a number"),
        ({"prior": [1.0]}, "2 classes but a prior of 1"),
        ({"max_fallback": 2}, "max_fallback is 2"),
        ({"blend": "soup"}, "blend is 'soup'"),
        ({"blend": "rank"}, "nothing to rank the probabilities of v001:a identity among"),
        ({"blend": "rank", "references": {"v001:a identity": [[0.1], []]}}, "nothing to rank"),
        ({"blend": "stack"}, "shift for 0 of 2 classes"),
        ({"effort": EFFORT | {"kind": "heroic"}}, "effort is 'heroic'"),
        ({"effort": EFFORT | {"stops": [2, 1]}}, "stops at [2, 1] of 2 units"),
        ({"effort": EFFORT | {"stops": [1, 3]}}, "stops at [1, 3] of 2 units"),
        ({"effort": EFFORT | {"common": 3}}, "3 of 2 stops are common"),
        ({"effort": EFFORT | {"worth": []}}, "a queue of 1 climbs with 0 gains"),
    ],
)
def test_a_contradiction_is_refused_by_name(changes, named):
    with pytest.raises(ContractError) as caught:
        Plan.from_json(raw(**changes))
    assert named in str(caught.value)
