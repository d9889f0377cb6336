"""A kernel with tiny weights: its own settings survive, its models and data do not."""

import json

import numpy as np
import pytest

from builder import cli, competition, metrics, pipeline, scoring
from builder import config as configs
from builder.ci import noise, tiny
from builder.cli import ci  # noqa: F401  importing it registers its commands
from builder.competition import targets
from builder.errors import UserError
from builder.runtime.contract import Answer, Head
from builder.standin import control
from builder.workspace import Workspace, write_text
from tests import competitions, competitions_cells, competitions_joint, records
from tests.competitions_cells import OWN, SEVERAL, TABLE, TASKS, TEXT

MORE = """
[[model]]
name = "effnet"
build = "models.py:make"
checkpoints = "elsewhere/{fold}.pth"
input = { size = 224, resize = "letterbox", color = "bgr" }

[inference]
views = ["identity", "hflip"]
members = ["v003:*"]
"""


@pytest.fixture
def kernel(workspace, tmp_path):
    text = competitions.config(tmp_path / "nowhere")
    text = text.replace('name = "resnet"', 'name = "resnet"\ncheckpoints = "elsewhere/r{fold}.pth"')
    folder = workspace.kernels / "animals"
    folder.mkdir()
    (folder / "kernel.toml").write_text(text + MORE)
    (folder / "hooks.py").write_text("# mine\n")
    return folder


def test_models_shrink_and_settings_stay(kernel, tmp_path):
    made = tiny.make(kernel, tmp_path / "tiny")
    small = configs.load(made.workspace.kernels / "animals")
    large = configs.load(kernel)
    assert [model.name for model in small.model] == ["resnet", "effnet"]
    assert {model.backbone for model in small.model} == {tiny.BACKBONE}
    assert small.model[1].input.model_dump() == {**large.model[1].input.model_dump(), "size": noise.SIDE}
    assert not any(model.checkpoints or model.build or model.pretrained for model in small.model)
    assert small.inference.views == large.inference.views
    assert small.inference.members == ()
    assert (small.competition.slug, small.competition.metric) == (large.competition.slug, large.competition.metric)
    assert small.competition.machine == "cpu"
    assert (made.workspace.kernels / "animals" / "hooks.py").read_text() == "# mine\n"


def test_the_noise_is_laid_out_as_the_competition_is(kernel, tmp_path):
    made = tiny.make(kernel, tmp_path / "tiny")
    config = configs.load(made.workspace.kernels / "animals")
    rows = competition.train_rows(config, made.data)
    assert len(rows.ids) == noise.EACH * len(rows.classes)
    assert all(path.is_file() for path in rows.paths)
    assert len(competition.read_table(made.hidden / "test.csv")) == noise.HIDDEN
    assert set(competition.read_table(made.hidden / "solution.csv")["Usage"]) == {"Public", "Private"}


@pytest.mark.slow
def test_classes_and_form_are_those_of_the_plan(workspace, tmp_path):
    root = competitions.write(tmp_path / "animals", classes=("cat", "dog", "eel"), rows=60, form="columns")
    kernel = records.finished(workspace, root)
    pipeline.plan(kernel)
    made = tiny.make(kernel.folder, tmp_path / "tiny")
    assert sorted(set(competition.read_table(made.data / "train.csv")["label"])) == ["cat", "dog", "eel"]
    assert list(competition.read_table(made.data / "sample_submission.csv").columns) == ["image_id", "cat", "dog", "eel"]


def test_open_keys_are_refused_with_what_fills_them(workspace, tmp_path):
    folder = workspace.kernels / "photos"
    folder.mkdir()
    (folder / "kernel.toml").write_text("[competition]\nslug = 'x'\n[[model]]\nname = 'a'\nbackbone = 'timm/test_resnet'\n")
    with pytest.raises(UserError) as refused:
        tiny.make(folder, tmp_path / "tiny")
    assert "kkb fetch photos" in refused.value.remedy
    assert not (tmp_path / "tiny").exists()


def test_the_kernels_own_workspace_is_not_written(kernel, workspace, tmp_path):
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    made = tiny.make(kernel, tmp_path / "tiny")
    assert isinstance(made.workspace, Workspace)
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


WORDS = """
[[model]]
name = "words"
backbone = "text/gru"
arguments = { width = 512, layers = 2 }
text = { length = 64, side = "left", vocabulary = 30000 }

[[model]]
name = "bert"
backbone = "hf/weights/bert"
"""
TREES = """
[[model]]
name = "trees"
backbone = "table/xgboost"
arguments = { max_depth = 3 }
"""


@pytest.fixture
def cells(workspace, tmp_path):
    """Make the kernel of a competition without images, whose data are nowhere."""

    def make(task, more=""):
        folder = workspace.kernels / "cells"
        folder.mkdir()
        models = competitions_cells.MODELS[task] + (WORDS if task == TEXT else TREES)
        (folder / "kernel.toml").write_text(competitions_cells.config(tmp_path / "nowhere", task, models=models, more=more))
        return folder

    return make


