"""inverse(view(x)) == x, and each view is what its name says."""

import numpy as np
import pytest
from kkb_runtime import views


@pytest.mark.parametrize("name", sorted(views.VIEWS))
@pytest.mark.parametrize("shape", [(3, 4, 4, 3), (1, 2, 5, 3), (0, 4, 4, 3)])
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
    seen = {name: view.apply(x)[0, :, :, 0].tolist() for name, view in views.VIEWS.items()}
    assert seen == {
        "identity": [[0, 1, 2], [3, 4, 5]],
        "hflip": [[2, 1, 0], [5, 4, 3]],
        "vflip": [[3, 4, 5], [0, 1, 2]],
        "rot90": [[2, 5], [1, 4], [0, 3]],
        "rot180": [[5, 4, 3], [2, 1, 0]],
        "rot270": [[3, 0], [4, 1], [5, 2]],
        "transpose": [[0, 3], [1, 4], [2, 5]],
    }


def test_an_unknown_view_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown view 'hflp'; known are hflip, identity"):
        views.get("hflp")
