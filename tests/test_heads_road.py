"""Labels that are there or not, numbers, and several targets with classes of their own take the road that classes take: trained,
exported, planned, bundled, rendered, rehearsed on odd hidden sets, with real models; and shipped to a score."""

import json
import shutil

import numpy as np
import pytest

from builder import competition, metrics, pipeline
from builder.plan import stage as planning
from builder.runtime.contract import Plan
from builder.train import record
from builder.workspace import write_text
from tests import competitions_cells as tiny

from .e2e.test_demo import KKB, Shell

pytest.importorskip("torch")
OWNER, NAME = "me", "several-one"
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
    "numbers": tiny.TREES + tiny.MLP,  # lightgbm answers one number
    "heads": tiny.MLP + TWIN,
    "images": "",
}


def kernel_of(workspace, tmp_path, kind, models="", metric="", **more):
    root = tiny.write_several(tmp_path / "files", kind, **more)
    write_text(workspace.kernels / NAME / "kernel.toml", tiny.several_config(root, kind, models=models, metric=metric))
    return pipeline.Kernel(workspace, NAME)


def made(kernel):
    for stage in (pipeline.train, pipeline.export, pipeline.plan):
        stage(kernel)
    pipeline.bundle(kernel, OWNER)
    pipeline.render(kernel, OWNER)
    return planning.load(kernel.folder)


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


SHIPPED = {"columns": ("mean(auc)", "multilabel", 0.8, 1.0), "numbers": ("mean(rmse)", "numbers", 0.0, 600.0)}


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
    assert f'truth = "{truth}"' in written
    path.write_text(written.replace("folds = 5", "folds = 2"))  # what is exported takes the most time
    shipped = shell.kkb("ship", NAME, "--standin")
    assert shipped["label"] == "Scored"
    assert low <= shipped["score"] <= high
    assert shell.kkb("submit", NAME, "--standin")["fresh"] is False
