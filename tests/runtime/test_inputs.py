"""Whatever the file, uint8 (height, width, 3); whatever fails, the file and the cause."""

import kkb_runtime
import numpy as np
import pandas as pd
import pytest
from kkb_runtime import inputs
from kkb_runtime.contract import Input
from PIL import Image

from .tree import SIDE, Tree

LIBRARIES = ["pil", pytest.param("cv2", marks=pytest.mark.filterwarnings("ignore"))]
SAME = Input(height=6, width=9)


def need(library):
    if library == "cv2":
        pytest.importorskip("cv2")


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("library", LIBRARIES)
def test_colours(tmp_path, picture, library):
    need(library)
    Image.fromarray(picture).save(tmp_path / "x.png")
    read = {color: inputs.read(tmp_path / "x.png", Input(6, 9, library=library, color=color)) for color in inputs.COLORS}
    np.testing.assert_array_equal(read["rgb"], picture)
    np.testing.assert_array_equal(read["bgr"], picture[:, :, ::-1])
    assert (read["gray"][:, :, :1] == read["gray"]).all()
    assert np.abs(read["gray"][:, :, 0] - picture @ [0.299, 0.587, 0.114]).max() <= 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_mode_becomes_three_channels_of_eight_bits(tmp_path, picture, library):
    need(library)
    gray = picture[:, :, 0]
    wide = gray.astype(np.uint16) * 256 + 77
    opaque = np.dstack([picture, np.full((6, 9), 128, np.uint8)])
    cases = {
        "gray.png": (Image.fromarray(gray), gray),
        "wide.png": (Image.fromarray(wide), gray),
        "wide.tif": (Image.fromarray(wide), gray),
        "alpha.png": (Image.fromarray(opaque), picture),
        "bit.png": (Image.fromarray(gray > 127), np.where(gray > 127, 255, 0)),
    }
    for name, (image, expected) in cases.items():
        image.save(tmp_path / name)
        deep = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(inputs.read(tmp_path / name, Input(6, 9, library=library)), deep, err_msg=name)


@pytest.mark.parametrize("library", LIBRARIES)
def test_palette_and_cmyk(tmp_path, library):
    need(library)
    flat = np.full((6, 9, 3), (200, 40, 90), np.uint8)
    Image.fromarray(flat).quantize(4).save(tmp_path / "p.png")
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    for name in ("p.png", "c.jpg"):
        read = inputs.read(tmp_path / name, Input(6, 9, library=library)).astype(int)
        assert np.abs(read - flat).max() <= 12, name


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("interpolation", inputs.INTERPOLATIONS)
def test_resizing(tmp_path, library, interpolation):
    """A wide picture, left half black and right half white, into a square."""
    need(library)
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 40:] = 255
    Image.fromarray(wide).save(tmp_path / "x.png")
    read = {r: inputs.read(tmp_path / "x.png", Input(20, 20, r, interpolation, library)) for r in inputs.RESIZES}
    assert all(array.shape == (20, 20, 3) and array.dtype == np.uint8 and array.flags.c_contiguous for array in read.values())
    for kind in ("squash", "crop"):
        assert read[kind][:, :9].max() < 40, kind
        assert read[kind][:, 11:].min() > 215, kind
    box = read["letterbox"]
    assert box[:5].max() == box[15:].max() == 0
    assert box[5:15, 11:].min() > 215


@pytest.mark.parametrize("size", [(53, 40), (40, 53), (64, 64), (37, 90)])
@pytest.mark.parametrize(("side", "share"), [(28, 0.875), (32, 0.95), (24, 0.9)])
def test_a_crop_of_a_share_is_what_timm_evaluates_with(tmp_path, size, side, share):
    """`Resize(floor(side / share))` and `CenterCrop(side)` of torchvision, bit for bit."""
    transforms = pytest.importorskip("torchvision.transforms", reason="the image environments have no torchvision")
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    picture.save(tmp_path / "x.png")
    kind = transforms.InterpolationMode.BICUBIC
    usual = transforms.Compose([transforms.Resize(int(side / share), interpolation=kind), transforms.CenterCrop(side)])
    found = inputs.read(tmp_path / "x.png", Input(side, side, "crop", "bicubic", crop_pct=share))
    np.testing.assert_array_equal(found, np.asarray(usual(picture)))


def test_same_size_is_not_touched(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "x.png")
    for resize in inputs.RESIZES:
        np.testing.assert_array_equal(inputs.read(tmp_path / "x.png", Input(6, 9, resize, "bicubic")), picture)


