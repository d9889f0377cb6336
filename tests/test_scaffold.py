"""What `kkb init`, `new` and `fetch` write: files that load, that a person can edit, and that are never overwritten."""

import tomllib

import pytest

from builder import config, scaffold
from builder.errors import UserError
from builder.workspace import Workspace

from . import competitions

TASK = "image-classification"


def data_of(workspace, **options):
    return competitions.write(workspace.private / "data" / "tiny-animals", **options)


def test_a_new_kernel_loads_before_its_files_are_there(workspace):
    path, proposal = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    assert proposal is None
    found = config.load(path.parent)
    assert found.competition.slug == "tiny-animals"
    assert not found.data.complete


def test_a_new_kernel_beside_its_files_is_complete(workspace):
    root = data_of(workspace)
    path, proposal = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    found = config.load(path.parent)
    assert found.data.complete
    assert (found.data.id, found.data.target, found.data.image) == (proposal.id, proposal.target, proposal.image)
    assert found.data_root(workspace.root) == root


@pytest.mark.parametrize(("side", "machine", "size"), [(28, "cpu", 32), (48, "cpu", 48), (300, "t4x2", 224)])
def test_the_first_model_suits_the_images(workspace, side, machine, size):
    data_of(workspace, side=side, rows=24)
    path, _ = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    found = config.load(path.parent)
    assert found.competition.machine == machine
    assert found.model[0].input.size == size
    assert found.model[0].pretrained == (machine != "cpu")


def test_what_a_person_wrote_is_never_overwritten(workspace):
    path, _ = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    path.write_text("mine")
    with pytest.raises(UserError, match="this kernel exists"):
        scaffold.new(workspace, "animals", "tiny-animals", TASK)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", ["abc", "Animals", "my animals", "animals_1", "é" * 6, "-animals", "a" * 51, "", "../up"])
def test_a_name_that_cannot_be_a_slug_is_refused_with_one_that_can(workspace, name):
    with pytest.raises(UserError) as caught:
        scaffold.new(workspace, name, "tiny-animals", TASK)
    assert caught.value.remedy.startswith("kkb new ")
    scaffold.refuse_name(caught.value.remedy.split()[2])
    assert list(workspace.kernels.iterdir()) == []


def test_an_untouched_file_is_completed_as_if_the_files_had_been_there(workspace):
    path, _ = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    root = data_of(workspace)
    assert scaffold.complete(path.parent, config.load(path.parent), root)
    completed = path.read_text()
    path.unlink()
    scaffold.new(workspace, "animals", "tiny-animals", TASK)
    assert path.read_text() == completed


def test_an_edited_file_keeps_its_edits_and_comments(workspace):
    path, _ = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    edited = path.read_text().replace("folds = 5", "folds = 3  # mine").replace("[data]", '[data]\nid = "image_id"')
    path.write_text(edited)
    scaffold.complete(path.parent, config.load(path.parent), data_of(workspace))
    text, found = path.read_text(), config.load(path.parent)
    assert "folds = 3  # mine" in text
    assert found.data.complete
    assert (found.data.id, found.cv.folds) == ("image_id", 3)
    assert [line for line in edited.splitlines() if line not in text.splitlines()] == []


def test_a_complete_file_is_not_touched(workspace):
    root = data_of(workspace)
    path, _ = scaffold.new(workspace, "animals", "tiny-animals", TASK)
    before = path.read_bytes()
    assert scaffold.complete(path.parent, config.load(path.parent), root) is None
    assert path.read_bytes() == before


def test_a_slug_with_quotes_cannot_break_the_file(workspace):
    """A slug comes from a person's shell: the file must stay TOML, or the slug must be refused."""
    try:
        path, _ = scaffold.new(workspace, "animals", 'a"b', TASK)
    except UserError:
        assert list(workspace.kernels.iterdir()) == []
    else:
        assert tomllib.loads(path.read_text())["competition"]["slug"] == 'a"b'


def test_a_workspace_is_made_once_and_found_again(tmp_path):
    folder = tmp_path / "mine"
    made = scaffold.init(folder)
    assert {path.name for path in made} >= {".gitignore", "README.md"}
    assert Workspace.find(folder / "kernels").root == folder.resolve()
    (folder / "kernels" / "README.md").write_text("mine")
    assert scaffold.init(folder) == []
    assert (folder / "kernels" / "README.md").read_text() == "mine"


def test_a_workspace_commits_records_and_ignores_blobs(tmp_path):
    """By git itself, not by reading the patterns."""
    import subprocess

    scaffold.init(tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, timeout=60)
    base = "weights/digits/v001"
    blobs = [".kkb/ledger.sqlite", f"{base}/checkpoints/a-f0.safetensors", f"{base}/oof/a-identity.npy"]
    blobs += [f"{base}/exports/0a/{name}" for name in ("a-f0-fp32.onnx", "oof-a-identity.npy")]
    records = [f"{base}/version.json", f"{base}/folds.csv", f"{base}/exports/0a/export.json", "kernels/digits/plan.json"]
    asked = subprocess.run(
        ["git", "check-ignore", *blobs, *records], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert asked.stdout.split() == blobs
