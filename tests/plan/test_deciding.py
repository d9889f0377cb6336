"""Labels of a plan are decided by what its out-of-fold answers say is best, and only where that wins."""

import dataclasses

import numpy as np
import pytest

from builder import competition, metrics, pipeline
from builder.metrics import deciding
from builder.plan import deciding as choosing
from builder.plan import members as joining
from builder.plan import stage
from builder.runtime import answers
from builder.workspace import write_text
from tests import competitions, records


def planned(workspace, animals, metric, odds=1, *, skill=2.0, wrong=0, classes=("cat", "dog")):
    """A plan of two families whose out-of-fold answers believe in the first class `odds` times as much as they should.

    Every row whose number `wrong` divides was labelled by the toss of a coin.
    """
    text = competitions.config(animals).replace('limit = "20min"', f'limit = "20min"\nmetric = "{metric}"')
    write_text(workspace.kernels / "animals" / "kernel.toml", text)
    kernel = pipeline.Kernel(workspace, "animals")
    ids, labels = records.rows_of(animals)
    codes = np.array([classes.index(label) for label in labels])
    if wrong:
        tossed = np.arange(len(codes)) % wrong == 0
        codes = np.where(tossed, np.random.default_rng(1).integers(0, 2, len(codes)), codes)
    oof = {}
    for seed, model in enumerate(("a", "b")):
        found = records.predictions(codes, 2, skill=skill, seed=seed) * (odds, 1)
        oof[model] = {"identity": (found / found.sum(axis=1, keepdims=True)).astype(np.float32)}
    facts = {"ids": ids, "folds": np.arange(len(ids)) // 2 % 2, "labels": labels, "classes": classes, "name": "animals"}
    made = records.version(kernel.config, workspace, 1, oof, **facts)
    exports = {made.version: records.export(kernel.config, made, oof)}
    members = stage.members(kernel.config, workspace.weights(kernel.name), exports)
    return pipeline.plan(kernel).plan, joining.join(members)


def test_a_decision_that_wins_travels_with_the_plan_and_is_told(workspace, animals):
    plan, together = planned(workspace, animals, "f1_macro", 20)
    metric = metrics.get("f1_macro")
    values = choosing.pooled(plan, [together.oof[at] for at in choosing.used_by(plan, together)])
    wanted = deciding.fit(metric, together.y, values, together.folds)
    assert plan.answer.decision == wanted.decision.to_json()
    assert [note for note in plan.notes if "fitted out of fold" in note]
    labels = answers.cells(plan.answer, values)[:, 0]
    plain = answers.cells(dataclasses.replace(plan.answer, decision=None), values)[:, 0]
    codes = [np.array([plan.answer.classes.index(label) for label in found]) for found in (labels, plain)]
    assert metric(together.y, codes[0]) > metric(together.y, codes[1]) + 0.05


def test_a_forecast_moves_with_both_its_ends_by_what_a_decision_wins(workspace, animals):
    plan, together = planned(workspace, animals, "f1_macro", 20)
    assert plan.answer.decision
    again = choosing.decided(plan, together, metrics.get("f1_macro"))
    moved = [again.expected[key] - plan.expected[key] for key in ("low", "score", "high")]
    assert moved[1] > 0.05
    assert moved == pytest.approx([moved[1]] * 3)


def test_accuracy_is_served_by_the_most_probable_class(workspace, animals):
    plan, _ = planned(workspace, animals, "accuracy", 20)
    assert plan.answer.decision is None
    assert competition.read_table(animals / "sample_submission.csv").columns[1] == "label"


@pytest.mark.parametrize("form", ["columns", "probability", "long"])
def test_probabilities_allow_for_labels_that_say_nothing(workspace, tmp_path, form):
    classes = ("0", "1") if form == "probability" else ("cat", "dog")
    root = competitions.write(tmp_path / "x", rows=800, form="columns" if form == "long" else form, classes=classes)
    if form == "long":
        ids = competition.read_table(root / "sample_submission.csv")["image_id"]
        cells = [[f"{name}_{label}", "0.5"] for name in ids for label in classes]
        competitions.table(root / "sample_submission.csv", ["image_id", "probability"], cells)
    plan, together = planned(workspace, root, "logloss", skill=4.0, wrong=5, classes=classes)
    (step,) = plan.answer.decision["steps"]
    assert (plan.answer.form, step["kind"]) == (form, "noise")
    assert step["values"][0] == pytest.approx(0.2, abs=0.1)
    assert any("of which say nothing" in note for note in plan.notes)
    cells = answers.cells(plan.answer, choosing.pooled(plan, [together.oof[at] for at in choosing.used_by(plan, together)]))
    p = cells[:, -1].astype(float)
    assert metrics.get("logloss")(together.y, np.column_stack([1 - p, p])) == pytest.approx(plan.expected["score"], abs=0.02)
    assert 0.85 < p.max() < 0.97
    told = float(np.mean(np.maximum(p, 1 - p)))
    assert np.mean((p > 0.5) == together.y) == pytest.approx(told, abs=0.05), "as sure as it is right"


def test_probabilities_of_labels_that_are_all_told_are_as_they_are(workspace, tmp_path):
    root = competitions.write(tmp_path / "x", rows=800, form="columns")
    assert planned(workspace, root, "logloss", skill=4.0)[0].answer.decision is None
    assert planned(workspace, root, "auc", skill=4.0, wrong=5)[0].answer.decision is None
