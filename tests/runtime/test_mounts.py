"""Exact places first, a bounded search next; the manifest decides, not the name."""

import hashlib
import json
import os
import shutil

import pytest
from kkb_runtime import mounts

SHA = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("m.onnx", "n.onnx", "test.csv")}
HANDLE = "effnet/onnx/v003-fp16/1"


def put(folder, *names, manifest=None):
    """A folder with files that hold their own name; `manifest` maps names to the sha256 that it tells."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    if manifest is not None:
        files = [{"name": name, "bytes": len(name), "sha256": digest} for name, digest in manifest.items()]
        (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


@pytest.mark.parametrize("place", ["datasets/me/w-1a", "w-1a", "d/me/w-1a", "somewhere/else/w-1a", "a/b/c/w-1a"])
def test_a_dataset_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "m.onnx")
    assert mounts.dataset("me", "w-1a", ["m.onnx"]) == folder


@pytest.mark.parametrize(
    "place",
    [
        f"models/me/{HANDLE}",
        HANDLE,
        f"m/me/{HANDLE}",
        "models/me/effnet/ONNX/v003-fp16/1",  # the case of the framework varies
        "models/me/effnet/Onnx/v003-fp16/1",
        "effnet/ONNX/v003-fp16/1",
        "m/me/effnet/ONNX/v003-fp16/1",
        f"models/me/{HANDLE}/wrapper/1",
    ],
)
def test_a_model_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "m.onnx")
    put(folder.parent / "2", "m.onnx")  # another version beside it
    assert mounts.dataset("me", HANDLE, ["m.onnx"]) == folder


@pytest.mark.parametrize("place", ["competitions/digits", "digits", "x/digits"])
def test_a_competition_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "test.csv")
    assert mounts.competition("digits", ["test.csv"]) == folder


@pytest.mark.parametrize("place", ["notebooks/me/prep", "prep"])
def test_the_output_of_a_notebook_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "m.onnx")
    assert mounts.output("me", "prep", ["m.onnx"]) == folder


@pytest.mark.parametrize(
    "place",
    ["datasets/me/w-1a-2", "datasets/mate/w-1a", "datasets/me/w-1a/w-1a", "datasets/me/w-1a/x/y", "renamed", "a/b/c/d/e/f"],
)
def test_the_manifest_decides_and_not_the_name(kaggle, place):
    """A taken slug, a team-mate's copy, a wrapper that unpacking has added, a folder of any name."""
    put(kaggle / "input" / "datasets" / "me" / "twin", "m.onnx", manifest={"m.onnx": "0" * 64})
    folder = put(kaggle / "input" / place, "m.onnx", manifest={"m.onnx": SHA["m.onnx"]})
    assert mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]}) == folder


def test_a_folder_of_the_right_name_with_another_version_is_not_it(kaggle):
    put(kaggle / "input" / "datasets" / "me" / "w-1a", "m.onnx", manifest={"m.onnx": "0" * 64})
    with pytest.raises(mounts.MountError, match=r"w-1a is another version: its manifest\.json names other content for m\.onnx"):
        mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]})
    right = put(kaggle / "input" / "w-1a", "m.onnx", manifest={"m.onnx": SHA["m.onnx"]})
    assert mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]}) == right


def test_two_datasets_without_manifest_are_told_apart_by_name(kaggle):
    put(kaggle / "input" / "other", "m.onnx")
    with pytest.raises(mounts.MountError):
        mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]})


def test_a_folder_without_the_files_is_not_it(kaggle):
    put(kaggle / "input" / "w-1a", "other.txt")
    right = put(kaggle / "input" / "x" / "w-1a", "m.onnx")
    assert mounts.dataset("me", "w-1a", ["m.onnx"]) == right


