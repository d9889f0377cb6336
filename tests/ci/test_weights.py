"""Weights by digest: only the very bytes come in, and only to where they belong."""

import io
import tarfile

import pytest

from builder.bundle.record import Content, Dataset
from builder.ci import weights
from builder.errors import UserError
from builder.workspace import sha256_bytes

DATA = {"a.onnx": b"first", "b.onnx": b"second", "c.onnx": b"third"}


@pytest.fixture
def dataset(tmp_path):
    files = [Content(name, tmp_path / "exports" / name, len(data), sha256_bytes(data)) for name, data in DATA.items()]
    return Dataset("v001:net", "net", "net v001", tuple(files))


def archive(path, members):
    with tarfile.open(path, "w") as sink:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            sink.addfile(member, io.BytesIO(data))
    return path


def held(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "exports").glob("*")}


def test_out_of_folders_and_archives(dataset, tmp_path):
    assert weights.missing([dataset]) == [dataset]
    (tmp_path / "down" / "deep").mkdir(parents=True)
    (tmp_path / "down" / "deep" / "a.onnx").write_bytes(DATA["a.onnx"])
    archive(tmp_path / "down" / "net.tar", {"net/b.onnx": DATA["b.onnx"], "net/manifest.json": b"{}"})
    assert weights.restore([dataset], [tmp_path / "down"]) == []
    assert [one.slug for one in weights.missing([dataset])] == [dataset.slug]
    last = archive(tmp_path / "last.tar", {"c.onnx": DATA["c.onnx"]})
    assert weights.restore([dataset], [last]) == [dataset.slug]
    assert held(tmp_path) == DATA
    assert weights.missing([dataset]) == []


def test_other_bytes_of_the_same_name_and_size_stay_outside(dataset, tmp_path):
    wrong = {name: data[::-1] for name, data in DATA.items()}
    assert weights.restore([dataset], [archive(tmp_path / "wrong.tar", wrong)]) == []
    assert held(tmp_path) == {}


def test_a_file_under_another_name_is_known_by_its_digest(dataset, tmp_path):
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "renamed.bin").write_bytes(DATA["a.onnx"])
    weights.restore([dataset], [tmp_path / "down"])
    assert held(tmp_path) == {"a.onnx": DATA["a.onnx"]}


@pytest.mark.parametrize("name", ["../../a.onnx", "/a.onnx", "x/../../../a.onnx"])
def test_an_archive_cannot_write_elsewhere(name, dataset, tmp_path):
    before = set(tmp_path.rglob("*"))
    made = archive(tmp_path / "evil.tar", {name: DATA["a.onnx"]})
    weights.restore([dataset], [made])
    assert set(tmp_path.rglob("*")) - before == {made, tmp_path / "exports", tmp_path / "exports" / "a.onnx"}


def test_links_are_not_followed(dataset, tmp_path):
    (tmp_path / "secret").write_bytes(DATA["a.onnx"])
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "a.onnx").symlink_to(tmp_path / "secret")
    with tarfile.open(tmp_path / "down" / "net.tar", "w") as sink:
        member = tarfile.TarInfo("b.onnx")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        sink.addfile(member)
    assert weights.restore([dataset], [tmp_path / "down"]) == []
    assert held(tmp_path) == {}


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_what_is_no_place_is_named(content, dataset, tmp_path):
    place = tmp_path / "net.tar"
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(UserError) as refused:
        weights.restore([dataset], [place])
    assert "net.tar" in refused.value.text()
    assert refused.value.remedy
