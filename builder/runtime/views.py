"""Views as data: what test-time augmentation asks of an image, what it does to the batch, and how that is undone.

A view is a pair: a change of the input (at which size an image is decoded, once for all views that ask for the same) and a
permutation or a cut of the decoded batch. Its name says both:

    identity, hflip, vflip, rot90, rot180, rot270, transpose     the image mirrored, turned
    left5, right5, up5, down5                                    shifted by 5 % of its side; what leaves enters opposite
    ...@center90, @topleft90, @topright90, @bottomleft90, ...    nine tenths of each side, enlarged to the size of the whole
    ...@288                                                      at 288 pixels (the shorter side) instead of the model's own

as in `hflip`, `identity@288`, `hflip@topleft90`, `hflip@center90@288`.

Law: `inverse(view(x)) == x` for every batch x; a view that cuts something off says that it has no inverse. Views act on whole
batches, uint8 (n, height, width, channels), and never change a pixel's value: a part of an image is cut from one that was
decoded larger, so that no pixel is interpolated twice.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .contract import Input

    Batch = NDArray[Any]
    Change = Callable[[Batch], Batch]

HEIGHT, WIDTH = 1, 2
CORNERS = {"center": (0.5, 0.5), "topleft": (0, 0), "topright": (0, 1), "bottomleft": (1, 0), "bottomright": (1, 1)}
SHIFTS = {"left": (WIDTH, -1), "right": (WIDTH, 1), "up": (HEIGHT, -1), "down": (HEIGHT, 1)}
SHARES, MOVES, SIZES = (50, 99), (1, 50), (8, 4096)  # smallest and largest: percent, percent, pixels
NAME = re.compile(r"([a-z]+\d*)(?:@([a-z]+)(\d+))?(?:@(\d+))?", re.ASCII)


@dataclass(frozen=True)
class View:
    """One view of a sample.

    Attributes:
        name: What plans and kernel.toml call it.
        apply: (n, h, w, c), decoded as `input_of` says -> the batch as the model sees it, contiguous.
        inverse: Undoes `apply`; for outputs that have a place (masks, boxes), and for the law. None where pixels are cut off.
        swaps: True when height and width change places.
        share: Of each side of what is decoded, the share that the model sees.
        size: The shorter side, in pixels, of what the model sees; None for the model's own.
    """

    name: str
    apply: Change
    inverse: Change | None
    swaps: bool = False
    share: float = 1.0
    size: int | None = None


@functools.cache
def get(name: str) -> View:
    """The view called `name`. Raises ValueError that lists what there is."""
    known = f"known are {', '.join(TURNS)}, left5, identity@center90, identity@288 and their like"
    found = NAME.fullmatch(name)
    turn = _turn(found[1]) if found else None
    if not found or turn is None:
        raise ValueError(f"unknown view {name!r}; {known}")
    _, corner, share, size = found.groups()
    if corner and (corner not in CORNERS or not _within(share, SHARES)):
        raise ValueError(f"unknown part in view {name!r}; known are {', '.join(CORNERS)} with {SHARES[0]} to {SHARES[1]} percent")
    if size and not _within(size, SIZES):
        raise ValueError(f"impossible size in view {name!r}; possible are {SIZES[0]} to {SIZES[1]} pixels")
    apply, inverse, swaps = turn
    part = int(share) / 100 if corner else 1.0
    cut = _cut(CORNERS[corner], part) if corner else None
    return View(
        name,
        apply=_contiguous(apply if cut is None else lambda x: apply(cut(x))),
        inverse=_contiguous(inverse) if cut is None else None,
        swaps=swaps,
        share=part,
        size=int(size) if size else None,
    )


def input_of(name: str, base: Input) -> Input:
    """How an image is decoded for a view of a model whose own input is `base`."""
    view = get(name)
    height, width = _sized(view, base)
    if (height, width, view.share) == (base.height, base.width, 1):
        return base
    return dataclasses.replace(base, height=round(height / view.share), width=round(width / view.share))


def shape_of(name: str, base: Input) -> tuple[int, int]:
    """Height and width of what a model whose own input is `base` sees under a view."""
    view = get(name)
    height, width = _sized(view, base)
    return (width, height) if view.swaps else (height, width)


def _sized(view: View, base: Input) -> tuple[int, int]:
    """Height and width at the size that the view asks for, in the proportions of `base`."""
    if view.size is None:
        return base.height, base.width
    scale = view.size / min(base.height, base.width)
    return round(base.height * scale), round(base.width * scale)


def _within(digits: str, bounds: tuple[int, int]) -> bool:
    """Whether a number lies within bounds and is written in the one way that names are written."""
    return digits[0] != "0" and bounds[0] <= int(digits) <= bounds[1]


def _turn(name: str) -> tuple[Change, Change, bool] | None:
    """Apply, inverse and whether sides change places, of the first part of a name; None when there is no such thing."""
    moved = re.fullmatch(f"({'|'.join(SHIFTS)})(\\d+)", name)
    if moved and _within(moved[2], MOVES):
        axis, sign = SHIFTS[moved[1]]
        return _shift(axis, sign, int(moved[2]) / 100), _shift(axis, -sign, int(moved[2]) / 100), False
    return TURNS.get(name)


def _contiguous(change: Change) -> Change:
    def changed(x: Batch) -> Batch:
        import numpy as np  # not at the top: whoever only reads names, as the reader of kernel.toml does, need not wait for it

        return np.ascontiguousarray(change(x))

    return changed


def _shift(axis: int, sign: int, share: float) -> Change:
    """Moved by a share of the side, around the edge: no pixel is lost, so it can be undone."""

    def shifted(x: Batch) -> Batch:
        import numpy as np

        return np.roll(x, sign * round(share * x.shape[axis]), axis=axis)

    return shifted


def _cut(corner: tuple[float, float], share: float) -> Change:
    """A share of each side, at a place between (0, 0), top left, and (1, 1), bottom right.

    Of a side that was decoded as round(n / share), n is left, for every n.
    """

    def cut(x: Batch) -> Batch:
        sides = x.shape[HEIGHT], x.shape[WIDTH]
        kept = [round(side * share) for side in sides]
        top, left = (int((side - keep) * place) for side, keep, place in zip(sides, kept, corner, strict=True))
        return x[:, top : top + kept[0], left : left + kept[1]]

    return cut


TURNS: dict[str, tuple[Change, Change, bool]] = {
    "identity": (lambda x: x, lambda x: x, False),
    "hflip": (lambda x: x[:, :, ::-1], lambda x: x[:, :, ::-1], False),
    "vflip": (lambda x: x[:, ::-1], lambda x: x[:, ::-1], False),
    "rot90": (lambda x: x.swapaxes(HEIGHT, WIDTH)[:, ::-1], lambda x: x[:, ::-1].swapaxes(HEIGHT, WIDTH), True),
    "rot180": (lambda x: x[:, ::-1, ::-1], lambda x: x[:, ::-1, ::-1], False),
    "rot270": (lambda x: x.swapaxes(HEIGHT, WIDTH)[:, :, ::-1], lambda x: x[:, :, ::-1].swapaxes(HEIGHT, WIDTH), True),
    "transpose": (lambda x: x.swapaxes(HEIGHT, WIDTH), lambda x: x.swapaxes(HEIGHT, WIDTH), True),
}
