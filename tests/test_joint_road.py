"""A model that reads several things of a row takes the road of all models, and knows what no single input tells."""

import json

import numpy as np
import pytest

from builder import competition, pipeline
from builder.runtime.contract import Joint, Plan
from builder.train import record
from builder.workspace import write_text
from tests import competitions_joint as products
from tests.roads import made

pytest.importorskip("torch")
NAME = "products"


def kernel_of(workspace, tmp_path, kind, **more):
    root = products.write(tmp_path / "files", kind)
    write_text(workspace.kernels / NAME / "kernel.toml", products.config(root, kind, **more))
    return pipeline.Kernel(workspace, NAME)


def known(kernel):
    """Share of training rows whose level is told right out of fold, level by level; and that of the commonest level."""
    rows = competition.train_rows(kernel.config, kernel.root)
    (version,) = record.finished(kernel.workspace.weights(NAME))
    (model,) = version.models
    found = np.load(version.oof(model.name, "identity"))
    told, start = {}, 0
    for number, head in enumerate(rows.heads):
        part = found[:, start : start + len(head.classes)]
        truth = rows.y[:, number]
        told[head.name] = (float((part.argmax(1) == truth).mean()), float(np.bincount(truth).max() / len(truth)))
        start += len(head.classes)
    return told


def assert_ends_well(kernel, plan, sets):
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert all(isinstance(unit.input, Joint) for unit in plan.units)
    for level, (right, commonest) in known(kernel).items():
        assert right > commonest + 0.15, f"{level} is told by an input that the model does not read: {right} of {commonest}"
    rehearsal = pipeline.rehearse(kernel, sets=sets)
    must = [finding for finding in rehearsal.findings if finding.severity == "must-fix"]
    assert (rehearsal.label, rehearsal.ok, must) == ("Scored", True, [])
    assert rehearsal.score == pytest.approx(rehearsal.cv, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", products.KINDS)
def test_what_several_inputs_tell_is_known_and_rehearsed_on_odd_rows(workspace, tmp_path, kind):
    kernel = kernel_of(workspace, tmp_path, kind)
    assert_ends_well(kernel, made(kernel), "usual")
