"""The heads of a model: its outputs cut into targets, and what makes answers of the numbers of each.

Expects: logits float (n, outputs), the outputs of all heads one after the other.
Produces: answers float32 of the same shape: probabilities of classes, of labels that are there or not, or numbers in the target's
    own unit. Computed in float64, here and nowhere else, at home and in the notebook. A row of which one answer is not finite
    is NaN, all of it.
Never: decides or blends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import Head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

SOFTMAX, SIGMOID, IDENTITY = "softmax", "sigmoid", "identity"


def single(classes: Sequence[str]) -> tuple[Head, ...]:
    """The one head of a model that tells one class of each row."""
    return (Head("", SOFTMAX, tuple(classes)),)


def slices(heads: Sequence[Head]) -> list[slice]:
    """Where the outputs of each head are."""
    ends = np.cumsum([len(head.classes) for head in heads]).tolist()
    return [slice(end - len(head.classes), end) for head, end in zip(heads, ends, strict=True)]


def answers(logits: Floats, heads: Sequence[Head]) -> NDArray[np.float32]:
    """float32 (n, outputs) of logits (n, outputs). Raises ValueError for another number of outputs."""
    wide = np.asarray(logits, dtype=np.float64)
    outputs = sum(len(head.classes) for head in heads)
    if wide.ndim != 2 or wide.shape[1] != outputs:
        raise ValueError(f"found outputs of shape {wide.shape}, expected (rows, {outputs})")
    with np.errstate(all="ignore"):
        parts = [_LINKS[head.link](wide[:, place], head) for head, place in zip(heads, slices(heads), strict=True)]
        found: NDArray[np.float32] = np.concatenate(parts, axis=1).astype(np.float32)
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def apart(before: Floats, after: Floats, heads: Sequence[Head]) -> NDArray[np.float64]:
    """float64 (n, outputs): by how much answers (n, outputs) differ.

    Numbers differ in units of their spread, and by what single precision can tell of them, or not at all.
    """
    found: NDArray[np.float64] = np.abs(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))
    for head, place in zip(heads, slices(heads), strict=True):
        if head.link == IDENTITY:
            finest = np.spacing(np.abs(before[:, place]).astype(np.float32))
            found[:, place] = np.maximum(found[:, place] - finest, 0.0) / np.asarray(head.spread or 1.0)
    return found


def sigmoid(logits: Floats) -> NDArray[np.float64]:
    """Probabilities of logits, however large these are."""
    small = np.exp(-np.abs(logits))  # of a number that is not above 0: nothing overflows
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), dtype=np.float64)


def _softmax(logits: Floats, _: Head) -> Floats:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _sigmoid(logits: Floats, _: Head) -> Floats:
    return sigmoid(logits)


def _identity(logits: Floats, head: Head) -> Floats:
    found = logits * np.asarray(head.spread) + np.asarray(head.offset) if head.spread else logits
    return np.asarray(found)


_LINKS = {SOFTMAX: _softmax, SIGMOID: _sigmoid, IDENTITY: _identity}