@pytest.mark.parametrize("task", TASKS)
def test_a_competition_without_images_is_made_of_cells(cells, tmp_path, task):
    made = tiny.make(cells(task), tmp_path / "tiny")
    config = configs.load(made.workspace.kernels / "cells")
    rows = competition.train_rows(config, made.data)
    assert len(rows.ids) == noise.EACH * len(rows.classes)
    assert {path.name for path in made.data.iterdir()} == {"train.csv", "test.csv", "sample_submission.csv"}
    read = competition.columns_of(config, made.data)
    assert all(len({row[column] for row in rows.cells}) > 1 for column in read), "a column that says nothing is no column"
    assert len(set(rows.groups)) == (noise.EACH if task == TEXT else 0)
    added = control.add_competition(
        tmp_path / "home", "tiny-cells", data=made.data, hidden=made.hidden, metric=config.competition.metric
    )
    assert added["rows"] == noise.HIDDEN


def test_models_of_cells_keep_their_kind(cells, tmp_path):
    made = tiny.make(cells(TEXT), tmp_path / "tiny")
    linear, words, bert = configs.load(made.workspace.kernels / "cells").model
    assert [model.backbone for model in (linear, words, bert)] == ["text/linear", "text/gru", "text/lstm"]
    assert words.arguments == bert.arguments == tiny.RECURRENT
    assert (words.text.length, words.text.side, words.text.vocabulary) == (64, "left", tiny.VOCABULARY)
    assert (configs.load(made.workspace.kernels / "cells").cv.scheme) == "group"


def test_models_of_tables_stay_as_they_are(cells, tmp_path):
    made = tiny.make(kernel := cells(TABLE), tmp_path / "tiny")
    small, large = configs.load(made.workspace.kernels / "cells"), configs.load(kernel)
    assert [(model.backbone, model.arguments) for model in small.model] == [(m.backbone, m.arguments) for m in large.model]


def test_columns_are_those_of_kernel_toml(cells, tmp_path):
    folder = cells(TABLE)
    text = (folder / "kernel.toml").read_text().replace('target = "survived"', 'target = "survived"\ncolumns = ["age", "port"]')
    (folder / "kernel.toml").write_text(text)
    (folder / "hooks.py").write_text("def transform(table, state):\n    return table\n")
    train = competition.read_table(tiny.make(folder, tmp_path / "tiny").data / "train.csv")
    assert sorted(train.columns) == ["age", "passenger", "port", "survived"]
    assert all(cell.isdecimal() for cell in train["port"]), "a hook may take it for a number, or for a word"


def test_columns_that_nobody_tells_are_refused_where_a_hook_may_ask_for_them(cells, tmp_path):
    folder = cells(TABLE)
    (folder / "hooks.py").write_text("def transform(table, state):\n    return table\n")
    with pytest.raises(UserError, match=r"hooks\.py") as refused:
        tiny.make(folder, tmp_path / "tiny")
    assert "data.columns" in refused.value.remedy
    assert not (tmp_path / "tiny").exists()


def test_what_a_recipe_knows_of_columns():
    features = [
        {"column": "sex", "part": "text", "values": ["male", "female"]},
        {"column": "sex", "part": "text", "counts": {"male": 3}},
        {"column": "age", "part": "number"},
        {"column": "day", "part": "weekday ymd"},
        {"column": "day", "part": "year ymd"},
        {"column": "name", "part": "title", "values": ["Mr", "Mrs"]},
        {"column": "made", "part": "number"},
    ]
    recipe = {"columns": ["sex", "age", "day", "name"], "features": features}
    said = tiny._said(recipe)
    assert list(said) == recipe["columns"], "what a hook makes is in no file"
    assert said["sex"] == ("male", "female", "")
    assert (said["age"], said["day"], said["name"]) == (noise.NUMBERS, noise.DATES, noise.EITHER)


@pytest.mark.parametrize(
    ("form", "columns", "key", "metric"),
    [
        ("probability", ("label",), "", "auc"),
        ("columns", ("p_no", "p_yes"), "", "logloss"),
        ("strings", ("label",), "", "map@2"),
        ("labels", ("label",), "", "f1_macro"),
        ("long", ("value",), "{id}_{class}", "mean(auc)"),
    ],
)
def test_every_form_of_a_plan_is_one_that_a_stand_in_scores(cells, tmp_path, form, columns, key, metric):
    answer = Answer("submission.csv", "review_id", form, columns, ("no", "yes"), "id_class" if key else "", key)
    config = configs.load(cells(TEXT))
    facts = noise.Facts(answer, {"document": noise.TEXTS})
    noise.write(config, facts, tmp_path / "data", tmp_path / "hidden")
    added = control.add_competition(tmp_path / "home", "tiny", data=tmp_path / "data", hidden=tmp_path / "hidden", metric=metric)
    assert added["rows"] == noise.HIDDEN * (2 if key else 1)
    solution = scoring.read_table(tmp_path / "hidden" / "solution.csv")
    assert set(solution["Usage"]) == {"Public", "Private"}


