"""Datasets: named by content, flat, whole, and such that Kaggle and its client leave them as they are."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from builder.bundle import stage
from builder.bundle.record import MANIFEST, METADATA, MOST_FILES, SLUG_LENGTH, UNPACKED, placed
from builder.config import Bundle
from builder.errors import UserError
from builder.export.record import File, Probe
from builder.plan import stage as planning
from builder.workspace import Workspace, sha256_file, short
from tests import competitions, records

from .making import dataset, files_in

SETTINGS = Bundle()


@pytest.fixture
def small(tmp_path):
    return dataset(tmp_path / "exports", {"resnet-f0-fp32.onnx": b"zero", "resnet-f1-fp32.onnx": b"one"})


def write(made, workspace, owner="me"):
    (bundled,) = stage.write([made], workspace, owner, SETTINGS)
    return bundled


def test_same_content_same_bytes_and_slug_wherever_it_lies(tmp_path, small):
    other = dataset(tmp_path / "elsewhere", {"resnet-f1-fp32.onnx": b"one", "resnet-f0-fp32.onnx": b"zero"})
    for file in other.files:
        os.utime(file.path, (10**9, 10**9))
    one, two = (write(made, Workspace(tmp_path / str(n))) for n, made in enumerate((small, other)))
    assert one.slug == two.slug
    assert files_in(tmp_path / "0" / ".kkb/datasets" / one.slug) == files_in(tmp_path / "1" / ".kkb/datasets" / two.slug)


@pytest.mark.parametrize(
    "files",
    [
        {"resnet-f0-fp32.onnx": b"zero", "resnet-f1-fp32.onnx": b"onf"},
        {"resnet-f0-fp32.onnx": b"zero"},
        {"resnet-f0-fp32.onnx": b"zero", "resnet-f2-fp32.onnx": b"one"},
        {"resnet-f0-fp32.onnx": b"one", "resnet-f1-fp32.onnx": b"zero"},
    ],
    ids=["another byte", "one less", "another name", "swapped"],
)
def test_other_content_is_another_dataset(tmp_path, small, files):
    other = dataset(tmp_path / "other", files)
    assert other.slug != small.slug
    assert other.slug.startswith("resnet-")


def test_the_slug_does_not_say_whose_it_is(tmp_path, small, workspace):
    mine, theirs = write(small, workspace, "me"), write(small, Workspace(tmp_path / "theirs"), "somebody-else")
    assert mine.slug == theirs.slug
    assert mine.digest == theirs.digest
    assert json.loads((workspace.datasets / mine.slug / METADATA).read_text())["id"] == f"me/{mine.slug}"


def test_unchanged_content_is_not_written_again(small, workspace):
    first = write(small, workspace)
    folder = workspace.datasets / first.slug
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    again = write(small, workspace)
    assert (first.changed, again.changed) == (True, False)
    assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before


def test_another_owner_changes_the_metadata_alone(small, workspace):
    folder = workspace.datasets / write(small, workspace, "me").slug
    before = files_in(folder)
    assert write(small, workspace, "you").changed is False
    after = files_in(folder)
    assert {name for name in before if before[name] != after[name]} == {METADATA}


@pytest.mark.parametrize("name", ["resnet-f1-fp32.onnx", MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_folder_that_was_damaged_is_made_anew(small, workspace, name, damage):
    folder = workspace.datasets / write(small, workspace).slug
    before = files_in(folder)
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "shorter":
        (folder / name).write_bytes(data[:-2])
    assert write(small, workspace).changed
    assert files_in(folder) == before


def test_the_manifest_says_what_is_there(small, workspace):
    folder = workspace.datasets / write(small, workspace).slug
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["digest"] == small.digest
    for file in manifest["files"]:
        assert (folder / file["name"]).stat().st_size == file["bytes"]
        assert sha256_file(folder / file["name"]) == file["sha256"]
    assert {file["name"] for file in manifest["files"]} | {MANIFEST, METADATA} == set(files_in(folder))


def test_the_folder_is_flat(small, workspace):
    """The official client skips sub-folders without a word."""
    folder = workspace.datasets / write(small, workspace).slug
    assert all(path.is_file() and not path.is_symlink() for path in folder.iterdir())


def test_nothing_is_stored_twice(small, workspace):
    folder = workspace.datasets / write(small, workspace).slug
    for file in small.files:
        assert (folder / file.name).stat().st_ino == file.path.stat().st_ino


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_an_export_that_was_damaged_is_found_before_it_travels(small, workspace, damage):
    file = small.files[1]
    if damage == "changed":
        file.path.write_bytes(b"0ne")
    else:
        file.path.unlink()
    with pytest.raises(UserError) as caught:
        write(small, workspace)
    assert caught.value.file == str(file.path)
    assert "kkb export" in caught.value.remedy
    assert not (workspace.datasets / small.slug).exists()
    assert list(workspace.datasets.glob("*")) == []


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".zip", ".tar.gz", ".gz", ".tar", ".7z"])
def test_what_kaggle_would_unpack_is_refused(tmp_path, workspace, suffix):
    with pytest.raises(UserError, match="unpack"):
        write(dataset(tmp_path / "x", {f"resnet-f0{suffix}": b"data"}), workspace)
    assert any(suffix.endswith(known) for known in UNPACKED)
    assert list(workspace.datasets.glob("*")) == []


def test_more_files_than_kaggle_takes_are_refused(tmp_path, workspace):
    files = {f"f{i:02d}.onnx": b"x" for i in range(MOST_FILES - 1)}
    assert write(dataset(tmp_path / "just", files), workspace).files == MOST_FILES - 1
    with pytest.raises(UserError, match="too many files"):
        write(dataset(tmp_path / "over", {**files, "one-more.onnx": b"x"}), workspace)


def test_a_slug_that_is_too_long_for_kaggle_is_refused_with_the_name_to_shorten(small, workspace):
    room = SLUG_LENGTH[1] - len(f"-{short(small.digest)}")
    write(dataclasses.replace(small, stem="a" * room), workspace)
    with pytest.raises(UserError, match="slug") as caught:
        write(dataclasses.replace(small, stem="a" * (room + 1)), workspace)
    assert "model.name" in caught.value.remedy


def test_every_name_that_kernel_toml_takes_makes_a_slug_that_kaggle_takes(small, workspace):
    write(dataclasses.replace(small, stem="a" * 30), workspace)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A workspace with a plan over two members; its plan and its exports. Change only copies."""
    home = tmp_path_factory.mktemp("planned")
    workspace, animals = Workspace(home / "space"), competitions.write(home / "animals")
    config = records.kernel(workspace, animals)
    ids, labels = records.rows_of(animals)
    codes = np.array([("cat", "dog").index(label) for label in labels])
    oof = {
        name: {"identity": records.predictions(codes, 2, skill=1.3, seed=seed)} for seed, name in enumerate(("resnet", "effnet"))
    }
    facts = {"ids": ids, "folds": np.arange(len(ids)) % 2, "labels": labels, "classes": ("cat", "dog")}
    version = records.version(config, workspace, 1, oof, **facts)
    exports = {"v001": records.export(config, version, oof)}
    joined = planning.members(config, workspace.weights("animals"), exports)
    made, _ = planning.plan(config, "animals", workspace.kernel("animals"), animals, joined)
    return workspace, made.plan, exports


