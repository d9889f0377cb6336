import io
import stat
import zipfile

import pytest

from builder.errors import RemoteError, UserError
from builder.remote.archives import inside, unpack


def archive(tmp_path, *entries):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name, content in entries:
            out.writestr(name, content)
    return path


def test_files_and_folders_arrive_with_their_content(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    path = archive(tmp_path, ("train.csv", b"a,b"), ("images/deep/1.png", b"png"), ("images/", b""))
    assert unpack(path, target) == ["images/deep/1.png", "train.csv"]
    assert (target / "images/deep/1.png").read_bytes() == b"png"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil", ".", "a/..", "a\0b"])
def test_a_name_that_leads_out_is_refused(name, tmp_path):
    with pytest.raises(RemoteError, match="leads out"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["../evil", "/evil", "x/../../evil", "..\\evil"])
def test_an_archive_cannot_write_outside_its_folder(name, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(RemoteError):
        unpack(archive(tmp_path, (name, b"evil")), target)
    assert not list(tmp_path.rglob("evil"))


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(RemoteError, match="link"):
        unpack(archive(tmp_path, (link, "/etc/passwd")), target)


def test_a_broken_archive_is_the_servers_fault(tmp_path):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as out:
        out.writestr("a", b"x" * 1000)
    path = tmp_path / "data.zip"
    path.write_bytes(whole.getvalue()[:-30])
    with pytest.raises(RemoteError, match="broken"):
        unpack(path, tmp_path)


def test_an_archive_larger_than_the_disk_is_refused_before_it_is_unpacked(tmp_path):
    big = tmp_path / "big.zip"
    with zipfile.ZipFile(big, "w") as out:
        for number in range(3):
            out.writestr(f"f{number}", b"")
        for entry in out.infolist():
            entry.file_size = 1 << 50
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(UserError, match="too small"):
        unpack(big, target)
    assert not list(target.iterdir())
