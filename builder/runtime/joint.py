"""Several inputs of one model as one: images and cells of the same samples, in batches that go together.

Expects: material of the same samples for each input, the first one being that which views are of.
Produces: batches of arrays by name, in the order of the inputs; what differs in length decides which samples come together.
Never: shows any but the first input under a view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .contract import Cells, Input

    Arrays = Mapping[str, NDArray[Any]]
    Batches = Iterator[tuple[NDArray[Any], Arrays]]

PLAIN = "identity"
UNEVEN = "tokens"  # the kind of cells whose rows differ in length


def leading(parts: Sequence[Input | Cells]) -> int:
    """Which of some inputs decides what comes together: a text if there is one, else the first."""
    return next((number for number, part in enumerate(parts) if getattr(part, "kind", "") == UNEVEN), 0)


def views(view: str, count: int) -> list[str]:
    """The view of each input."""
    return [view, *[PLAIN] * (count - 1)]


def together(
    batches: Batches, leading: int, count: int, other: Callable[[int, NDArray[Any]], Arrays]
) -> Iterator[tuple[NDArray[Any], dict[str, NDArray[Any]]]]:
    """The batches of the leading input with what `other` gives for each other one of `count`, at the places of a batch."""
    for places, feeds in batches:
        whole: dict[str, NDArray[Any]] = {}
        for number in range(count):
            whole.update(feeds if number == leading else other(number, places))
        yield places, whole
