"""What was written is read again, whatever samples a task has; what was not is missing; nothing is half there."""

import os

import numpy as np
from kkb_runtime.contract import Input
from kkb_runtime.store import Store

SPEC = Input(4, 5)


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def test_what_was_written_is_read_in_any_grouping(tmp_path):
    store, wanted = Store(tmp_path, SPEC), images(10)
    assert store.write(np.arange(2, 6), wanted[2:6])
    assert store.write(np.array([0, 9]), wanted[[0, 9]])
    rows = np.array([0, 1, 3, 9, 12])
    out = np.zeros((5, 4, 5, 3), np.uint8)
    assert store.read(rows, out).tolist() == [True, False, True, True, False]
    np.testing.assert_array_equal(out[[0, 2, 3]], wanted[[0, 3, 9]])


def test_nothing_was_written_nothing_is_there(tmp_path):
    assert not Store(tmp_path, SPEC).read(np.arange(3), images(3)).any()


def test_images_of_another_input_are_other_images(tmp_path):
    Store(tmp_path, SPEC).write(np.arange(3), images(3))
    assert not Store(tmp_path, Input(4, 5, color="bgr")).read(np.arange(3), images(3)).any()


def test_an_image_whose_writer_was_killed_is_missing(tmp_path):
    store = Store(tmp_path, SPEC)
    store.write(np.arange(3), images(3))
    path = next(tmp_path.glob("*.u8"))
    os.truncate(path, path.stat().st_size - 1)
    assert store.read(np.arange(3), images(3)).tolist() == [True, True, False]


def test_a_full_disk_is_no_error(tmp_path):
    (tmp_path / "none").touch()
    assert Store(tmp_path / "none", SPEC).write(np.arange(2), images(2)) is False
