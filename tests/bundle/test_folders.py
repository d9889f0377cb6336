"""Folders: nothing written before all is right, nothing stored or read twice, the plain client's metadata for both carriers."""

import dataclasses
import json
import os
import zipfile

import pytest

from builder.bundle import folders, stage
from builder.bundle.record import (
    MANIFEST,
    METADATA,
    MODEL,
    MODEL_METADATA,
    MOST_FILES,
    VARIATION_METADATA,
    Content,
    Dataset,
    sources,
    split,
)
from builder.config import Bundle
from builder.errors import UserError
from builder.runtime import integrity, mend
from builder.workspace import locked, sha256_file

from .making import dataset, files_in

SETTINGS = Bundle()
AS_MODEL = Bundle.model_validate({"as": "model"})
FILES = {"resnet-f0-fp32.onnx": b"zero", "resnet-f1-fp32.onnx": b"one"}


@pytest.fixture
def small(tmp_path):
    return dataset(tmp_path / "exports", FILES)


def written(workspace):
    """Dataset folders, whole or not, that are there."""
    return sorted(path.name for path in workspace.datasets.glob("*"))


def age(made):
    for file in made.files:
        os.utime(file.path, ns=(10**18, 10**18))


def test_one_bad_file_and_no_folder_is_written(tmp_path, workspace, small):
    other = dataset(tmp_path / "other", {"x.onnx": b"x"}, stem="other")
    other.files[0].path.write_bytes(b"y")
    with pytest.raises(UserError, match="not what its record says"):
        stage.write([small, other], workspace, "me", SETTINGS)
    assert written(workspace) == []


def test_nothing_is_read_the_second_time(workspace, small, monkeypatch):
    age(small)
    stage.write([small], workspace, "me", SETTINGS)
    read = []
    real = folders.Hashes._read
    monkeypatch.setattr(folders.Hashes, "_read", lambda self, paths, *rest: read.extend(paths) or real(self, paths, *rest))
    stage.write([small], workspace, "me", SETTINGS)
    assert read == []
    stage.write([small], workspace, "me", SETTINGS, verify=True)
    assert sorted(path.name for path in read) == sorted(FILES)


def test_a_change_in_place_is_noticed_in_the_folder_that_is_linked_to_it(workspace, small):
    age(small)
    stage.write([small], workspace, "me", SETTINGS)
    with small.files[0].path.open("r+b") as stream:
        stream.write(b"Z")
    with pytest.raises(UserError, match="not what its record says"):
        stage.write([small], workspace, "me", SETTINGS)


def test_a_folder_is_enough_where_the_export_is_gone(workspace, small):
    stage.write([small], workspace, "me", SETTINGS)
    for file in small.files:
        file.path.unlink()
    (again,) = stage.write([small], workspace, "me", SETTINGS)
    assert not again.changed


def test_a_file_more_in_the_folder_is_removed_as_it_would_be_uploaded(workspace, small):
    (made,) = stage.write([small], workspace, "me", SETTINGS)
    (workspace.datasets / made.slug / "notes.txt").write_text("private")
    (again,) = stage.write([small], workspace, "me", SETTINGS)
    assert again.changed
    assert set(files_in(workspace.datasets / made.slug)) == {*FILES, MANIFEST, METADATA}


def test_without_links_files_are_copied(workspace, small, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(18, "another disk")))
    (made,) = stage.write([small], workspace, "me", SETTINGS)
    for file in small.files:
        copy = workspace.datasets / made.slug / file.name
        assert copy.read_bytes() == file.path.read_bytes()
        assert copy.stat().st_ino != file.path.stat().st_ino


def test_a_file_that_is_exchanged_between_hashing_and_linking_is_noticed(workspace, small, monkeypatch):
    real = folders._right

    def exchanged(files, *rest):
        found = real(files, *rest)
        new = files[0].path.with_suffix(".new")
        new.write_bytes(b"evil")
        new.replace(files[0].path)
        return found

    monkeypatch.setattr(folders, "_right", exchanged)
    with pytest.raises(UserError, match="changed while"):
        stage.write([small], workspace, "me", SETTINGS)
    assert written(workspace) == []


def test_two_keys_with_one_content_are_one_dataset(workspace, small):
    twin = dataclasses.replace(small, key="v002:resnet", about="resnet v002 folds 0-1 fp32", source={"version": "v002"})
    assert len(stage.write([small, twin], workspace, "me", SETTINGS)) == 1
    assert sources([small, twin], "me") == ([f"me/{small.slug}"], [])
    assert small.carried("me")["slug"] == twin.carried("me")["slug"]


def test_who_made_it_from_what_is_said_and_names_nothing(workspace, small):
    labelled = dataclasses.replace(small, source={"version": "v001", "export": "ab"})
    (made,) = stage.write([small], workspace, "me", SETTINGS)
    (again,) = stage.write([labelled], workspace, "me", SETTINGS)
    assert (again.slug, again.changed) == (made.slug, False)
    manifest = json.loads((workspace.datasets / made.slug / MANIFEST).read_text())
    assert manifest["source"] == {"version": "v001", "export": "ab"}
    assert set(manifest) == {"digest", "files", "key", "source", "tool", "check"}
    integrity.check_manifest(workspace.datasets / made.slug)
    text = (workspace.datasets / made.slug / MANIFEST).read_text()
    assert str(workspace.root) not in text
    assert "me" not in json.dumps([manifest["key"], manifest["source"]])


