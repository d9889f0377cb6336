"""Labels that are there or not, numbers, and several targets with classes of their own take the road that classes take: trained,
exported, planned, bundled, rendered, rehearsed on odd hidden sets, with real models; and shipped to a score."""

import json
import shutil

import numpy as np
import pytest

from builder import competition, metrics, pipeline
from builder.metrics.heads import apart
from builder.runtime.contract import Plan
from builder.runtime.heads import slices
from builder.train import record
from builder.workspace import write_text
from tests import competitions_cells as tiny
from tests.roads import made

from .e2e.test_demo import KKB, Shell

pytest.importorskip("torch")
NAME = "several-one"
GRU = '\n[[model]]\nname = "gru"\nbackbone = "text/gru"\narguments = { width = 16 }\ntext = { length = 16, vocabulary = 300 }\n'
SLOWLY = '\n[inference]\nviews = ["identity", "tail"]\n\n[train]\nepochs = 8\nlr = 2e-2\nbatch_size = 16\n'
BAYES = '\n[[model]]\nname = "bayes"\nbackbone = "text/linear"\narguments = { learner = "bayes" }\n'
LEAVES = '\n[[model]]\nname = "leaves"\nbackbone = "table/lightgbm"\narguments = { num_boost_round = 200 }\n'
FEWER = '\n[[model]]\nname = "fewer"\nbackbone = "table/lightgbm"\narguments = { num_boost_round = 150, num_leaves = 7 }\n'
TWIN = '\n[[model]]\nname = "twin"\nbackbone = "table/mlp"\narguments = { dropout = 0.2 }\n'
MEAN = '\n[inference]\nblend = "mean"\n'
MANY = {
    "strings": tiny.LINEAR + BAYES + MEAN,
    "columns": GRU + SLOWLY,
    "number": LEAVES + FEWER + MEAN,
    "numbers": tiny.TREES + tiny.MLP + LEAVES,
    "heads": tiny.MLP + TWIN + LEAVES + tiny.TREES,
    "mixed": tiny.TREES + LEAVES + tiny.MLP,
    "long": tiny.LINEAR + BAYES,
    "long heads": tiny.TREES + LEAVES,
    "long numbers": tiny.TREES + LEAVES,
    "images": "",
}


def kernel_of(workspace, tmp_path, kind, models="", metric="", **more):
    root = tiny.write_several(tmp_path / "files", kind, **more)
    write_text(workspace.kernels / NAME / "kernel.toml", tiny.several_config(root, kind, models=models, metric=metric))
    return pipeline.Kernel(workspace, NAME)


def worth_nothing(kernel):
    """The score of the same answer for every row."""
    rows = competition.train_rows(kernel.config, kernel.root)
    judge = metrics.of(kernel.config.competition.metric, rows.heads, kernel.folder)
    return judge, judge(rows.y, np.tile(rows.prior, (len(rows.ids), 1)))


def assert_scored_as_planned(kernel, rehearsal):
    """A rehearsal of all rows, each by the models that did not see it, scores about what the plan foretold; and something."""
    assert (rehearsal.label, rehearsal.ok) == ("Scored", True), rehearsal
    judge, nothing = worth_nothing(kernel)
    won = judge.gain(rehearsal.score, nothing)
    assert won > 0, (rehearsal.score, nothing)
    assert abs(rehearsal.score - rehearsal.cv) <= 0.25 * won, (rehearsal.score, rehearsal.cv, nothing)


def test_a_plan_of_numbers_says_what_its_outputs_are_and_is_rehearsed(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, "numbers")
    plan = made(kernel)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    (version,) = record.finished(workspace.weights(NAME))
    assert plan.answer.heads == version.heads == competition.train_rows(kernel.config, kernel.root).heads
    assert (plan.answer.form, plan.answer.columns, plan.prior) == ("numbers", ("price", "age"), version.prior)
    assert_scored_as_planned(kernel, pipeline.rehearse(kernel))


@pytest.mark.slow
@pytest.mark.parametrize("kind", tiny.SEVERAL)
def test_the_whole_road(workspace, tmp_path, kind):
    kernel = kernel_of(workspace, tmp_path, kind, MANY[kind])
    made(kernel)
    assert_scored_as_planned(kernel, pipeline.rehearse(kernel, sets="usual"))
    again = pipeline.Kernel(workspace, NAME)
    made(again)
    assert not any(again.fresh.values()), "a second time nothing is made again"


def by_hand(predicted, y, heads, worth):
    """The mean over targets of what a model predicted out of fold: the share of right classes, and of numbers their `worth`."""
    scores = []
    for head, place, own in zip(heads, slices(heads), apart(heads, y), strict=True):
        p = predicted[:, place].astype(np.float64)
        if head.link == "softmax":
            scores.append((p.argmax(axis=1) == own).mean())
        else:
            scores += [worth(p[:, column], own[:, column]) for column in range(p.shape[1])]
    return sum(scores) / len(scores)


