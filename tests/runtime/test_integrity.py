"""A file that is not what the notebook was rendered for is found before anything is predicted with it."""

import hashlib
import json
import random
import threading

import pytest
from kkb_runtime import integrity, mounts, weights
from kkb_runtime.contract import Carried, Input, Unit

SIZES = {"m0.onnx": 3_000_000, "m1.onnx": 1_500_000, "labels.json": 900, "tokenizer.bin": 40_000}


def sha(data):
    return hashlib.sha256(data).hexdigest()


def put(folder, content, entries=None):
    """A dataset folder as `kkb bundle` writes it; returns its entry of the notebook's list."""
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    files = [{"name": name, "bytes": len(data), "sha256": sha(data)} for name, data in sorted(content.items())]
    for file in files:
        if entries and file["name"] in entries:
            file["entries"] = entries[file["name"]]
    manifest = {"digest": "d", "files": files, "tool": "0.1"}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "check": integrity.seal(manifest)}, indent=2))
    return Carried("effnet", "me", folder.name, {name: sha(data) for name, data in content.items()})


def unit(file):
    return Unit("v001:effnet", 0, "identity", "effnet", file, "onnx", Input(4, 4), 4, 0.1, 0.1)


@pytest.fixture
def bundle(kaggle):
    rng = random.Random(3)
    content = {name: rng.randbytes(size) for name, size in SIZES.items()}
    item = put(kaggle / "input" / "datasets" / "me" / "effnet-1a2b", content)
    return kaggle / "input" / "datasets" / "me" / "effnet-1a2b", item


UNITS = (unit("m0.onnx"), unit("m1.onnx"))


def use_all(item, scratch):
    """What a run does up to its first prediction with each model; the fault that stops it, or None."""
    try:
        attached = weights.attach(UNITS, {"effnet": item}, scratch)
    except mounts.MountError as error:
        return str(error)
    try:
        for path in attached.models:
            integrity.wait(scratch, path, 20)
    except integrity.IntegrityError as error:
        return str(error)
    finally:
        attached.verification.close()
    return None


def test_a_whole_bundle_is_verified(bundle, tmp_path):
    folder, item = bundle
    assert use_all(item, tmp_path) is None
    attached = weights.attach(UNITS, {"effnet": item}, tmp_path / "again")
    assert (attached.folders, attached.notes) == ({"effnet": folder}, ())
    assert attached.models == (str(folder / "m0.onnx"), str(folder / "m1.onnx"))
    assert attached.verification.finish(20) == ()
    assert attached.verification.over


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_a_flipped_byte_anywhere_is_found_before_a_prediction(bundle, tmp_path, count):
    folder, item = bundle
    rng, names, hit = random.Random(5), sorted([*item.files, "manifest.json"]), set()
    for number in range(count):
        name = names[number % len(names)]
        path = folder / name
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        found = use_all(item, tmp_path / str(number))
        assert found, (name, at)
        assert name in found, found
        path.write_bytes(whole)
        hit.add(name)
    assert hit == {*SIZES, "manifest.json"}
    assert use_all(item, tmp_path / "whole") is None


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "missing"])
def test_a_file_of_another_size_is_found_at_once(bundle, tmp_path, change):
    folder, item = bundle
    path = folder / "m1.onnx"
    data = path.read_bytes()
    path.unlink()
    if change != "missing":
        path.write_bytes({"cut": data[:-1], "longer": data + b"x", "empty": b""}[change])
    with pytest.raises(integrity.IntegrityError, match=r"m1\.onnx: (missing|\d+ bytes, expected 1500000)"):
        weights.attach(UNITS, {"effnet": item}, tmp_path)
    assert not (tmp_path / integrity.FOLDER).exists()


@pytest.mark.parametrize("change", ["unsealed", "another-word", "no-json", "a-list", "spaces"])
def test_a_manifest_vouches_for_itself(bundle, tmp_path, change):
    folder, item = bundle
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    if change == "unsealed":
        del told["check"]
    if change == "another-word":
        told["tool"] = "0.2"
    texts = {"no-json": path.read_text()[:-1], "a-list": "[]", "spaces": json.dumps(told, indent=8)}
    path.write_text(texts.get(change, json.dumps(told)))
    found = use_all(item, tmp_path)
    if change == "spaces":
        assert found is None
    else:
        assert "manifest.json is not what was bundled" in found