def test_team_mates_are_named_where_the_official_client_looks_for_them(workspace, small):
    (made,) = stage.write([small], workspace, "me", Bundle(collaborators=("ada", "bob"), licence="apache-2.0", private=False))
    metadata = json.loads((workspace.datasets / made.slug / METADATA).read_text())
    assert metadata["collaborators"] == [{"username": "ada", "role": "reader"}, {"username": "bob", "role": "reader"}]
    assert metadata["licenses"] == [{"name": "apache-2.0"}]
    assert metadata["isPrivate"] is False


def test_the_entries_of_a_torchscript_are_in_the_manifest(tmp_path, workspace):
    path = tmp_path / "m-f0-fp32.ts.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"pickle")
        archive.writestr("m/code/net.py", b"code")
    made = Dataset("v001:m", "m-net", "m v001", (Content(path.name, path, path.stat().st_size, sha256_file(path)),))
    (bundled,) = stage.write([made], workspace, "me", SETTINGS)
    manifest = workspace.datasets / bundled.slug / MANIFEST
    (entry,) = json.loads(manifest.read_text())["files"]
    assert entry["entries"] == mend.entries(path)
    before = manifest.stat().st_ino
    (again,) = stage.write([made], workspace, "me", SETTINGS)
    assert not again.changed
    assert manifest.stat().st_ino == before


def test_one_at_a_time(workspace, small):
    with locked(folders.lock_of(workspace)), pytest.raises(UserError, match="another kkb"):
        stage.write([small], workspace, "me", SETTINGS)


# ---- parts


@pytest.mark.parametrize("limit", [1, 10, 11, 25, 1000])
def test_parts_hold_everything_once_in_order_and_within_the_limit(tmp_path, limit):
    files = {f"m-f{fold}-fp16.onnx": b"x" * 8 for fold in range(4)} | {"m-f1-fp16.onnx.data": b"y" * 3, "m-probe.json": b"{}"}
    whole = dataset(tmp_path, files | {"m-probe.npy": b"1"}, stem="m-net", key="v001:m")
    parts = split(whole, limit)
    assert [file for part in parts for file in part.files] == list(whole.files)
    for part in parts:
        names = {file.name.partition(".")[0] for file in part.files}
        assert part.bytes <= limit or len(names) == 1
        assert {file for file in whole.files if file.name.partition(".")[0] in names} == set(part.files)
    assert (parts == (whole,)) == (whole.bytes <= limit)
    assert len({part.key for part in parts}) == len(parts)
    assert parts[0].key == whole.key


def test_more_folds_than_kaggle_takes_files_are_split_too(tmp_path):
    whole = dataset(tmp_path, {f"m-f{fold:02d}.onnx": b"x" for fold in range(2 * MOST_FILES)})
    assert [len(part.files) for part in split(whole, 10**9)] == [MOST_FILES - 1, MOST_FILES - 1, 2]


# ---- as a Kaggle Model


@pytest.fixture
def model(small, workspace):
    made = dataclasses.replace(small, carrier=MODEL)
    (bundled,) = stage.write([made], workspace, "me", AS_MODEL)
    return made, workspace.datasets / bundled.slug


def test_a_model_has_the_same_manifest_and_a_pinned_version(model, small, workspace):
    made, folder = model
    assert (folder / MANIFEST).read_bytes() == json_bytes(small, workspace)
    assert set(files_in(folder)) == {*FILES, MANIFEST, MODEL_METADATA, VARIATION_METADATA}
    handle = f"me/{made.slug}/onnx/weights/1"
    assert sources([made], "me") == ([], [handle])
    assert made.carried("me")["slug"] == handle.removeprefix("me/")


def json_bytes(small, workspace):
    (bundled,) = stage.write([small], type(workspace)(workspace.root / "other"), "me", SETTINGS)
    return (workspace.root / "other" / ".kkb/datasets" / bundled.slug / MANIFEST).read_bytes()


def test_another_carrier_is_the_same_content_with_other_metadata(model, small, workspace):
    _, folder = model
    (back,) = stage.write([small], workspace, "me", SETTINGS)
    assert back.path == str(folder)
    assert set(files_in(folder)) == {*FILES, MANIFEST, METADATA}


def test_the_framework_follows_the_files(tmp_path):
    assert dataset(tmp_path, {"a-f0.ts.bin": b""}, carrier=MODEL).place == "pyTorch/weights/1"
    assert dataset(tmp_path, {"a-f0.onnx": b"", "a-probe.json": b""}, carrier=MODEL).place == "onnx/weights/1"
    assert dataset(tmp_path, {"a.bin": b""}, carrier=MODEL).place == "other/weights/1"


class Recorder:
    """Stands where the official client's connection is, and keeps what it would send."""

    def __init__(self):
        self.sent = []
        self.models = self.model_api_client = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getattr__(self, name):
        return lambda request: self.sent.append((name, request))


def test_the_official_client_accepts_the_folder_as_model_and_as_variation(model):
    """Its own reading and checking of both metadata files; nothing is sent."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    made, folder = model
    recorder, api, names = Recorder(), KaggleApi.__new__(KaggleApi), []
    api.build_kaggle_client = lambda: recorder
    api.with_retry = lambda function: function
    api._upload_file_or_folder = lambda _folder, name, *_: names.append(name)
    api.model_create_new(str(folder))
    api.model_instance_create(str(folder), quiet=True)
    (_, create), (_, variation) = recorder.sent
    assert (create.owner_slug, create.slug, create.is_private) == ("me", made.slug, True)
    assert 6 <= len(create.title) <= 50
    assert (variation.model_slug, variation.body.instance_slug) == (made.slug, "weights")
    assert variation.body.framework.name == "MODEL_FRAMEWORK_ONNX"
    assert variation.body.license_name == "CC0: Public Domain"
    assert sorted(names) == sorted([*FILES, MANIFEST])
    api.validate_model_instance_version_string(made.handle("me"))
