"""The long form: one row for each id and class, `id_class`. Which id and which class each row is, told from the keys alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEPARATORS = "_-:|/. "
JOINTS = ("_", "-", ":", "|", "/", ".", " ", "")
DEEPEST = 6  # separators within an id or a class


def grid(keys: Sequence[str]) -> tuple[NDArray[np.int64], list[str]] | None:
    """(places int (ids, classes), classes): which key is of which id and class; None when the keys are no full table.

    A table has at least two ids and two classes, and each id every class once.
    """
    for separator in SEPARATORS:
        for depth in range(1, DEEPEST):
            for split in (_from_right, _from_left):
                parts = [split(key, separator, depth) for key in keys]
                found = _table([pair for pair in parts if pair], len(keys))
                if found:
                    return found
    return None


def joined(keys: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """The labels with each of which every id is joined to make the keys, `scan7_fracture`, in either order; empty: none are."""
    wanted, first = set(keys), next(iter(ids), "")
    if not first or len(set(ids)) < len(ids) or len(wanted) < len(keys) or wanted <= set(ids):
        return ()
    for joint in JOINTS:
        after = [key.removeprefix(first + joint) for key in keys if key.startswith(first + joint)]
        if len(after) * len(ids) == len(keys) and {f"{name}{joint}{label}" for name in ids for label in after} == wanted:
            return tuple(after)
        before = [key.removesuffix(joint + first) for key in keys if key.endswith(joint + first)]
        if len(before) * len(ids) == len(keys) and {f"{label}{joint}{name}" for name in ids for label in before} == wanted:
            return tuple(before)
    return ()


def ending(keys: Sequence[str], names: Sequence[str]) -> dict[str, list[int]]:
    """Where the keys of each name are, which is joined with ids, `scan7_kind` or `kind_scan7`, the same ids each.

    Empty lists where they are not.
    """
    for joint in JOINTS:
        for begin in (False, True):
            cuts = {name: name + joint if begin else joint + name for name in names}
            found: dict[str, list[int]] = {name: [] for name in names}
            ids: dict[str, set[str]] = {name: set() for name in names}
            for place, key in enumerate(keys):
                for name, cut in cuts.items():
                    if key.startswith(cut) if begin else key.endswith(cut):
                        found[name].append(place)
                        ids[name].add(key.removeprefix(cut) if begin else key.removesuffix(cut))
            whole = all(len(places) * len(names) == len(keys) for places in found.values())
            if whole and len({frozenset(one) for one in ids.values()}) == 1:
                return found
    return {name: [] for name in names}


def _from_right(key: str, separator: str, depth: int) -> tuple[str, str] | None:
    parts = key.rsplit(separator, depth)
    return (parts[0], separator.join(parts[1:])) if len(parts) == depth + 1 else None


def _from_left(key: str, separator: str, depth: int) -> tuple[str, str] | None:
    parts = key.split(separator, depth)
    return (separator.join(parts[:depth]), parts[depth]) if len(parts) == depth + 1 else None


def _table(pairs: list[tuple[str, str]], rows: int) -> tuple[NDArray[np.int64], list[str]] | None:
    ids, classes = list(dict.fromkeys(a for a, _ in pairs)), list(dict.fromkeys(b for _, b in pairs))
    whole = len(pairs) == rows == len(set(pairs)) == len(ids) * len(classes)
    if not whole or len(ids) < 2 or len(classes) < 2:
        return None
    row, column = {name: n for n, name in enumerate(ids)}, {name: n for n, name in enumerate(classes)}
    places = np.zeros((len(ids), len(classes)), dtype=np.int64)
    for place, (name, label) in enumerate(pairs):
        places[row[name], column[label]] = place
    return places, classes