def test_a_worker_waits_for_its_own_file_only(bundle, tmp_path, monkeypatch):
    """The second file's check is held up; the first can be used, the second can't."""
    _, item = bundle
    hold, real = threading.Event(), integrity.fault

    def slow(path, expected, stop=None):
        if path.name == "m1.onnx":
            hold.wait(20)
        return real(path, expected, stop)

    monkeypatch.setattr(integrity, "fault", slow)
    attached = weights.attach(UNITS, {"effnet": item}, tmp_path)
    integrity.wait(tmp_path, attached.models[0], 20)
    with pytest.raises(integrity.IntegrityError, match="still not verified after 0 s"):
        integrity.wait(tmp_path, attached.models[1], 0.1)
    assert not attached.verification.over
    hold.set()
    integrity.wait(tmp_path, attached.models[1], 20)


def test_files_are_checked_in_the_order_of_their_use(bundle, tmp_path, monkeypatch):
    _, item = bundle
    seen = []
    monkeypatch.setattr(integrity, "THREADS", 1)
    monkeypatch.setattr(integrity, "SMALL", 0)
    monkeypatch.setattr(integrity, "fault", lambda path, *_: seen.append(path.name) or "")
    weights.attach(tuple(reversed(UNITS)), {"effnet": item}, tmp_path).verification.finish(20)
    large = [name for name in seen if name.startswith("m") and name != "manifest.json"]
    assert large[:2] == ["m1.onnx", "m0.onnx"]
    assert sorted(set(seen)) == sorted(item.files)


def test_a_file_that_nobody_checks_is_not_used(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"m")
    with pytest.raises(integrity.IntegrityError, match="nobody has checked"):
        integrity.wait(tmp_path / "scratch", path, 5)
    integrity.begin([], tmp_path / "scratch").finish(5)
    with pytest.raises(integrity.IntegrityError, match="nobody has checked"):
        integrity.wait(tmp_path / "scratch", path, 5)


def test_a_run_that_ends_early_leaves_files_unverified(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"m" * 100)
    began = threading.Event()

    def endless(path, _expected, stop):
        began.set()
        stop.wait(20)
        return f"{path.name}: not checked, the run was over"

    monkeypatch.setattr(integrity, "fault", endless)
    check = integrity.begin([(path, sha(b"m" * 100))], tmp_path / "scratch")
    assert began.wait(20)
    check.close()
    assert check.over
    with pytest.raises(integrity.IntegrityError, match="the run was over"):
        integrity.wait(tmp_path / "scratch", path, 5)


def test_every_file_at_fault_is_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    digests = {name: sha(name.encode()) for name in ("a", "b")}
    integrity.check(tmp_path, digests)
    (tmp_path / "b").write_text("changed")
    (tmp_path / "d").mkdir()
    with pytest.raises(mounts.MountError, match=r"b: sha256 .* expected .*c: missing.*d: Is a directory.*3 of 4 files"):
        integrity.check(tmp_path, {**digests, "c": "0" * 64, "d": "0" * 64})


def test_a_unit_whose_file_is_not_in_the_list_is_named(bundle, tmp_path):
    _, item = bundle
    with pytest.raises(mounts.MountError, match=r"needs m9\.onnx of dataset 'effnet'"):
        weights.attach((unit("m9.onnx"),), {"effnet": item}, tmp_path)


def test_what_the_bootstrap_has_checked_is_not_looked_for_again(bundle, tmp_path):
    _, item = bundle
    others = {key: Carried(key, "me", "not-mounted", {"x.whl": "0" * 64}) for key in ("runtime", "wheels-cp313")}
    weights.attach(UNITS, {"effnet": item, **others}, tmp_path).verification.close()
    with pytest.raises(mounts.MountError, match="me/not-mounted is not mounted"):
        weights.attach(UNITS, {"effnet": item, "more": others["runtime"]}, tmp_path)
