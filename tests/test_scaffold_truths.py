"""`kkb new` and `kkb fetch` for several labels, numbers and several heads: what is written, and for which models."""

import pytest

from builder import config, scaffold
from builder.competition import Proposal
from builder.config import IMAGES, TABLES, TASKS, TEXTS
from builder.metrics import CLASSES, MULTILABEL, NUMBERS

from . import competitions
from .test_competition_aims import AIMS, ROWS, write

TEXT = {"document": [f"a long and winding review of film {row}" for row in range(ROWS)]}
ALL = ["table/lightgbm", "table/xgboost", "table/mlp"]
FIRST = {
    (TABLES, "names of labels"): ALL,
    (TABLES, "labels in columns"): ALL,
    (TABLES, "heads"): ALL,
    (TABLES, "several numbers"): ALL,
    (TABLES, "a scale"): ALL,
    (TEXTS, "names of labels"): ["text/linear", "text/gru"],
    (TEXTS, "labels in columns"): ["text/linear", "text/gru"],
    (TEXTS, "heads"): ["text/linear", "text/gru"],
    (TEXTS, "a scale"): ["text/linear", "text/gru"],
    (TEXTS, "one class"): ["text/linear", "text/linear"],
}
SAID = {
    MULTILABEL: 'truth = "multilabel"            # labels',
    NUMBERS: 'truth = "numbers"               # not',
    CLASSES: "of its own",
}


def files(workspace, task, aim):
    targets, answers, keys, _ = AIMS[aim]
    return write(workspace.private / "data" / "tiny", targets, answers, keys=keys, more=TEXT if task == TEXTS else None)


@pytest.mark.parametrize(("task", "aim"), FIRST)
def test_the_first_models_can_answer_what_is_asked_and_the_file_says_so(workspace, task, aim):
    files(workspace, task, aim)
    path, proposal = scaffold.new(workspace, "kernel", "tiny", "")
    found, text = config.load(path.parent), path.read_text()
    assert (found.data.task, found.data.truth) == (task, proposal.truth)
    assert [model.backbone for model in found.model] == FIRST[task, aim]
    assert (SAID[proposal.truth] in text) == (aim != "one class")
    assert ("truth =" in text) == (proposal.truth != CLASSES)
    assert f'metric = "{proposal.metric}"' in text
    measures = next(line for line in text.splitlines() if line.startswith("metric")).partition("# ")[2]
    assert proposal.metric in measures


@pytest.mark.parametrize("aim", ["names of labels", "heads", "several numbers"])
@pytest.mark.parametrize("chosen", ["", TABLES])
def test_an_untouched_file_is_completed_as_if_the_files_had_been_there(workspace, aim, chosen):
    path, _ = scaffold.new(workspace, "kernel", "tiny", chosen)
    root = files(workspace, TABLES, aim)
    assert scaffold.complete(path.parent, config.load(path.parent), root)
    completed = path.read_text()
    path.unlink()
    scaffold.new(workspace, "kernel", "tiny", "")
    assert path.read_text() == completed


@pytest.mark.parametrize("aim", ["names of labels", "heads", "several numbers"])
def test_an_edited_file_keeps_its_edits_and_gets_the_rest(workspace, aim):
    path, _ = scaffold.new(workspace, "kernel", "tiny", TABLES)
    path.write_text(path.read_text().replace("folds = 5", "folds = 3  # mine"))
    proposal = scaffold.complete(path.parent, config.load(path.parent), files(workspace, TABLES, aim))
    found = config.load(path.parent)
    assert "folds = 3  # mine" in path.read_text()
    assert (found.data.target, found.data.truth) == (proposal.target, proposal.truth)
    assert (found.competition.metric, [model.backbone for model in found.model]) == (proposal.metric, FIRST[TABLES, aim])


def test_a_metric_that_a_person_chose_stays(workspace):
    path, _ = scaffold.new(workspace, "kernel", "tiny", TABLES)
    path.write_text(path.read_text().replace('metric = "accuracy"', 'metric = "kind=accuracy, size=f1_macro"'))
    scaffold.complete(path.parent, config.load(path.parent), files(workspace, TABLES, "heads"))
    assert config.load(path.parent).competition.metric == "kind=accuracy, size=f1_macro"


@pytest.mark.parametrize("edited", [False, True])
def test_images_of_a_measure_get_a_metric_that_scores_it(workspace, edited):
    path, _ = scaffold.new(workspace, "animals", "tiny", IMAGES)
    if edited:
        path.write_text(path.read_text().replace("folds = 5", "folds = 3"))
    root = competitions.write(workspace.private / "data" / "tiny", classes=tuple(f"{row}.5" for row in range(60)))
    scaffold.complete(path.parent, config.load(path.parent), root)
    found = config.load(path.parent)
    assert (found.data.truth, found.competition.metric, found.cv.folds) == (NUMBERS, "rmse", 3 if edited else 5)
    assert found.data.complete


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("truth", [CLASSES, MULTILABEL, NUMBERS])
def test_columns_of_any_name_stay_toml(workspace, task, truth):
    names = ('a "b" \\c', "名前 #1", "x=1, y")
    proposal = Proposal(
        id="id", target=names, image="{id}.png", test_image="{id}.png", form="columns", classes=3, rows=9, task=task,
        text=("document",), truth=truth, metric={CLASSES: "accuracy", MULTILABEL: "mean(auc)", NUMBERS: "rmse"}[truth],
    )  # fmt: skip
    folder = workspace.kernels / "kernel"
    folder.mkdir()
    (folder / "kernel.toml").write_text(scaffold.kernel_toml("kernel", "tiny", "", proposal), encoding="utf-8")
    assert config.load(folder).data.targets == names
