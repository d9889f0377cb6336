"""Archives arrive as folders, everything else as it is; nothing leaves its folder."""

import gzip
import io
import tarfile
import zipfile

import pytest

from builder.rehearse import unpack
from builder.standin.home import files_below


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def arrived(tmp_path):
    """Place one file; return what lies in the dataset then."""

    def place(name, content):
        source = tmp_path / "blob"
        source.write_bytes(content)
        folder = tmp_path / "dataset"
        unpack.place(source, folder, name)
        assert source.read_bytes() == content
        return {path.as_posix(): (folder / path).read_bytes() for path in files_below(folder)}

    return place


def test_a_zip_becomes_a_folder(arrived):
    assert arrived("pack.zip", zipped({"a.txt": b"1", "d/b.txt": b"2"})) == {"pack/a.txt": b"1", "pack/d/b.txt": b"2"}


def test_a_zip_in_a_zip_too(arrived):
    inner = zipped({"deep.txt": b"3"})
    assert arrived("pack.zip", zipped({"inner.zip": inner})) == {"pack/inner/deep.txt": b"3"}


@pytest.mark.parametrize("name", ["pack.tar.gz", "pack.tgz"])
def test_a_tarball_becomes_a_folder(arrived, name):
    assert arrived(name, tarred({"a.txt": b"1"})) == {"pack/a.txt": b"1"}


def test_gzip_is_unpacked_in_place_and_keeps_its_first_member_only(arrived):
    two = gzip.compress(b"first") + gzip.compress(b"second")
    assert arrived("table.csv.gz", two) == {"table.csv": b"first"}


@pytest.mark.parametrize("name", ["net.pt", "net.pth"])
def test_torch_archives_explode_into_a_folder_of_their_name(arrived, name):
    content = zipped({"net/data.pkl": b"p", "net/version": b"3", "net/data/0": b"w"})
    assert arrived(name, content) == {f"{name}/data.pkl": b"p", f"{name}/version": b"3", f"{name}/data/0": b"w"}


@pytest.mark.parametrize("name", ["net.onnx", "net.safetensors", "net.bin", "net.npz", "pkg-1.0-py3-none-any.whl", "net.ckpt"])
def test_safe_carriers_arrive_as_they_are_even_if_they_are_zips(arrived, name):
    content = zipped({"a.txt": b"1"})
    assert arrived(name, content) == {name: content}


@pytest.mark.parametrize("name", ["pack.zip", "net.pt", "pack.tar.gz", "table.csv.gz"])
def test_what_only_has_the_name_of_an_archive_stays(arrived, name):
    assert arrived(name, b"not an archive") == {name: b"not an archive"}


def test_a_cut_gzip_stays(arrived):
    content = gzip.compress(bytes(10000))[:-10]
    assert arrived("table.csv.gz", content) == {"table.csv.gz": content}


def test_members_cannot_leave_the_folder(arrived, tmp_path):
    arrived("evil.zip", zipped({"../../outside.txt": b"x"}))
    arrived("evil.tar.gz", tarred({"../../outside.txt": b"x"}))
    assert not list(tmp_path.parent.glob("outside.txt"))
    assert not (tmp_path / "outside.txt").exists()