@pytest.fixture
def case(planned, workspace):
    """A plan over two members, their exports, and the datasets."""
    home, plan, exports = planned
    shutil.copytree(home.root / "weights", workspace.root / "weights")
    folder = workspace.root / exports["v001"].folder.relative_to(home.root)
    return plan, {"v001": dataclasses.replace(exports["v001"], folder=folder)}


def test_a_plan_comes_to_one_dataset_per_member_and_the_runtime(case, workspace):
    plan, exports = case
    found = stage.datasets(plan, exports, workspace)
    assert {made.key for made in found} == {"v001:resnet", "v001:effnet", "runtime"}
    for unit in plan.units:
        (home,) = [made for made in found if made.key == unit.dataset]
        assert unit.file in {file.name for file in home.files}
    assert len({made.slug for made in found}) == 3


def test_only_what_the_plan_uses_travels(case, workspace):
    plan, exports = case
    short = dataclasses.replace(plan, units=plan.units[:1], prefixes=plan.prefixes[:1])
    weights, runtime = stage.datasets(short, exports, workspace)
    assert [file.name for file in weights.files] == [plan.units[0].file]
    assert runtime.key == stage.RUNTIME


def test_slugs_come_from_records_alone(case, workspace):
    """A machine that renders and pushes has no weights, and comes to the same slugs."""
    plan, exports = case
    before = [made.slug for made in stage.datasets(plan, exports, workspace)]
    for path in exports["v001"].folder.glob("*.onnx"):
        path.unlink()
    assert [made.slug for made in stage.datasets(plan, exports, workspace)] == before


def test_a_plan_that_the_export_no_longer_fits_is_refused(case, workspace):
    plan, exports = case
    unit = dataclasses.replace(plan.units[0], file="resnet-f9-fp32.onnx")
    other = dataclasses.replace(plan, units=(unit, *plan.units[1:]))
    with pytest.raises(UserError, match="has not") as caught:
        stage.datasets(other, exports, workspace)
    assert "kkb plan" in caught.value.remedy


