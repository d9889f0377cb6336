"""Exact places first, a bounded search next; what is found has the expected content."""

import hashlib

import pytest
from kkb_runtime import mounts


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("place", ["datasets/me/w-1a", "w-1a", "d/me/w-1a", "somewhere/else/w-1a", "a/b/c/w-1a"])
def test_a_dataset_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "m.onnx")
    assert mounts.dataset("me", "w-1a", ["m.onnx"]) == folder


@pytest.mark.parametrize("place", ["competitions/digits", "digits", "x/digits"])
def test_a_competition_is_found(kaggle, place):
    folder = put(kaggle / "input" / place, "test.csv")
    assert mounts.competition("digits", ["test.csv"]) == folder


def test_a_folder_without_the_files_is_not_it(kaggle):
    put(kaggle / "input" / "w-1a", "other.txt")
    right = put(kaggle / "input" / "x" / "w-1a", "m.onnx")
    assert mounts.dataset("me", "w-1a", ["m.onnx"]) == right


def test_the_search_is_bounded(kaggle):
    put(kaggle / "input" / "a" / "b" / "c" / "d" / "w-1a", "m.onnx")
    with pytest.raises(mounts.MountError):
        mounts.dataset("me", "w-1a", ["m.onnx"])


def test_a_missing_one_says_what_where_and_what_is_there(kaggle):
    put(kaggle / "input" / "datasets" / "me" / "w-1a", "half.onnx")
    put(kaggle / "input" / "digits", "test.csv")
    with pytest.raises(mounts.MountError) as error:
        mounts.dataset("me", "w-1a", ["m.onnx"])
    for part in ("dataset me/w-1a", "m.onnx", "datasets/me/w-1a lacks m.onnx", "/input/d/me/w-1a", "digits", "Attach it"):
        assert part in str(error.value)


def test_verify(kaggle):
    folder = put(kaggle / "input" / "w", "a", "b")
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b")}
    mounts.verify(folder, digests)
    (folder / "b").write_text("changed")
    with pytest.raises(mounts.MountError, match=r"b: sha256 .* expected .*c: missing.*2 of 3 files"):
        mounts.verify(folder, {**digests, "c": "0" * 64})
