"""What Kaggle unpacked is put together again when its content can be verified, and refused with a reason when it can't."""

import io
import zipfile

import pytest
from kkb_runtime import integrity, mend, weights

from builder.rehearse import unpack

from .test_integrity import put, unit

PICKLE = b"\x80\x02}q\x00."


def torch_archive(stem="m0", extra=()):
    """The shape of a torch file: plain entries below one folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("data.pkl", PICKLE), ("data/0", b"w" * 5000), ("version", b"3\n"), ("byteorder", b"little"), *extra):
            archive.writestr(f"{stem}/{name}", data)
    return buffer.getvalue()


@pytest.fixture
def mounted(kaggle, tmp_path):
    """`mounted(name, data)`: a dataset with one archive, as the stand-in's Kaggle would mount it, and its list entry."""

    def mount(name, data, *, entries=True, **others):
        path = tmp_path / name
        path.write_bytes(data)
        known = {name: mend.entries(path)} if entries else None
        folder = kaggle / "input" / "datasets" / "me" / "effnet-1a2b"
        item = put(folder, {name: data, **others}, known)
        (folder / name).unlink()
        unpack.place(path, folder, name)
        return folder, item

    return mount


def explode(folder, name, data, *, top=""):
    """A folder named like the file, whatever the file's suffix."""
    (folder / name).unlink(missing_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            path = folder / name / top / info.filename.partition("/")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(info))


def attach(item, name, scratch):
    attached = weights.attach((unit(name),), {"effnet": item}, scratch)
    attached.verification.finish(20)
    return attached


def test_what_the_stand_in_explodes_is_mended(mounted, tmp_path):
    folder, item = mounted("m0.pt", torch_archive())
    assert (folder / "m0.pt").is_dir()
    attached = attach(item, "m0.pt", tmp_path / "scratch")
    integrity.wait(tmp_path / "scratch", attached.models[0], 5)
    with zipfile.ZipFile(attached.models[0]) as mended, zipfile.ZipFile(io.BytesIO(torch_archive())) as original:
        assert mended.testzip() is None
        names = [info.filename.partition("/")[2] for info in original.infolist()]
        assert [info.filename.partition("/")[2] for info in mended.infolist()] == names
        assert all(mended.read(f"archive/{name}") == original.read(f"m0/{name}") for name in names)
    assert str(tmp_path / "scratch") in attached.models[0]
    assert "sha256 of all 4 entries is right" in attached.notes[0]
    assert "a sha256 of its own" in attached.notes[0]


@pytest.mark.parametrize("top", ["", "m0", "m0/m0"])
def test_a_folder_that_unpacking_adds_or_loses_does_not_matter(mounted, tmp_path, top):
    folder, item = mounted("m0.ts.bin", torch_archive())
    explode(folder, "m0.ts.bin", torch_archive(), top=top)
    assert attach(item, "m0.ts.bin", tmp_path / "scratch").notes


@pytest.mark.parametrize("fault", ["flip", "less", "more"])
def test_an_entry_that_differs_is_found(mounted, tmp_path, fault):
    folder, item = mounted("m0.pt", torch_archive())
    entry = folder / "m0.pt" / "data" / "0"
    if fault == "flip":
        entry.write_bytes(b"v" + entry.read_bytes()[1:])
    elif fault == "less":
        entry.unlink()
    else:
        (folder / "m0.pt" / "data" / "1").write_bytes(b"new")
    with pytest.raises(integrity.IntegrityError, match=r"not those of the manifest: .*(0: sha256|0 is missing|1 is not part)"):
        attach(item, "m0.pt", tmp_path / "scratch")
    assert not (tmp_path / "scratch" / mend.FOLDER).exists()


def test_without_recorded_entries_nothing_is_believed(mounted, tmp_path):
    _, item = mounted("m0.pt", torch_archive(), entries=False)
    with pytest.raises(integrity.IntegrityError) as error:
        attach(item, "m0.pt", tmp_path / "scratch")
    for part in (
        "m0.pt: Kaggle unpacked a torch archive into the folder m0.pt with 4 files",
        "nothing of it can be verified",
        "kkb bundle",
    ):
        assert part in str(error.value)


def test_a_gunzipped_file_is_told(mounted, tmp_path):
    import gzip

    folder, item = mounted("table.npy.gz", gzip.compress(b"x" * 100))
    assert (folder / "table.npy").is_file()
    with pytest.raises(integrity.IntegrityError, match=r"table\.npy\.gz: missing, but table\.npy is there: Kaggle unpacks \.gz"):
        attach(item, "table.npy.gz", tmp_path / "scratch")


def test_an_unpacked_archive_that_no_unit_loads_is_used_as_a_folder(mounted, tmp_path):
    _, item = mounted("tokens.zip", torch_archive("tokens"), **{"m0.onnx": b"m" * 10})
    attached = attach(item, "m0.onnx", tmp_path / "scratch")
    assert "into the folder tokens with 4 files" in attached.notes[0]
    assert attached.notes[0].endswith("use it as a folder")


def test_only_archives_have_entries(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"onnx")
    assert mend.entries(tmp_path / "m.onnx") == {}
    (tmp_path / "a.zip").write_bytes(torch_archive())
    assert list(mend.entries(tmp_path / "a.zip")) == ["data.pkl", "data/0", "version", "byteorder"]


@pytest.mark.slow
def test_torch_loads_what_was_mended(mounted, tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU()), torch.zeros(1, 8))
    source = tmp_path / "net.ts.bin"
    torch.jit.save(module, str(source))
    folder, item = mounted("m0.ts.bin", source.read_bytes())
    explode(folder, "m0.ts.bin", source.read_bytes())
    attached = attach(item, "m0.ts.bin", tmp_path / "scratch")
    batch = torch.arange(16.0).reshape(2, 8)
    assert torch.equal(torch.jit.load(attached.models[0])(batch), module(batch))
