"""A training: complete, honest about what each fold saw, resumed without a difference, and never changed afterwards."""

import dataclasses
import json

import numpy as np
import pytest

from builder import competition, images, models
from builder.errors import UserError
from builder.train import record, sources, stage
from builder.workspace import Workspace, sha256_file

pytest.importorskip("torch")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, sha256_file(path))
        for path in folder.rglob("*")
        if path.is_file()
    }


def weights_of(folder):
    return {path.name: sha256_file(path) for path in (folder / "checkpoints").glob("*.safetensors")}


def test_the_record_is_complete_and_true(trained):
    workspace, config, version, _ = trained
    assert record.load(version.folder) == version
    assert version.folder == workspace.weights("animals") / "v001"
    assert version.folds_sha256 == sha256_file(version.folder / record.FOLDS)
    (model,) = version.models
    assert (version.rows, version.folds, version.classes, model.views) == (60, 2, ("cat", "dog"), config.inference.views)
    assert [checkpoint.fold for checkpoint in model.checkpoints] == [0, 1]
    for checkpoint in model.checkpoints:
        path = version.checkpoint(model, checkpoint.fold)
        assert (path.stat().st_size, sha256_file(path)) == (checkpoint.bytes, checkpoint.sha256)
        assert 0 <= checkpoint.score <= 1
        assert checkpoint.seconds > 0
    assert {"torch", "timm", "numpy"} <= set(version.packages)
    assert version.device
    raw = (version.folder / record.FILE).read_text()
    assert str(workspace.root) not in raw, "a committed record names no path of the machine"


def test_no_pickle_and_no_litter_lie_in_a_version(trained):
    names = {path.relative_to(trained[2].folder).as_posix() for path in trained[2].folder.rglob("*") if path.is_file()}
    assert names == {
        "version.json", "folds.csv", "oof/resnet-identity.npy",
        *(f"checkpoints/resnet-f{fold}.{suffix}" for fold in (0, 1) for suffix in ("json", "safetensors")),
    }  # fmt: skip


def test_no_fold_learnt_from_a_row_that_it_judges(trained):
    _, _, version, seen = trained
    _, folds, _ = record.read_folds(version.folder / record.FOLDS)
    assert len(seen) == 2
    for fold, rows in enumerate(seen):
        assert set(folds[rows]) == {1 - fold}
        assert len(rows) == (folds != fold).sum()


def test_out_of_fold_predictions_are_those_of_the_model_that_did_not_see_the_row(trained):
    workspace, config, version, _ = trained
    (model,) = version.models
    root = config.data_root(workspace.root)
    rows = competition.train_rows(config, root)
    ids, folds, labels = record.read_folds(version.folder / record.FOLDS)
    assert ids == rows.ids
    assert labels == rows.told
    pixels = images.decoded(rows.paths, model.input, root=root, cache=workspace.cache)
    oof = np.load(version.oof("resnet", "identity"))
    assert (oof.shape, oof.dtype) == ((60, 2), np.float32)
    np.testing.assert_allclose(oof.sum(axis=1), 1, atol=1e-5)
    for checkpoint in model.checkpoints:
        module = sources.network(config.model[0], 2, pretrained=False)
        models.load_weights(module, version.checkpoint(model, checkpoint.fold))
        held_out = np.flatnonzero(folds == checkpoint.fold)
        np.testing.assert_allclose(models.answers(module, pixels, held_out), oof[held_out], atol=1e-5)
        assert checkpoint.score == pytest.approx((oof[held_out].argmax(1) == rows.y[held_out]).mean())
    assert model.score == pytest.approx((oof.argmax(1) == rows.y).mean())


def test_training_again_changes_nothing(copied):
    workspace, config, version = copied
    before = contents(workspace.weights("animals"))
    again, fresh = stage.train(config, workspace, "animals", resume=True)
    assert not fresh
    assert again == version
    assert contents(workspace.weights("animals")) == before