@pytest.mark.parametrize("library", LIBRARIES)
def test_failures_name_the_file_and_leave_the_others_alone(tmp_path, picture, library):
    need(library)
    Image.fromarray(picture).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "empty.png").write_bytes(b"")
    names = ["good.png", "cut.png", "empty.png", "none.png", "good.png"]
    for threads in (1, 3):
        images, failures = inputs.decode_many([tmp_path / name for name in names], Input(6, 9, library=library), threads)
        np.testing.assert_array_equal(images[0], picture)
        np.testing.assert_array_equal(images[4], picture)
        failed = [index for index, _ in failures]
        # cv2 fills up what is missing of a cut file; PIL refuses it.
        assert failed == [1, 2, 3] if library == "pil" else failed in ([2, 3], [1, 2, 3])
        assert all(names[index] in cause for index, cause in failures)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((6, 9), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(inputs.ImageError, match="floating-point"):
        inputs.read(tmp_path / "x.tif", SAME)


def test_an_unknown_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown resize 'fit'; known are squash, crop, letterbox"):
        inputs.read(tmp_path / "x.png", Input(6, 9, "fit"))


def test_rows_are_verbatim(tmp_path):
    (tmp_path / "t.csv").write_text('\ufeffid,n,s\n007,1.50,NA\n1e5, x,\n"a,b",3,"q""q"\n', "utf-8")
    frame = inputs.rows(tmp_path / "t.csv", "id")
    assert frame.to_numpy().tolist() == [["007", "1.50", "NA"], ["1e5", " x", ""], ["a,b", "3", 'q"q']]


def test_rows_of_a_parquet_table_are_texts(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"id": [7, 10], "s": ["a", None], "x": [1.5, np.nan], "t": [True, False]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert inputs.rows(tmp_path / "t.parquet", "id").to_numpy().tolist() == [["7", "a", "1.5", "True"], ["10", "", "", "False"]]
    (tmp_path / "t.parquet").write_bytes(b"id\n1\n")
    with pytest.raises(inputs.TableError, match="not a readable parquet table"):
        inputs.rows(tmp_path / "t.parquet", "id")


def test_rows_without_rows(tmp_path):
    (tmp_path / "t.csv").write_text("id,x\n")
    assert inputs.rows(tmp_path / "t.csv", "id").shape == (0, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing table"),
        ("", "not a readable CSV"),
        ("a,b\n1,2\n", "has no column 'id'; found a, b"),
        ("id\n1\n2\n1\n", "id '1' is there more than once"),
        ("id,x\n1,2\n,3\n", "row 2 has an empty id"),
    ],
)
def test_broken_tables(tmp_path, content, message):
    if content is not None:
        (tmp_path / "t.csv").write_text(content)
    with pytest.raises(inputs.TableError, match=message):
        inputs.rows(tmp_path / "t.csv", "id")


def test_image_path():
    assert inputs.image_path("a/{patient}/{id}.jpg", {"patient": "007", "id": "x"}) == "a/007/x.jpg"
    with pytest.raises(inputs.TableError, match="needs column 'name'; found id"):
        inputs.image_path("{name}.jpg", {"id": "x"})


# Python imports a module of this name when it starts: workers write down which images they open.
SITE = """
import builtins, os
from PIL import Image

real = Image.open

def told(path, *rest, **named):
    with builtins.open(os.environ["OPENED"], "a") as stream:
        stream.write(f"{os.path.basename(path)}\\n")
    return real(path, *rest, **named)

Image.open = told
"""


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Names of the images that workers opened, in order."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    log = tmp_path / "opened.txt"
    log.touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("OPENED", str(log))
    return lambda: log.read_text().split()


@pytest.mark.parametrize("sizes", [1, 2])
def test_every_image_is_decoded_once_per_size_however_many_units_want_it(kaggle, opened, sizes):
    """Two workers, two models, three units, ten chunks; with two sizes the last unit's pixels are others."""
    tree = Tree(kaggle, samples=40)
    if sizes == 2:
        tree.plan["units"][2]["input"] = dict(tree.plan["units"][2]["input"], interpolation="nearest")
        assert tree.plan["units"][2]["input"]["height"] == SIDE  # the model takes no other; another key is another decoding
    record = kkb_runtime.run(tree.plan, tree.datasets, settings={"workers": 2}).run
    assert record["samples_per_prefix"] == {"3": 40}
    assert sorted(opened()) == sorted(f"{name}.png" for name in tree.ids for _ in range(sizes))
    assert [tree.nearest_prefix(row, cells) for row, cells in enumerate(tree.answers().values())] == [3] * 40
