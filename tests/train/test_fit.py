"""Augmentation: pixels of the picture and nothing else, and each image by its own draw."""

import pytest

torch = pytest.importorskip("torch")

from builder.train import fit  # noqa: E402


def pictures(n=64, height=16, width=16):
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


FLIPS = {
    "hflip": lambda x: x.flip(2),
    "vflip": lambda x: x.flip(1),
    "rot90": lambda x: torch.rot90(x, 1, (1, 2)),
}


@pytest.mark.parametrize("name", FLIPS)
def test_each_image_is_left_or_turned_and_both_occur(name):
    before = pictures()
    after, turned = fit.augmented(before, (name,)), FLIPS[name](before)
    kept = (after == before).flatten(1).all(1)
    moved = (after == turned).flatten(1).all(1)
    assert (kept | moved).all()
    assert kept.any()
    assert moved.any()


def test_a_shift_moves_rows_and_columns_and_reflects_at_the_border():
    before = pictures(n=32)
    after = fit.augmented(before, ("shift",))
    most = 16 // fit.SHIFT
    padded = torch.nn.functional.pad(before.permute(0, 3, 1, 2).float(), [most] * 4, mode="reflect").permute(0, 2, 3, 1).byte()
    offsets = set()
    for index in range(len(before)):
        hits = [
            (dy, dx)
            for dy in range(2 * most + 1)
            for dx in range(2 * most + 1)
            if torch.equal(padded[index, dy : dy + 16, dx : dx + 16], after[index])
        ]
        assert len(hits) == 1
        offsets |= set(hits)
    assert len(offsets) > 5, "each image has its own draw"


def test_nothing_is_left_as_it_is():
    before = pictures()
    assert torch.equal(fit.augmented(before, ()), before)


def test_shape_and_type_stay_whatever_is_asked(monkeypatch):
    before = pictures(n=4, height=12, width=20)
    after = fit.augmented(before, ("hflip", "vflip", "rot90", "shift"))
    assert (after.shape, after.dtype) == (before.shape, torch.uint8)
