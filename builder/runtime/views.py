"""Views as data: what test-time augmentation does to a batch, and how it is undone.

Law: `inverse(view(x)) == x` for every batch x. Views act on whole batches, uint8 (n, height, width, channels), and never
change a pixel's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Batch = NDArray[Any]

HEIGHT, WIDTH = 1, 2


@dataclass(frozen=True)
class View:
    """One view of a sample.

    Attributes:
        name: What plans and kernel.toml call it.
        apply: (n, h, w, c) -> the batch as the model sees it, contiguous.
        inverse: Undoes `apply`; for outputs that have a place (masks, boxes), and for the law.
        swaps: True when height and width change places: a model of fixed, unequal height and width cannot take it.
    """

    name: str
    apply: Callable[[Batch], Batch]
    inverse: Callable[[Batch], Batch]
    swaps: bool = False


def _view(name: str, apply: Callable[[Batch], Batch], inverse: Callable[[Batch], Batch], swaps: bool = False) -> View:
    return View(name, lambda x: np.ascontiguousarray(apply(x)), lambda x: np.ascontiguousarray(inverse(x)), swaps)


def _same(x: Batch) -> Batch:
    return x


def _flip(axis: int) -> Callable[[Batch], Batch]:
    return lambda x: np.flip(x, axis=axis)


def _turn(quarters: int) -> Callable[[Batch], Batch]:
    return lambda x: np.rot90(x, k=quarters, axes=(HEIGHT, WIDTH))


def _transpose(x: Batch) -> Batch:
    return np.swapaxes(x, HEIGHT, WIDTH)


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        _view("identity", _same, _same),
        _view("hflip", _flip(WIDTH), _flip(WIDTH)),
        _view("vflip", _flip(HEIGHT), _flip(HEIGHT)),
        _view("rot90", _turn(1), _turn(-1), swaps=True),
        _view("rot180", _turn(2), _turn(-2)),
        _view("rot270", _turn(3), _turn(-3), swaps=True),
        _view("transpose", _transpose, _transpose, swaps=True),
    )
}


def get(name: str) -> View:
    """The view called `name`. Raises ValueError that lists the known ones."""
    if name not in VIEWS:
        known = ", ".join(sorted(VIEWS))
        raise ValueError(f"unknown view {name!r}; known are {known}")
    return VIEWS[name]