@pytest.mark.parametrize(
    ("section", "change", "new"),
    [
        ("train", {"lr": 1e-4}, True),
        ("train", {"seed": 5}, True),
        ("cv", {"seed": 5}, True),
        ("competition", {"limit": 60.0}, False),
        ("inference", {"reserve": 0.2}, False),
        ("export", {"precision": "fp16"}, False),
        ("bundle", {"private": False}, False),
        ("data", {"test_image": "elsewhere/{image_id}.png"}, False),
    ],
)
def test_a_version_is_named_by_what_it_was_made_from(trained, section, change, new):
    workspace, config, version, _ = trained
    changed = config.model_copy(update={section: getattr(config, section).model_copy(update=change)})
    assert (stage.digest(changed, workspace, "animals") != version.digest) == new


def test_where_the_data_lies_does_not_matter_but_what_it_says_does(trained, tmp_path):
    import shutil

    workspace, config, version, _ = trained
    moved = tmp_path / "moved"
    shutil.copytree(config.data_root(workspace.root), moved, copy_function=shutil.copyfile)  # times of change are new
    data = config.data.model_copy(update={"root": str(moved)})
    there = config.model_copy(update={"data": data})
    assert stage.digest(there, workspace, "animals") == version.digest
    text = (moved / "train.csv").read_text()
    (moved / "train.csv").write_text(text.replace("a000,cat", "a000,dog"))
    assert stage.digest(there, workspace, "animals") != version.digest


class Stop:
    """A Report that interrupts when the training of a fold is told to be over."""

    def __init__(self, after):
        self.after, self.texts = after, []

    def __call__(self, done, _, text):
        self.texts.append(text)
        if done >= self.after and "decod" not in text:
            raise KeyboardInterrupt


def test_a_killed_training_is_resumed_without_a_difference(copied):
    """Interrupted in its second fold, taken up again: only that fold is trained, and all weights are as without the kill."""
    workspace, config, version = copied
    home = Workspace(workspace.root / "again")
    with pytest.raises(KeyboardInterrupt):
        stage.train(config, home, "animals", report=Stop(after=2))
    folder = home.weights("animals") / "v001"
    assert not (folder / record.FILE).exists()
    assert record.finished(home.weights("animals")) == []
    assert list(weights_of(folder)) == ["resnet-f0.safetensors"]
    first = contents(folder)["checkpoints/resnet-f0.safetensors"]
    texts = []
    resumed, fresh = stage.train(config, home, "animals", resume=True, report=lambda *told: texts.append(told[2]))
    assert fresh
    assert resumed.folder == folder
    assert any("fold 0: kept" in text or "kept" in text for text in texts)
    assert contents(folder)["checkpoints/resnet-f0.safetensors"] == first
    assert weights_of(folder) == weights_of(version.folder)
    assert (folder / "oof/resnet-identity.npy").read_bytes() == (version.folder / "oof/resnet-identity.npy").read_bytes()
    assert resumed.digest == version.digest


@pytest.mark.slow
def test_without_resume_a_killed_training_is_left_alone(copied):
    workspace, config, _ = copied
    home = Workspace(workspace.root / "again")
    with pytest.raises(KeyboardInterrupt):
        stage.train(config, home, "animals", report=Stop(after=2))
    before = contents(home.weights("animals") / "v001")
    version, _ = stage.train(config, home, "animals")
    assert version.version == "v002"
    assert contents(home.weights("animals") / "v001") == before


def test_folds_may_be_trained_one_by_one(copied):
    workspace, config, version = copied
    home = Workspace(workspace.root / "again")
    assert stage.train(config, home, "animals", fold=1) == (None, True)
    assert list(weights_of(home.weights("animals") / "v001")) == ["resnet-f1.safetensors"]
    made, _ = stage.train(config, home, "animals", fold=0)
    assert made.version == "v001"
    assert weights_of(made.folder) == weights_of(version.folder)