@pytest.fixture
def several(workspace, tmp_path):
    """Make the kernel of a competition that predicts something else than one class of each row, whose data are nowhere."""

    def make(kind, metric=""):
        text = competitions_cells.several_config(tmp_path / "nowhere", kind, metric=metric)
        write_text(workspace.kernels / "cells" / "kernel.toml", text)
        return workspace.kernels / "cells"

    return make


@pytest.mark.parametrize("kind", SEVERAL)
def test_every_kind_of_truth_has_its_noise(several, tmp_path, kind):
    made = tiny.make(several(kind), tmp_path / "tiny")
    config = configs.load(made.workspace.kernels / "cells")
    rows = competition.train_rows(config, made.data)
    links = {"classes": "softmax", "multilabel": "sigmoid", "numbers": "identity"}
    assert {head.link for head in rows.heads} == {links[truth] for truth in config.data.truths}
    assert len({tuple(np.atleast_1d(row)) for row in rows.y}) > 1
    assert list(competition.read_table(made.data / "sample_submission.csv").columns) == ["row_id", *config.data.targets]
    added = control.add_competition(
        tmp_path / "home", "tiny-several", data=made.data, hidden=made.hidden, metric=config.competition.metric
    )
    assert added["rows"] == noise.HIDDEN
    judge = metrics.of(config.competition.metric, rows.heads)
    truth = competition.read_table(made.hidden / "solution.csv")[list(config.data.targets)]
    cells = [json.dumps(list(row)) if len(row) > 1 else row[0] for row in truth.itertuples(index=False)]
    for half in (cells[: noise.HIDDEN // 2], cells[noise.HIDDEN // 2 :]):
        y = targets.parse(half, rows.heads)
        assert judge.or_none(y, np.tile(rows.prior, (len(y), 1))) is not None, "both parts can be scored"


def test_the_noise_has_the_labels_and_the_form_of_the_plan(several, tmp_path):
    kernel, heads = several("strings"), (Head("", "sigmoid", ("u", "v", "w", "x")),)
    answer = Answer("submission.csv", "row_id", "columns", ("p_x", "p_w", "p_v", "p_u"), ("u", "v", "w", "x"), heads=heads)
    facts = noise.Facts(answer, {"document": noise.TEXTS})
    noise.write(configs.load(kernel), facts, tmp_path / "data", tmp_path / "hidden")
    told = competition.read_table(tmp_path / "data" / "train.csv")["topics"]
    assert {label for cell in told for label in cell.split()} == {"u", "v", "w", "x"}
    solution = competition.read_table(tmp_path / "hidden" / "solution.csv")
    assert list(solution.columns) == ["row_id", *answer.columns, "Usage"]
    assert [set(solution[name]) for name in answer.columns] == [{"0", "1"}] * 4


def test_a_plan_of_what_kernel_toml_no_longer_predicts_tells_nothing(several, tmp_path):
    kernel = several("numbers")
    stale = Answer("submission.csv", "row_id", "labels", ("price",), ("cheap", "dear"))
    noise.write(configs.load(kernel), noise.Facts(stale, {"size": noise.NUMBERS}), tmp_path / "data", tmp_path / "hidden")
    assert competition.train_rows(configs.load(kernel), tmp_path / "data").heads[0].classes == ("price", "age")


def test_a_stand_in_scores_by_a_metric_of_the_same_kind_where_the_kernel_has_one_of_its_own(several, tmp_path):
    kernel = several("number", metric="metric.py:error")
    write_text(kernel / "metric.py", OWN)
    made = tiny.make(kernel, tmp_path / "tiny")
    assert (made.metric, configs.load(made.workspace.kernels / "cells").competition.metric) == ("mae", "metric.py:error")
    added = control.add_competition(tmp_path / "home", "tiny", data=made.data, hidden=made.hidden, metric=made.metric)
    assert added["rows"] == noise.HIDDEN


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strings", "columns", "numbers", "heads"])
def test_every_stage_of_a_kernel_of_several_targets_works_on_noise(several, capfd, kind):
    several(kind)
    code = cli.run(["ci", "tiny", "cells", "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert json.loads(out)["label"] == "Scored"


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_stage_of_a_kernel_without_images_works_on_noise(cells, capfd, task):
    cells(task)
    code = cli.run(["ci", "tiny", "cells", "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert json.loads(out)["label"] == "Scored"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["all", "text and columns"])
def test_every_stage_of_a_kernel_of_several_inputs_works_on_noise(workspace, tmp_path, capfd, kind):
    written = competitions_joint.config(tmp_path / "nowhere", kind)
    if kind == "all":
        written = written.replace('"text/gru", ', '"hf/far/away", ').replace(", vocabulary = 300", "")
    write_text(workspace.kernels / "products" / "kernel.toml", written)
    made = tiny.make(workspace.kernels / "products", tmp_path / "tiny")
    (model,) = configs.load(made.workspace.kernels / "products").model
    assert model.beside == (("text/lstm", "table/mlp") if kind == "all" else ("table/mlp",))
    code = cli.run(["ci", "tiny", "products", "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert json.loads(out)["label"] == "Scored"
