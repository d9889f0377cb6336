"""Texts as counted terms: words, and pieces of words, each hashed to a number, so nothing about them has to be remembered.

Expects: {"schema": 1, "kind": "terms", "columns": names, "joiner": text between them, "form": a normal form of Unicode,
    "lowercase": bool, "characters": of a text, at most, "blocks": [{"analyzer": "char_wb" (pieces of words, with their borders)
    or "word", "ngrams": [shortest, longest], "features": how many numbers}, ...]}; a block's numbers follow those of the last.
Produces: terms int64 (n, t), ascending within a row, and counts float32 (n, t), padded with term 0 and count 0.
Never: weighs anything: inverse document frequencies and the rest are the network's own.

The hashing is scikit-learn's HashingVectorizer's, without signs and norm; it is imported when the first rows are read.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from . import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .cells import Feeds

ANALYZERS = ("char_wb", "word")
FORMS = ("NFC", "NFKC", "NFD", "NFKD")
ROOM = 1024  # terms per row of a batch, on average at most
TOGETHER = 4096  # rows that are hashed in one call, which holds every occurrence of every term
WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class Terms:
    """Rows of counted terms: row i has numbers[starts[i] : starts[i] + lengths[i]], each as often as `counts` says."""

    numbers: NDArray[np.int32]
    counts: NDArray[np.float32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def padding(self) -> Mapping[str, int]:
        """Zeros."""
        return {}

    def pick(self, places: NDArray[np.int64]) -> Terms:
        """Some of the rows, which share the terms."""
        return replace(self, starts=self.starts[places], lengths=self.lengths[places])

    def batches(self, view: str, size: int) -> Iterator[tuple[NDArray[np.int64], Feeds]]:
        """Rows with about as many terms, at most `size`. Raises ValueError for any view but identity."""
        texts.check_view("terms", view)
        lengths = np.maximum(self.lengths, 1)
        for places, width in texts.buckets(lengths, size, size * ROOM, limit=int(lengths.max(initial=1))):
            starts, counts = self.starts[places], self.lengths[places]
            numbers = texts.padded(self.numbers, starts, counts, width, 0).astype(np.int64)
            yield places, {"terms": numbers, "counts": texts.padded(self.counts, starts, counts, width, 0)}


class TermReader:
    """Rows to Terms."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self.columns, self.joiner = [str(column) for column in recipe["columns"]], str(recipe["joiner"])
        self.form: Any = str(recipe["form"])
        self.lowercase = bool(recipe["lowercase"])
        self.characters = int(recipe["characters"])
        self.blocks = [_block(block) for block in recipe["blocks"]]
        if self.form not in FORMS or self.characters < 2 or not self.blocks:
            raise ValueError(f"impossible form, characters or blocks: {self.form}, {self.characters}, {len(self.blocks)}")

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Terms:
        """The rows as counted terms. Raises CellsError when a column is missing."""
        passages = [self._plain(text) for text in texts.passages(rows, self.columns, self.joiner, self.characters)]
        hashers = self._hashers()
        found = [(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))]
        for start in range(0, len(passages), TOGETHER):
            together = passages[start : start + TOGETHER]
            found.append(_side_by_side([(offset, hasher.transform(together)) for offset, hasher in hashers]))
        numbers, counts, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Terms(numbers, counts, np.cumsum(lengths) - lengths, lengths)

    def _plain(self, text: str) -> str:
        """In the normal form; a compatibility form can make one character into eighteen, so it is cut once more."""
        found = unicodedata.normalize(self.form, text.lower() if self.lowercase else text)
        return found[: 2 * self.characters]

    def _hashers(self) -> list[tuple[int, Any]]:
        """The first number of each block, and its vectoriser."""
        from sklearn.feature_extraction.text import HashingVectorizer

        offsets = accumulate((features for _, _, features in self.blocks), initial=0)
        return [
            (
                offset,
                HashingVectorizer(
                    analyzer=analyzer, ngram_range=ngrams, n_features=features, token_pattern=WORD, lowercase=False,
                    alternate_sign=False, norm=None, dtype=np.float32,
                ),
            )
            for offset, (analyzer, ngrams, features) in zip(offsets, self.blocks, strict=False)
        ]  # fmt: skip


def reader(recipe: Mapping[str, Any]) -> TermReader:
    """The reader of a recipe of kind `terms`. Raises KeyError, TypeError or ValueError when it is broken."""
    return TermReader(recipe)


def features(recipe: Mapping[str, Any]) -> int:
    """How many different numbers terms of a recipe have."""
    return sum(_block(block)[2] for block in recipe["blocks"])


def _block(block: Mapping[str, Any]) -> tuple[str, tuple[int, int], int]:
    analyzer, (shortest, longest), numbers = str(block["analyzer"]), map(int, block["ngrams"]), int(block["features"])
    if analyzer not in ANALYZERS or not 1 <= shortest <= longest or numbers < 1:
        raise ValueError(f"impossible block of terms: {dict(block)}")
    return analyzer, (shortest, longest), numbers


def _side_by_side(found: list[tuple[int, Any]]) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Numbers, counts and lengths of rows, from one sparse matrix per block and the block's first number."""
    lengths = np.stack([np.diff(matrix.indptr) for _, matrix in found], axis=1).astype(np.int64)
    rows = np.concatenate([np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) for _, matrix in found])
    numbers = np.concatenate([matrix.indices + offset for offset, matrix in found]).astype(np.int32)
    counts = np.concatenate([matrix.data for _, matrix in found]).astype(np.float32)
    order = np.lexsort((numbers, rows))
    return numbers[order], counts[order], lengths.sum(axis=1)