@pytest.mark.parametrize("fold", [-1, 2])
def test_a_fold_that_does_not_exist_is_refused(copied, fold):
    workspace, config, _ = copied
    with pytest.raises(UserError, match="no such fold") as caught:
        stage.train(config, workspace, "animals", fold=fold)
    assert caught.value.expected == "0 to 1"


@pytest.mark.slow
def test_another_recipe_is_another_version_and_the_first_one_stays(copied):
    workspace, config, version = copied
    before = contents(version.folder)
    changed = config.model_copy(update={"train": config.train.model_copy(update={"lr": 1e-4})})
    made, fresh = stage.train(changed, workspace, "animals")
    assert (made.version, fresh) == ("v002", True)
    assert contents(version.folder) == before
    assert stage.train(config, workspace, "animals")[0].version == "v001"


def test_a_corrupt_image_stops_a_training_before_it_begins(copied, tmp_path):
    import shutil

    workspace, config, _ = copied
    root = tmp_path / "spoilt"
    shutil.copytree(config.data_root(workspace.root), root)
    (root / "train_images" / "a011.png").write_bytes(b"spoilt")
    spoilt = config.model_copy(update={"data": config.data.model_copy(update={"root": str(root)})})
    home = Workspace(tmp_path / "home")
    with pytest.raises(UserError, match="cannot be read") as caught:
        stage.train(spoilt, home, "animals")
    assert "a011.png" in str(caught.value)
    assert record.finished(home.weights("animals")) == []


def spoil(path, change):
    from safetensors.torch import load_file, save_file

    state = load_file(str(path))
    change(state)
    save_file(state, str(path))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("fc.weight"), "1 missing keys ['fc.weight']"),
        (lambda state: state.update({"neck.weight": state["fc.bias"].clone()}), "1 surplus keys ['neck.weight']"),
    ],
    ids=["missing", "surplus"],
)
def test_a_checkpoint_that_does_not_fit_names_the_keys(copied, change, told):
    _, config, version = copied
    path = version.checkpoint(version.models[0], 0)
    names = list(models.create("timm/test_resnet", {}, 2, pretrained=False, image_size=None).state_dict())
    assert {"fc.weight", "fc.bias"} <= set(names)
    spoil(path, change)
    with pytest.raises(UserError, match="does not fit") as caught:
        models.load_weights(sources.network(config.model[0], 2, pretrained=False), path)
    assert told in caught.value.found
    assert caught.value.file == str(path)


def test_a_checkpoint_of_another_size_is_a_fault_of_the_input(copied):
    """The same architecture with another number of classes."""
    _, config, version = copied
    path = version.checkpoint(version.models[0], 0)
    with pytest.raises(UserError, match="fit") as caught:
        models.load_weights(sources.network(config.model[0], 7, pretrained=False), path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("content", [b"", b"no weights" * 10])
def test_a_checkpoint_that_was_cut_is_named(copied, content):
    _, config, version = copied
    path = version.checkpoint(version.models[0], 0)
    path.write_bytes(content)
    with pytest.raises(UserError, match="checkpoint cannot be read") as caught:
        models.load_weights(sources.network(config.model[0], 2, pretrained=False), path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw | {"schema": 9}, lambda raw: {k: v for k, v in raw.items() if k != "models"}],
    ids=["schema", "models"],
)
def test_a_version_of_another_schema_is_refused(copied, damage):
    _, _, version = copied
    path = version.folder / record.FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(UserError) as caught:
        record.load(version.folder)
    assert caught.value.file == str(path)


def test_a_folder_that_is_no_version_is_not_taken_for_one(tmp_path):
    for name in ("v001", "v1", "v0x2", "notes", "v0003"):
        (tmp_path / name).mkdir()
    (tmp_path / "v007").write_text("a file")
    assert record.numbers(tmp_path) == [1, 3]


def test_records_are_frozen(trained):
    with pytest.raises(dataclasses.FrozenInstanceError):
        trained[2].rows = 7
