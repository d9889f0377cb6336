"""Hashing: right, once, and never of something that moves."""

import hashlib
import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.bundle import hashing
from builder.bundle.hashing import GRAIN_NS, Hashes, mark
from builder.errors import UserError

OLD = 10**18  # nanoseconds; long before now


def rest(path, data, at=OLD):
    """A file that nobody has touched for long."""
    path.write_bytes(data)
    os.utime(path, ns=(at, at))
    return path


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_each_file_has_its_own_digest(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("hashing")
    paths = [rest(folder / str(number), data) for number, data in enumerate(contents)]
    found = Hashes(folder / "cache" / "hashes.json").of(paths)
    assert {path: one.sha256 for path, one in found.items()} == {p: sha256(d) for p, d in zip(paths, contents, strict=True)}


def test_a_file_longer_than_a_chunk_is_read_whole(tmp_path):
    data = os.urandom((1 << 20) * 2 + 17)
    path = rest(tmp_path / "a", data)
    hashes = Hashes(tmp_path / "hashes.json")
    assert hashes.of([path])[path].sha256 == sha256(data)
    assert hashes.read_bytes == len(data)


def test_what_was_read_is_not_read_again_not_even_under_another_name(tmp_path):
    path = rest(tmp_path / "a", b"weights")
    Hashes(tmp_path / "hashes.json").of([path])
    (tmp_path / "b").hardlink_to(path)
    again = Hashes(tmp_path / "hashes.json")
    assert again.of([path, tmp_path / "b"])[tmp_path / "b"].sha256 == sha256(b"weights")
    assert again.read_bytes == 0


@pytest.mark.parametrize("change", ["bytes", "size", "time", "replaced"])
def test_what_looks_different_is_read_again(tmp_path, change):
    path = rest(tmp_path / "a", b"weights")
    Hashes(tmp_path / "hashes.json").of([path])
    data = b"weights" if change == "time" else b"weighty" if change in {"bytes", "replaced"} else b"weight"
    if change == "replaced":  # another file with the same name, size and time
        rest(tmp_path / "b", data).replace(path)
    else:
        rest(path, data, OLD + 1)
    again = Hashes(tmp_path / "hashes.json")
    assert again.of([path])[path].sha256 == sha256(data)
    assert again.read_bytes == len(data)


def test_verify_reads_what_hides_its_change(tmp_path):
    path = rest(tmp_path / "a", b"weights")
    Hashes(tmp_path / "hashes.json").of([path])
    with path.open("r+b") as stream:
        stream.write(b"W")
    os.utime(path, ns=(OLD, OLD))
    assert Hashes(tmp_path / "hashes.json").of([path])[path].sha256 == sha256(b"weights")
    assert Hashes(tmp_path / "hashes.json", verify=True).of([path])[path].sha256 == sha256(b"Weights")
    assert Hashes(tmp_path / "hashes.json").of([path])[path].sha256 == sha256(b"Weights")


@pytest.mark.parametrize(("age", "remembered"), [(GRAIN_NS // 2, False), (GRAIN_NS * 2, True)])
def test_a_file_so_young_that_it_could_change_unseen_is_not_remembered(tmp_path, age, remembered):
    now = hashing._now(tmp_path)
    path = rest(tmp_path / "a", b"weights", now - age)
    Hashes(tmp_path / "hashes.json").of([path])
    again = Hashes(tmp_path / "hashes.json")
    again.of([path])
    assert again.read_bytes == (0 if remembered else 7)


@pytest.mark.parametrize("how", ["written", "replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path, how):
    path = rest(tmp_path / "a", bytes(1 << 20))

    def meanwhile(_):
        if how == "written":
            path.write_bytes(b"other")
        elif how == "replaced":
            rest(tmp_path / "b", bytes(1 << 20)).replace(path)
        else:
            path.unlink(missing_ok=True)

    with pytest.raises(UserError) as caught:
        hashing._read_one(path, meanwhile, threading.Event())
    assert caught.value.file == str(path)
    assert caught.value.remedy


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError) as caught:
        Hashes(tmp_path / "hashes.json").of([rest(tmp_path / "a", b""), tmp_path / "gone"])
    assert caught.value.file == str(tmp_path / "gone")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"1-2-3-x": "00"}', '{"a": null}'])
def test_a_broken_cache_is_no_cache(tmp_path, text):
    (tmp_path / "hashes.json").write_text(text)
    path = rest(tmp_path / "a", b"weights")
    assert Hashes(tmp_path / "hashes.json").of([path])[path].sha256 == sha256(b"weights")
    assert sha256(b"weights") in json.loads((tmp_path / "hashes.json").read_text()).values()


def test_the_cache_keeps_the_newest_entries_and_no_path(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "MOST_ENTRIES", 3)
    paths = [rest(tmp_path / f"secret-name-{number}", bytes([number])) for number in range(5)]
    for path in paths:
        Hashes(tmp_path / "hashes.json").of([path])
    text = (tmp_path / "hashes.json").read_text()
    assert set(json.loads(text)) == {mark(path).key for path in paths[-3:]}
    assert "secret" not in text


def test_progress_counts_bytes(tmp_path):
    told = []
    paths = [rest(tmp_path / str(number), bytes(1000)) for number in range(3)]
    Hashes(tmp_path / "hashes.json").of(paths, lambda *report: told.append(report))
    assert told[-1][:2] == (3000, 3000)
