"""Labels, numbers and several targets take the road of classes: they are learned, and what is exported answers the same.

One model of each kind is asked for every truth; out-of-fold answers must beat the prior, and be those of the portable files.
"""

import json

import numpy as np
import pytest

from builder import competition, metrics
from builder import config as configs
from builder.errors import ConfigError, UserError
from builder.export import stage as exporting
from builder.runtime import backends, heads
from builder.train import oof, record, stage
from builder.workspace import read_json, write_text
from tests.train import several
from tests.train.several import IMAGE, TABLE, TEXT

pytest.importorskip("torch")

LINEAR = 'backbone = "text/linear"'
BAYES = 'backbone = "text/linear"\narguments = { learner = "bayes" }'
GRU = (
    'backbone = "text/gru"\ntext = { length = 16, vocabulary = 300 }\n'
    "arguments = { width = 16, embedding = 32, dropout = 0.0, words = 0.0 }"
)
WIDER = GRU.replace("width = 16, embedding = 32", "width = 32, embedding = 64")
XGBOOST = 'backbone = "table/xgboost"\narguments = { n_estimators = 40 }'
LIGHTGBM = 'backbone = "table/lightgbm"\narguments = { n_estimators = 40 }'
MLP = 'backbone = "table/mlp"'
RESNET = 'backbone = "timm/test_resnet"\npretrained = false\ninput = { size = 32 }'
TREES, LONGER, IMAGES = "", "[train]\nepochs = 30\nbatch_size = 16\n", "[train]\nepochs = 10\nlr = 5e-3\nbatch_size = 16\n"
WORDS = "[train]\nepochs = 40\nlr = 1e-2\nbatch_size = 8\nweight_decay = 0.0\n"
CALMER = WORDS.replace("1e-2", "5e-3")  # of a class and a number at once
CASES = [
    (TABLE, "mixed", LIGHTGBM, TREES),
    (TABLE, "number", LIGHTGBM, TREES),
    *((TABLE, truth, XGBOOST, TREES) for truth in ("multilabel", "mixed")),
    *((TEXT, "mixed", model, more) for model, more in ((LINEAR, TREES), (BAYES, TREES), (WIDER, CALMER))),
    (TEXT, "multilabel", LINEAR, TREES),
    *((TABLE, truth, XGBOOST, TREES) for truth in ("numbers", "classes")),
    *((TABLE, truth, LIGHTGBM, TREES) for truth in ("multilabel", "numbers", "classes")),
    (TEXT, "multilabel", BAYES, TREES),
    *((TEXT, truth, LINEAR, TREES) for truth in ("number", "numbers", "classes")),
    *((TABLE, truth, MLP, LONGER) for truth in several.TRUTHS),
    (TEXT, "multilabel", GRU, LONGER),
    (TEXT, "classes", GRU, WORDS),
    *((IMAGE, truth, RESNET, IMAGES) for truth in several.TRUTHS),
]
BETTER = {
    "accuracy": 0.1,
    "price=r2, street_of=accuracy": 0.2,
    "mean(auc)": 0.15,
    "rmse": 0.8,
    "mean(rmse)": 0.8,
}  # than the prior: added, or a share of its error


def kernel(workspace, tmp_path, task, truth, model, **more):
    """(config, root) of a kernel `one`."""
    shape = {key: more.pop(key) for key in ("unit", "offset", "rows") if key in more}
    root = several.write(tmp_path / "data", task, **shape)
    write_text(workspace.kernels / "one" / "kernel.toml", several.config(root, task, truth, model, **more))
    return configs.load(workspace.kernels / "one"), root


def answered_by_files(export, version, rows, folds):
    """float32 (rows, outputs): each row by the file of the fold that did not see it."""
    found = np.full((len(rows.ids), len(rows.classes)), np.nan, dtype=np.float32)
    model = version.models[0]
    config_shown = exporting.Samples(version, rows, None, None, version.folder / "none.py", ("identity",)).shown(model)
    for one in export.of(model.name):
        run = backends.open(export.folder / one.file, kind=exporting.record.BACKENDS[one.format])
        some = np.flatnonzero(folds == one.fold)
        found[some] = run.run(config_shown.together("identity", some), version.parts)
    return found


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in CASES[2:]]


