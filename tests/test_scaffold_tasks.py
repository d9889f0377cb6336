"""`kkb new` and `kkb fetch` for texts and tables: the task is taken from the files unless a person chose it."""

import pytest

from builder import competition, config, scaffold
from builder.config import IMAGES, TABLES, TASKS, TEXTS
from builder.errors import UserError

from . import competitions, competitions_joint, tables

SLUG = "tiny"


def write(workspace, task):
    root = workspace.private / "data" / SLUG
    if task == TEXTS:
        return tables.texts(root, groups=20)
    return tables.passengers(root) if task == TABLES else competitions.write(root)


def new(workspace, task=""):
    path, proposal = scaffold.new(workspace, "kernel", SLUG, task)
    return path, proposal, config.load(path.parent)


@pytest.mark.parametrize("task", TASKS)
def test_a_new_kernel_beside_its_files_is_of_their_task_and_complete(workspace, task):
    write(workspace, task)
    _, proposal, found = new(workspace)
    assert (proposal.task, found.data.task) == (task, task)
    assert found.data.complete
    assert "task" in found.data.model_fields_set
    assert found.competition.metric == proposal.metric
    assert found.competition.machine == "cpu"


def test_a_group_is_proposed_with_the_folds_that_look_at_it(workspace):
    write(workspace, TEXTS)
    _, _, found = new(workspace)
    assert (found.data.group, found.cv.scheme, found.data.text) == ("movie_id", "stratified-group", ("document",))
    assert [model.backbone for model in found.model] == ["text/linear", "text/linear"]


def test_images_of_patients_are_folded_by_patient(workspace):
    root = write(workspace, IMAGES)
    for name, patient in (("train.csv", lambda row: f"p{row % 12}"), ("test.csv", lambda row: f"q{row}")):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text(
            "\n".join([f"{lines[0]},patient", *(f"{line},{patient(row)}" for row, line in enumerate(lines[1:]))])
        )
    _, _, found = new(workspace)
    assert (found.data.task, found.data.group, found.cv.scheme) == (IMAGES, "patient", "stratified-group")
    assert set(competition.train_rows(found, root).groups) == {f"p{number}" for number in range(12)}


def test_the_model_in_the_comment_is_one(workspace):
    write(workspace, TEXTS)
    path, _, _ = new(workspace)
    text = path.read_text()
    start = text.index("# [[model]]")
    block = text[start : text.index("\n\n", start)]
    path.write_text(text.replace(block, block.replace("# ", "", 1).replace("\n# ", "\n")))
    assert [model.backbone for model in config.load(path.parent).model] == ["text/linear", "text/linear", "text/gru"]


def test_a_table_gets_a_model_of_each_family_and_a_list_of_columns_to_choose_from(workspace):
    write(workspace, TABLES)
    path, proposal, found = new(workspace)
    assert [model.backbone for model in found.model] == ["table/lightgbm", "table/xgboost", "table/mlp"]
    assert found.data.columns == ()
    path.write_text(path.read_text().replace("# columns", "columns"))
    assert config.load(path.parent).data.columns == proposal.columns


@pytest.mark.parametrize("task", ["", *TASKS])
def test_a_new_kernel_without_files_is_open_and_of_the_task_that_was_chosen(workspace, task):
    path, proposal, found = new(workspace, task)
    assert proposal is None
    assert not found.data.complete
    assert ("task" in found.data.model_fields_set) == bool(task)
    assert found.data.task == (task or IMAGES)
    assert "kkb fetch kernel" in path.read_text()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("chosen", [True, False])
def test_an_untouched_file_is_completed_as_if_the_files_had_been_there(workspace, task, chosen):
    path, _, before = new(workspace, task if chosen else "")
    proposal = scaffold.complete(path.parent, before, write(workspace, task))
    assert proposal.task == task
    completed = path.read_text()
    path.unlink()
    new(workspace)
    assert path.read_text() == completed


@pytest.mark.parametrize("task", [TEXTS, TABLES])
@pytest.mark.parametrize("chosen", [True, False])
def test_an_edited_file_keeps_its_edits_and_gets_the_rest(workspace, task, chosen):
    path, _, _ = new(workspace, task if chosen else "")
    text = path.read_text().replace("folds = 5", "folds = 3  # mine").replace('limit = "9h"', 'limit = "2h"')
    path.write_text(text + '\n[bundle]\ncollaborators = ["me"]\n')
    proposal = scaffold.complete(path.parent, config.load(path.parent), write(workspace, task))
    found = config.load(path.parent)
    assert "folds = 3  # mine" in path.read_text()
    assert (found.cv.folds, found.competition.limit, found.bundle.collaborators) == (3, 7200, ("me",))
    assert found.data.complete
    assert (found.data.task, found.data.group, found.competition.metric) == (task, proposal.group, proposal.metric)
    assert all(model.backbone.startswith(("text/", "table/")) for model in found.model)


def test_folds_and_models_that_a_person_chose_stay(workspace):
    path, _, _ = new(workspace, TEXTS)
    text = path.read_text().replace('"stratified"', '"random"').replace('backbone = "text/linear"', 'backbone = "text/lstm"', 1)
    path.write_text(text)
    scaffold.complete(path.parent, config.load(path.parent), write(workspace, TEXTS))
    found = config.load(path.parent)
    assert (found.cv.scheme, found.data.group) == ("random", "")
    assert [model.backbone for model in found.model] == ["text/lstm", "text/linear"]
    assert found.data.complete


def test_a_model_of_images_that_a_person_edited_is_refused_beside_texts_and_says_what_fits(workspace):
    path, _, _ = new(workspace)
    path.write_text(path.read_text().replace("efficientnet_b0", "resnet18"))
    scaffold.complete(path.parent, config.load(path.parent), write(workspace, TEXTS))
    with pytest.raises(UserError, match=r"model\.0\.backbone") as caught:
        config.load(path.parent)
    assert "text/linear" in caught.value.expected


def test_columns_with_quotes_stay_toml(workspace):
    root = write(workspace, TABLES)
    for name in ("train.csv", "test.csv"):
        path = root / name
        path.write_text(path.read_text().replace("Age", '"A ""g"" \\é\x7f"', 1))
    path, proposal, _ = new(workspace)
    assert 'A "g" \\é\x7f' in proposal.columns
    path.write_text(path.read_text().replace("# columns", "columns"))
    assert config.load(path.parent).data.columns == proposal.columns


def test_what_else_a_row_has_is_offered_to_networks_beside_the_backbone(workspace):
    """As comments: with these taken away, and the networks named, it is a kernel of several inputs."""
    competitions_joint.write(workspace.private / "data" / SLUG, "all")
    path, proposal, found = new(workspace)
    assert (proposal.further_text, proposal.further) == (("title",), ("weight", "maker"))
    assert not config.reads_cells(found)
    written = path.read_text().replace("# text =", "text =").replace("# columns =", "columns =")
    path.write_text(written.replace("pretrained = false\n", 'pretrained = false\nbeside = ["text/gru", "table/mlp"]\n'))
    read = config.load(path.parent)
    assert (read.data.text, read.data.columns) == (("title",), ("weight", "maker"))
    assert config.reads_cells(read)
