"""inverse(view(x)) == x, each view is what its name says, and a part of an image is cut from a larger one."""

import subprocess
import sys

import numpy as np
import pytest
from kkb_runtime import inputs, views
from kkb_runtime.contract import Input

SHIFTED = ("left10", "right25", "up1", "down50", "left10@288")
CUT = ("identity@center90", "hflip@topleft75", "rot90@bottomright50@64", "left10@topright99")
TURNED = (*views.TURNS, *SHIFTED)


@pytest.mark.parametrize("name", TURNED)
@pytest.mark.parametrize("shape", [(3, 4, 4, 3), (1, 2, 5, 3), (0, 4, 4, 3), (2, 33, 20, 3)])
def test_inverse_undoes_the_view(name, shape):
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    view = views.get(name)
    seen = view.apply(x)
    np.testing.assert_array_equal(view.inverse(seen), x)
    assert seen.dtype == np.uint8
    assert seen.flags.c_contiguous
    assert seen.shape == (shape[0], *(shape[2:0:-1] if view.swaps else shape[1:3]), 3)


def test_views_are_what_they_are_called():
    x = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)  # 0 1 2 / 3 4 5
    names = (*views.TURNS, "left33", "right33", "up50", "down50")
    assert {name: views.get(name).apply(x)[0, :, :, 0].tolist() for name in names} == {
        "identity": [[0, 1, 2], [3, 4, 5]],
        "hflip": [[2, 1, 0], [5, 4, 3]],
        "vflip": [[3, 4, 5], [0, 1, 2]],
        "rot90": [[2, 5], [1, 4], [0, 3]],
        "rot180": [[5, 4, 3], [2, 1, 0]],
        "rot270": [[3, 0], [4, 1], [5, 2]],
        "transpose": [[0, 3], [1, 4], [2, 5]],
        "left33": [[1, 2, 0], [4, 5, 3]],
        "right33": [[2, 0, 1], [5, 3, 4]],
        "up50": [[3, 4, 5], [0, 1, 2]],
        "down50": [[3, 4, 5], [0, 1, 2]],
    }


def test_parts_are_where_they_say_and_have_no_inverse():
    x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    seen = {corner: views.get(f"identity@{corner}50").apply(x)[0, :, :, 0].tolist() for corner in views.CORNERS}
    assert seen == {
        "center": [[5, 6], [9, 10]],
        "topleft": [[0, 1], [4, 5]],
        "topright": [[2, 3], [6, 7]],
        "bottomleft": [[8, 9], [12, 13]],
        "bottomright": [[10, 11], [14, 15]],
    }
    assert all(views.get(name).inverse is None for name in CUT)


@pytest.mark.parametrize("name", [*TURNED, *CUT, "identity@8", "rot90@4096"])
@pytest.mark.parametrize("size", [(32, 32), (48, 32), (33, 57)])
def test_what_the_model_sees_has_the_size_that_was_promised(name, size):
    base = Input(*size)
    decoded, view = views.input_of(name, base), views.get(name)
    seen = view.apply(np.empty((0, decoded.height, decoded.width, 3), dtype=np.uint8))
    assert seen.shape[1:3] == views.shape_of(name, base)
    assert min(seen.shape[1:3]) == (view.size or min(size))
    if "@" not in name:
        assert decoded is base, "views of one input share one decoding"
        assert sorted(seen.shape[1:3]) == sorted(size)


@pytest.mark.parametrize("side", [8, 31, 224, 1000])
def test_any_share_of_any_side_leaves_that_side(side):
    for share in range(views.SHARES[0], views.SHARES[1] + 1):
        name = f"identity@center{share}"
        decoded = views.input_of(name, Input(side, side))
        seen = views.get(name).apply(np.empty((0, decoded.height, decoded.width, 1), dtype=np.uint8))
        assert seen.shape[1:3] == views.shape_of(name, Input(side, side)) == (side, side)


def test_corners_and_centre_share_one_decoding():
    base = Input(224, 224, "crop", crop_pct=0.875, library="cv2")
    inputs_of = {views.input_of(f"hflip@{corner}90", base) for corner in views.CORNERS}
    assert inputs_of == {Input(249, 249, "crop", crop_pct=0.875, library="cv2")}
    assert views.input_of("vflip@288", base) == Input(288, 288, "crop", crop_pct=0.875, library="cv2")


def test_a_part_is_that_part_of_the_image(tmp_path):
    from PIL import Image

    y, x = np.mgrid[0:100, 0:100]
    Image.fromarray(np.stack([x * 2, y * 2, x * 0], axis=2).astype(np.uint8)).save(tmp_path / "a.png")
    base = Input(40, 40)
    name = "identity@bottomleft80"
    decoded = inputs.read(tmp_path / "a.png", views.input_of(name, base))
    seen = views.get(name).apply(decoded[None])[0].astype(float)
    across, down = seen[0, :, 0] / 2, seen[:, 0, 1] / 2
    np.testing.assert_allclose((across[0], across[-1]), (1, 79), atol=1.5)
    np.testing.assert_allclose((down[0], down[-1]), (21, 99), atol=1.5)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hflp", "unknown view 'hflp'; known are identity, hflip"),
        ("", "unknown view"),
        ("left0", "unknown view"),
        ("left51", "unknown view"),
        ("left05", "unknown view"),
        ("hflip@@288", "unknown view"),
        ("@288", "unknown view"),
        ("hflip@288@center90", "unknown view"),
        ("hflip@../x", "unknown view"),
        ("identity@middle90", "unknown part in view 'identity@middle90'; known are center, topleft"),
        ("identity@center100", "50 to 99 percent"),
        ("identity@center09", "unknown part"),
        ("identity@7", "impossible size in view 'identity@7'; possible are 8 to 4096"),
        ("identity@0288", "impossible size"),
        ("identity@٢٨٨", "unknown view"),
    ],
)
def test_an_unknown_view_lists_the_known_ones(name, told):
    with pytest.raises(ValueError, match="view") as caught:
        views.get(name)
    assert told in str(caught.value)


def test_names_are_read_without_numpy():
    """The reader of kernel.toml knows all names, and must not wait half a second for it."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from kkb_runtime import views; views.get('left5@center90@288'); "
    code += "assert 'numpy' not in sys.modules"
    wheel = next(path for path in sys.path if "kkb-wheel-" in path)
    subprocess.run([sys.executable, "-I", "-c", code, wheel], check=True, timeout=60)