@pytest.mark.parametrize(("task", "truth", "model", "more"), [*CASES[:2], *SLOW])
def test_it_is_learned_and_the_files_answer_what_was_learned(workspace, tmp_path, task, truth, model, more):
    config, root = kernel(workspace, tmp_path, task, truth, model, more=more)
    version, _ = stage.train(config, workspace, "one")
    rows = competition.train_rows(config, root)
    assert record.load(version.folder).parts == rows.heads
    predicted = np.load(version.oof("one", "identity"))
    assert (predicted.dtype, predicted.shape) == (np.float32, (len(rows.ids), len(rows.classes)))
    metric = metrics.of(config.competition.metric, rows.heads)
    guessed = metric(rows.y, np.tile(np.array(rows.prior, dtype=np.float32), (len(rows.ids), 1)))
    better = BETTER[config.competition.metric]
    limit = guessed + better if metric.greater_is_better else guessed * better
    assert metric.gain(version.models[0].score, limit) > 0, (version.models[0].score, guessed)
    assert version.models[0].score == pytest.approx(oof.score(metric, rows.y, predicted))
    export, _ = exporting.export(config, workspace, version)
    after = np.load(export.oof("one", "identity"))
    spread = np.array([unit for head in rows.heads for unit in head.spread or (1.0,) * len(head.classes)])
    np.testing.assert_allclose(after / spread, predicted / spread, atol=1e-4)
    if task != IMAGE:
        _, folds, _ = record.read_folds(version.folder / record.FOLDS)
        own = answered_by_files(export, version, rows, folds)
        np.testing.assert_allclose(own / spread, predicted / spread, atol=1e-4)
    assert all(one.argmax_equal == 1 for one in export.models)
    if truth in {"number", "numbers"}:
        assert predicted.mean(axis=0) == pytest.approx(rows.y.mean(axis=0), rel=0.2), "in the target's own unit"
    elif truth == "multilabel":
        assert not np.allclose(predicted.sum(axis=1), 1, atol=0.05)
    else:
        for head, place in zip(rows.heads, heads.slices(rows.heads), strict=True):
            if head.link == "softmax":
                np.testing.assert_allclose(predicted[:, place].sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "offset"), [(1e6, 1e9), (1e-6, 0.0)])
def test_the_unit_of_a_number_does_not_matter(workspace, tmp_path, unit, offset):
    config, _ = kernel(workspace, tmp_path, TABLE, "number", LIGHTGBM, unit=unit, offset=offset, rows=60)
    version, _ = stage.train(config, workspace, "one")
    spread = version.parts[0].spread[0]
    export, _ = exporting.export(config, workspace, version)
    assert version.models[0].score / spread < 0.9
    assert max(one.max_abs_diff for one in export.models) <= 1e-4
    assert export.probe("one").max_abs_diff == pytest.approx(1e-3), "in units of the spread"


@pytest.mark.parametrize(
    ("truth", "learner"), [("number", "bayes"), ("number", "logistic"), ("multilabel", "ridge"), ("classes", "ridge")]
)
def test_a_learner_that_does_not_fit_the_target_is_refused(workspace, tmp_path, truth, learner):
    config, _ = kernel(workspace, tmp_path, TEXT, truth, f'{LINEAR}\narguments = {{ learner = "{learner}" }}')
    with pytest.raises(ConfigError, match="does not fit"):
        stage.train(config, workspace, "one")
    assert not list(workspace.weights("one").glob("v*"))


OWN = """\
def worst(y, p):
    return float(abs(y - p).max())


worst.greater_is_better = False
worst.prediction = worst.truth = "numbers"
"""


def test_a_metric_of_the_users_own_scores_folds_versions_and_exports(workspace, tmp_path):
    write_text(workspace.kernels / "one" / "metric.py", OWN)
    config, root = kernel(workspace, tmp_path, TABLE, "number", LIGHTGBM, metric="metric.py:worst")
    version, _ = stage.train(config, workspace, "one")
    rows = competition.train_rows(config, root)
    predicted = np.load(version.oof("one", "identity"))
    (model,) = version.models
    assert model.score == pytest.approx(np.abs(rows.y - predicted).max())
    assert max(one.score for one in model.checkpoints) == pytest.approx(model.score)
    export, _ = exporting.export(config, workspace, version)
    assert export.scores["one"]["identity"] == pytest.approx(model.score)


def test_an_export_of_a_version_of_another_target_is_refused(workspace, tmp_path):
    config, _ = kernel(workspace, tmp_path, TABLE, "multilabel", XGBOOST)
    version, _ = stage.train(config, workspace, "one")
    path = version.folder / record.FILE
    raw = read_json(path, remedy="")
    raw["heads"][0]["classes"][0] = "cold"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match="was trained on other rows, or other labels"):
        exporting.export(config, workspace, record.load(version.folder))


def test_what_the_truth_is_names_a_version(workspace, tmp_path):
    """Equal files, another question."""
    config, _ = kernel(workspace, tmp_path, TABLE, "number", LIGHTGBM)
    asked = config.model_copy(update={"data": config.data.model_copy(update={"truth": "classes"})})
    assert stage.digest(asked, workspace, "one") != stage.digest(config, workspace, "one")
