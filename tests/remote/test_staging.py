import json

import pytest

from builder.errors import UserError
from builder.remote import staging
from tests.remote.folders import bundle

CONTENT = {"a.onnx": b"weights", "b.whl": b"wheel"}


def test_a_folder_that_agrees_with_its_manifest_is_read(tmp_path):
    found = staging.read(bundle(tmp_path / "d", CONTENT))
    assert (found.owner, found.public) == ("local", False)
    assert set(found.files) == {*CONTENT, "manifest.json"}
    assert found.slug.endswith(found.digest[:12])
    staging.check_content(found)


@pytest.mark.parametrize(
    "harm",
    [
        lambda d: (d / "a.onnx").unlink(),
        lambda d: (d / "a.onnx").write_bytes(b"longer than before"),
        lambda d: (d / "extra.txt").write_text("x"),
        lambda d: (d / "sub").mkdir(),
        lambda d: (d / "manifest.json").unlink(),
        lambda d: (d / "manifest.json").write_text("{"),
        lambda d: (d / "manifest.json").write_text("{}"),
        lambda d: (d / "dataset-metadata.json").write_text('{"id": "no-owner", "title": "long enough"}'),
    ],
    ids=["missing", "longer", "extra", "folder", "no-manifest", "half-manifest", "empty-manifest", "no-owner"],
)
def test_a_folder_that_does_not_is_refused(tmp_path, harm):
    folder = bundle(tmp_path / "d", CONTENT)
    harm(folder)
    with pytest.raises(UserError) as caught:
        staging.read(folder)
    assert "kkb bundle" in caught.value.remedy


@pytest.mark.parametrize("slug", ["short", "x" * 51, "Upper-case-slug", "under_score_slug"])
def test_a_slug_that_kaggle_does_not_take_is_refused(tmp_path, slug):
    with pytest.raises(UserError, match="slug"):
        staging.read(bundle(tmp_path / "d", CONTENT, slug=slug))


@pytest.mark.parametrize("name", ["kernel-metadata.json", "dataset-cover-image.png", "datapackage.json"])
def test_files_that_the_client_leaves_out_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="leave this file out"):
        staging.read(bundle(tmp_path / "d", {name: b"x"}))


def test_equal_size_and_other_content_is_caught_before_an_upload(tmp_path):
    folder = bundle(tmp_path / "d", CONTENT)
    (folder / "a.onnx").write_bytes(b"WEIGHTS")
    with pytest.raises(UserError, match=r"a\.onnx.*not the one in the manifest"):
        staging.check_content(staging.read(folder))


def test_the_staging_path_names_content_and_destination(tmp_path):
    folder = bundle(tmp_path / "d", CONTENT, slug="same-slug")
    one = path_of(folder, "here")
    assert path_of(folder, "here") == one
    assert path_of(folder, "there") != one
    bundle(folder, {"a.onnx": b"WEIGHTS", "b.whl": b"wheel"}, slug="same-slug")
    assert path_of(folder, "here") != one


def path_of(folder, destination):
    with staging.stage(staging.read(folder), destination) as staged:
        return staged


def test_two_uploads_of_the_same_at_once_do_not_meet(tmp_path):
    found = staging.read(bundle(tmp_path / "d", CONTENT))
    with staging.stage(found, "here") as one, staging.stage(found, "here") as other:
        assert one != other
        assert (one / "files/a.onnx").is_file()
        assert (other / "files/a.onnx").is_file()
    assert not other.exists()


def test_staging_costs_no_space_is_private_and_leaves_nothing(tmp_path):
    folder = bundle(tmp_path / "d", CONTENT)
    with staging.stage(staging.read(folder), "here") as staged:
        assert sorted(path.name for path in (staged / "files").iterdir()) == sorted(path.name for path in folder.iterdir())
        assert (staged / "files/a.onnx").stat().st_ino == (folder / "a.onnx").stat().st_ino
        assert staged.stat().st_mode & 0o077 == 0
        # What replaces a file of the bundle meanwhile does not change what is being sent.
        (folder / "new").write_bytes(b"other")
        (folder / "new").replace(folder / "a.onnx")
        assert (staged / "files/a.onnx").read_bytes() == b"weights"
        staging.clear(staged)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


def test_a_difference_names_each_file():
    text = staging.difference({"a": 1, "b": 2, "x": 3}, {"a": 1, "b": 5, "c": 6})
    assert text == "c missing; x unexpected; b has 2 bytes, not 5"
    assert staging.difference({"a": 1}, {"a": 1}) == ""


def test_isprivate_is_honoured(tmp_path):
    folder = bundle(tmp_path / "d", CONTENT)
    file = folder / "dataset-metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "isPrivate": False}))
    assert staging.read(folder).public