def test_a_dataset_with_unpacked_files_is_found_by_its_manifest(kaggle):
    folder = put(kaggle / "input" / "datasets" / "me" / "w-1a", manifest={"m.onnx": SHA["m.onnx"]})
    assert mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]}) == folder


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": [3]}', b"\xff\xfe", b"[" * 9000])
def test_a_broken_manifest_is_no_manifest(kaggle, broken):
    folder = put(kaggle / "input" / "datasets" / "me" / "w-1a", "m.onnx")
    (folder / "manifest.json").write_bytes(broken)
    assert mounts.dataset("me", "w-1a", {"m.onnx": SHA["m.onnx"]}) == folder


def test_a_missing_one_says_what_where_and_what_is_there(kaggle):
    put(kaggle / "input" / "datasets" / "me" / "w-1a", "m.txt")
    put(kaggle / "input" / "digits", "test.csv")
    with pytest.raises(mounts.MountError) as error:
        mounts.dataset("me", "w-1a", ["m.onnx"])
    for part in ("dataset me/w-1a", "m.onnx", "datasets/me/w-1a lacks m.onnx", "/input/d/me/w-1a", "digits", "Attach it"):
        assert part in str(error.value)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """100,000 files: half of them flat, half in many folders; links to one file, which is quicker to make."""
    root = tmp_path_factory.mktemp("crowded")
    flat = root / "input" / "competitions" / "digits" / "train_images"
    flat.mkdir(parents=True)
    (flat / "0.png").write_bytes(b"")
    for number in range(1, 50_000):
        os.link(flat / "0.png", flat / f"{number}.png")
    for series in range(500):
        folder = root / "input" / "competitions" / "digits" / "series" / f"{series:03d}"
        folder.mkdir(parents=True)
        (folder / "0.dcm").write_bytes(b"")
        for number in range(1, 100):
            os.link(folder / "0.dcm", folder / f"{number}.dcm")
    (flat.parent / "test.csv").write_text("id")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def asked(monkeypatch):
    """Counts what goes to the file system: `os.stat`, `os.scandir`, `os.lstat`, `os.listdir`, `open`."""
    import builtins
    import io

    calls = []

    def counting(function):
        def call(*arguments, **options):
            calls.append((function.__name__, arguments[:1]))
            return function(*arguments, **options)

        return call

    for name in ("stat", "lstat", "scandir", "listdir", "open"):
        monkeypatch.setattr(os, name, counting(getattr(os, name)))
    monkeypatch.setattr(builtins, "open", counting(open))
    monkeypatch.setattr(io, "open", counting(io.open))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("place", ["datasets/me/w-1a", "d/me/w-1a", "datasets/mate/renamed", "x/y/z/w-1a", None])
def test_the_search_asks_little_of_a_large_tree(crowded, monkeypatch, asked, place):
    monkeypatch.setenv("KKB_KAGGLE", str(crowded))
    wanted = {"m.onnx": SHA["m.onnx"]}
    folder = put(crowded / "input" / place, "m.onnx", manifest=wanted) if place else None
    asked.clear()
    if folder:
        assert mounts.dataset("me", "w-1a", wanted) == folder
    else:
        with pytest.raises(mounts.MountError, match="the search ended"):
            mounts.dataset("me", "w-1a", wanted)
    assert 0 < len(asked) <= 200, len(asked)
    if folder:
        shutil.rmtree(crowded / "input" / place.split("/")[0])


@pytest.mark.parametrize("files", [["test.csv"], ["sample_submission.csv"]])
def test_no_search_asks_more_than_200_times(kaggle, asked, files):
    """A wide tree of near misses: each folder has the name, some have half of the files."""
    for number in range(400):
        put(kaggle / "input" / "a" / f"{number:03d}" / "digits", "test.csv.bak")
    names = [f"{number}.onnx" for number in range(49)]
    for place in ("datasets/me/digits", "digits", "d/me/digits"):
        put(kaggle / "input" / place, *names[:-1])
    for call in (lambda: mounts.competition("digits", files), lambda: mounts.dataset("me", "digits", names)):
        asked.clear()
        with pytest.raises(mounts.MountError):
            call()
        assert 0 < len(asked) <= 200, len(asked)


def test_a_file_beyond_the_first_entries_of_a_large_folder_is_seen(kaggle):
    folder = put(kaggle / "input" / "digits", *(f"{number:04d}.png" for number in range(600)), "test.csv", "sub.csv")
    assert mounts.competition("digits", ["test.csv", "sub.csv"]) == folder