def test_a_plan_of_a_version_that_is_not_exported_is_refused(case, workspace):
    with pytest.raises(UserError, match="has not"):
        stage.datasets(case[0], {}, workspace)


@pytest.mark.parametrize("folds", [([2], "fold 2"), ([0, 1, 2], "folds 0-2"), ([0, 2, 3], "folds 0 2 3"), ([-1], "all rows")])
def test_titles_name_the_folds(folds):
    assert stage._span(folds[0]) == folds[1]


def test_the_official_client_accepts_every_folder(case, workspace):
    """By the client's own validation: title and slug lengths, licence, a folder without surprises."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi.__new__(KaggleApi)
    plan, exports = case
    for bundled in stage.write(stage.datasets(plan, exports, workspace), workspace, "me", SETTINGS):
        folder = workspace.datasets / bundled.slug
        metadata = json.loads((folder / METADATA).read_text())
        assert 6 <= len(metadata["title"]) <= 50
        owner, slug, _ = api.split_dataset_string(metadata["id"])
        assert (owner, slug) == ("me", bundled.slug)
        api.validate_dataset_string(metadata["id"])
        assert metadata["licenses"] == [{"name": "CC0-1.0"}]
        assert metadata["isPrivate"] is True
        assert api.get_dataset_metadata_file(str(folder)) == str(folder / METADATA)
        for path in folder.iterdir():
            assert "." in path.name
            assert path.suffix not in {".zip", ".gz", ".tar", ".7z", ".pt", ".pth"}


def test_what_a_model_needs_beside_it_and_its_probe_travel_along(case, workspace):
    plan, exports = case
    folder = exports["v001"].folder
    facts = {}
    for name in ("resnet-f0-fp32.onnx.data", "resnet-probe.json", "resnet-probe.npy"):
        (folder / name).write_bytes(name.encode())
        facts[name] = File.of(folder / name)
    models = [
        dataclasses.replace(model, beside=(facts["resnet-f0-fp32.onnx.data"],))
        if (model.name, model.fold) == ("resnet", 0)
        else model
        for model in exports["v001"].models
    ]
    probe = Probe("resnet", facts["resnet-probe.json"], facts["resnet-probe.npy"], 256, 1e-4)
    export = dataclasses.replace(exports["v001"], models=tuple(models), probes=(probe,))
    found = {made.key: made for made in stage.datasets(plan, {"v001": export}, workspace)}
    used = {unit.file for unit in plan.units if unit.dataset == "v001:resnet"}
    assert "resnet-f0-fp32.onnx" in used
    assert {file.name for file in found["v001:resnet"].files} == used | set(facts)
    assert found["v001:resnet"].source == {"version": "v001", "export": export.digest}
    assert {file.name for file in found["v001:effnet"].files}.isdisjoint(facts)
    stage.write(found.values(), workspace, "me", SETTINGS)


def test_a_member_over_the_limit_is_split_and_every_unit_still_finds_its_file(case, workspace):
    plan, exports = case
    limit = max(model.bytes for model in exports["v001"].models)
    found = stage.datasets(plan, exports, workspace, settings=SETTINGS.model_copy(update={"split": limit}))
    assert len(found) > len(stage.datasets(plan, exports, workspace))
    homes = {made.key: {file.name for file in made.files} for made in found}
    for unit in placed(plan, found).units:
        assert unit.file in homes[unit.dataset]
    assert (
        len({made.slug for made in found})
        == len({made.title for made in found})
        == len({made.key for made in found})
        == len(found)
    )


def test_a_slug_that_other_content_has_taken_is_avoided(case, workspace):
    plan, exports = case
    plain = stage.datasets(plan, exports, workspace)
    taken = {plain[0].slug, f"{plain[0].slug}-2"}
    found = stage.datasets(plan, exports, workspace, taken=taken)
    assert [made.slug for made in found] == [f"{plain[0].slug}-3", *(made.slug for made in plain[1:])]
    assert found[0].digest == plain[0].digest
    assert found[0].title != plain[0].title


def test_the_slug_is_the_same_whatever_version_of_kkb_makes_it(case, workspace, monkeypatch):
    plan, exports = case
    before = [made.slug for made in stage.datasets(plan, exports, workspace)]
    monkeypatch.setattr(stage, "__version__", "99.0")
    after = stage.datasets(plan, exports, workspace)
    assert [made.slug for made in after] == before
    assert "99.0" in after[-1].title
