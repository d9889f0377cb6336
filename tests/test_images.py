"""The decoded images: the runtime's own pixels, decoded once, decoded again when a file changes, never half written."""

import os

import numpy as np
import pytest
from PIL import Image

from builder import images
from builder.errors import UserError
from builder.runtime import inputs
from builder.runtime.contract import Input

SHAPE = Input(16, 16)


@pytest.fixture
def paths(animals):
    return tuple(sorted((animals / "train_images").glob("*.png")))


def decoded(paths, tmp_path, shape=SHAPE, **more):
    return images.decoded(paths, shape, root=paths[0].parents[1], cache=tmp_path / "cache", **more)


def test_the_array_is_what_the_notebook_will_make_of_the_files(paths, tmp_path):
    found = decoded(paths, tmp_path)
    assert found.shape == (60, 16, 16, 3)
    assert found.dtype == np.uint8
    for path, pixels in zip(paths, found, strict=True):
        np.testing.assert_array_equal(pixels, inputs.read(path, SHAPE))


def test_images_are_decoded_once_per_preprocessing(paths, tmp_path, monkeypatch):
    read, count = inputs.read, []
    monkeypatch.setattr(inputs, "read", lambda path, shape: count.append(path) or read(path, shape))
    for shape in (SHAPE, SHAPE, Input(16, 16, color="bgr"), SHAPE):
        decoded(paths, tmp_path, shape)
    assert len(count) == 2 * len(paths)


def test_a_changed_file_is_decoded_again(paths, tmp_path):
    before = decoded(paths, tmp_path)[5].copy()
    Image.new("RGB", (32, 32), "white").save(paths[5])
    status = paths[5].stat()
    os.utime(paths[5], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = decoded(paths, tmp_path)[5]
    assert not np.array_equal(before, after)
    assert after.min() == 255


def test_the_fingerprint_moves_with_the_files_not_with_the_folder(animals, tmp_path):
    names = sorted(path.name for path in (animals / "train_images").iterdir())
    cache = tmp_path / "cache"
    before = images.fingerprint([animals / "train_images" / name for name in names], animals, cache)
    moved = animals.rename(tmp_path / "moved")
    paths = [moved / "train_images" / name for name in names]
    assert images.fingerprint(paths, moved, cache) == before
    assert images.fingerprint(paths[1:], moved, cache) != before


def test_the_fingerprint_is_of_contents_not_of_times(paths, tmp_path):
    before = images.fingerprint(paths, paths[0].parents[1], tmp_path)
    os.utime(paths[3], ns=(1, 1))
    assert images.fingerprint(paths, paths[0].parents[1], tmp_path) == before
    os.utime(paths[3], ns=(2, 2))
    paths[3].write_bytes(paths[3].read_bytes() + b"\0")
    assert images.fingerprint(paths, paths[0].parents[1], tmp_path) != before


@pytest.mark.parametrize("content", [b"", b"no image at all", "cut"])
def test_a_corrupt_image_is_named_and_leaves_no_array(paths, tmp_path, content):
    broken = paths[31]
    broken.write_bytes(broken.read_bytes()[:100] if content == "cut" else content)
    with pytest.raises(UserError) as caught:
        decoded(paths, tmp_path)
    assert broken.name in str(caught.value)
    assert caught.value.remedy
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".json" and path.is_file()] == []


def test_progress_ends_at_the_last_image(paths, tmp_path):
    told = []
    decoded(paths, tmp_path, report=lambda done, total, text: told.append((done, total, text)))
    assert told[-1][:2] == (60, 60)
    told.clear()
    decoded(paths, tmp_path, report=lambda done, total, text: told.append((done, total, text)))
    assert told == [], "what is there is not decoded again"
