"""A kernel with tiny weights: its own settings survive, its models and data do not."""

import pytest

from builder import config as configs
from builder import pipeline
from builder.ci import tiny
from builder.errors import UserError
from builder.workspace import Workspace
from tests import competitions, records

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
    assert small.model[1].input.model_dump() == {**large.model[1].input.model_dump(), "size": tiny.SIDE}
    assert not any(model.checkpoints or model.build or model.pretrained for model in small.model)
    assert small.inference.views == large.inference.views
    assert small.inference.members == ()
    assert (small.competition.slug, small.competition.metric) == (large.competition.slug, large.competition.metric)
    assert small.competition.machine == "cpu"
    assert (made.workspace.kernels / "animals" / "hooks.py").read_text() == "# mine\n"


def test_the_noise_is_laid_out_as_the_competition_is(kernel, tmp_path):
    from builder import competition

    made = tiny.make(kernel, tmp_path / "tiny")
    config = configs.load(made.workspace.kernels / "animals")
    rows = competition.train_rows(config, made.data)
    assert len(rows.ids) == tiny.EACH * len(rows.classes)
    assert all(path.is_file() for path in rows.paths)
    assert len(competition.read_table(made.hidden / "test.csv")) == tiny.HIDDEN
    assert set(competition.read_table(made.hidden / "solution.csv")["Usage"]) == {"Public", "Private"}


@pytest.mark.slow
def test_classes_and_form_are_those_of_the_plan(workspace, tmp_path):
    from builder import competition

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