def off(p, y):
    return np.sqrt(((p - y) ** 2).mean())


def explained(p, y):
    return 1 - ((p - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()


ONE_TREE = '\n[[model]]\nname = "one"\nbackbone = "table/{kind}"\narguments = {{ num_boost_round = 60 }}\n'
LIGHTGBM, XGBOOST = ONE_TREE.format(kind="lightgbm"), ONE_TREE.format(kind="xgboost")
ONE_LINEAR = tiny.LINEAR.replace('"linear"', '"one"', 1)
TABLED = {  # kind, one model, metric, what it makes of numbers
    "lightgbm answers several numbers": ("numbers", LIGHTGBM, "mean(rmse)", off),
    "lightgbm answers several heads": ("heads", LIGHTGBM, "accuracy", None),
    "xgboost answers several heads": ("heads", XGBOOST, "accuracy", None),
    "classes and numbers": ("mixed", LIGHTGBM, "street_of=accuracy, light=accuracy, price=r2", explained),
    "a row for each target": ("long", ONE_LINEAR, "topic=accuracy, stars=rmse", lambda p, y: -off(p, y)),
    "a row for each head": ("long heads", LIGHTGBM, "survived=accuracy, deck=accuracy", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", TABLED)
def test_the_rehearsed_score_is_the_one_worked_out_by_hand(workspace, tmp_path, case):
    """Each row is answered by the model that did not see it, so the score is that of the out-of-fold predictions."""
    kind, models, metric, worth = TABLED[case]
    kernel = kernel_of(workspace, tmp_path, kind, models, metric, rows=90)
    plan = made(kernel)
    (version,) = record.finished(workspace.weights(NAME))
    predicted, y = np.load(version.oof("one", "identity")), competition.train_rows(kernel.config, kernel.root).y
    for head, place in zip(plan.answer.parts, slices(plan.answer.parts), strict=True):
        decision = head.decision if len(plan.answer.parts) > 1 else plan.answer.decision
        for step in decision["steps"] if decision and head.link == "identity" else ():
            assert step["kind"] == "clip", "what was decided is worked out by hand, too"
            predicted[:, place] = np.clip(predicted[:, place], step["values"][::2], step["values"][1::2])
    rehearsal = pipeline.rehearse(kernel)
    assert rehearsal.label == "Scored"
    assert rehearsal.score == pytest.approx(by_hand(predicted, y, plan.answer.parts, worth), rel=1e-4, abs=2e-5)
    assert rehearsal.score == pytest.approx(rehearsal.cv, rel=0.05, abs=0.02)


@pytest.mark.slow
def test_every_hidden_set_ends_well(workspace, tmp_path):
    kernel = kernel_of(workspace, tmp_path, "numbers", rows=60)
    made(kernel)
    rehearsal = pipeline.rehearse(kernel, sets="all")
    assert rehearsal.ok, [finding for finding in rehearsal.findings if finding.severity == "must-fix"]


@pytest.mark.slow
def test_a_metric_of_ones_own_is_found_beside_kernel_toml(workspace, tmp_path):
    write_text(workspace.kernels / NAME / "metric.py", tiny.OWN)
    kernel = kernel_of(workspace, tmp_path, "number", metric="metric.py:error")
    plan = made(kernel)
    assert plan.metric == "metric.py:error"
    assert_scored_as_planned(kernel, pipeline.rehearse(kernel))


@pytest.fixture
def shell(tmp_path):
    made_here = Shell(tmp_path)
    made_here.kkb("standin", "up")
    yield made_here
    made_here.run(*KKB, "standin", "down", check=False)


SHIPPED = {
    "columns": ("mean(auc)", '"multilabel"', 0.8, 1.0),
    "numbers": ("mean(rmse)", '"numbers"', 0.0, 600.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHIPPED)
def test_a_competition_is_shipped_from_its_files_alone(shell, tmp_path, kind):
    metric, truth, low, high = SHIPPED[kind]
    data = shutil.make_archive(str(tmp_path / "x"), "zip", tiny.write_several(tmp_path / "data", kind))
    hidden = shutil.make_archive(str(tmp_path / "y"), "zip", tiny.hide_several(tmp_path / "hidden", kind))
    shell.kkb("standin", "add-competition", "tiny-several", "--data", data, "--hidden", hidden,
              "--metric", metric, "--limit", "20min")  # fmt: skip
    shell.run(*KKB, "new", NAME, "--competition", "tiny-several", "--yes")
    shell.run(*KKB, "fetch", NAME, "--standin")
    path = shell.folder / "kernels" / NAME / "kernel.toml"
    written = path.read_text()
    assert f"truth = {truth}" in written
    path.write_text(written.replace("folds = 5", "folds = 2"))  # what is exported takes the most time
    shipped = shell.kkb("ship", NAME, "--standin")
    assert shipped["label"] == "Scored"
    assert low <= shipped["score"] <= high
    assert shell.kkb("submit", NAME, "--standin")["fresh"] is False
