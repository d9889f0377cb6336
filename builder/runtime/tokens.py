"""Texts as token ids: tokenised once and whole; windows are cut when batches are made, so all views share the ids.

Expects: {"schema": 1, "kind": "tokens", "columns": names, "joiner": text between them, "tokenizer": the JSON of `tokenizers`,
    without truncation and padding, "before" and "after": special ids around each sequence, "pad": id, "length": tokens,
    "side": the end that is cut, "right" or "left", "longest": tokens that the model can take at most, "vocabulary": ids}
Produces: input_ids and attention_mask, both int64 (n, t), padded at the right to the longest row of the batch.
Never: a row without any token: one that would be empty is one padding token, unmasked.

The ids are those that transformers gives with truncation at `length` and special tokens: bit for bit, for texts of up to
CHARACTERS characters, and for longer ones as long as an end of half that many has more tokens than the window.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from .cells import Feeds

CHARACTERS = 32 * texts.LONGEST  # of a row; half of them from each end
TOGETHER = 1 << 21  # characters that are tokenised in one call: its answer holds a hundred bytes and more per token


@dataclass(frozen=True)
class Frame:
    """What surrounds the ids of a text, and how many of them there may be; the recipe's own words."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    pad: int
    length: int
    side: str
    longest: int

    @property
    def specials(self) -> int:
        """Tokens of a sequence that are none of the text."""
        return len(self.before) + len(self.after)


@dataclass(frozen=True)
class Tokens:
    """Rows of ids: row i is ids[starts[i] : starts[i] + counts[i]], without special tokens."""

    frame: Frame
    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def padding(self) -> Mapping[str, int]:
        """The padding token: a decoder takes its answer from the last id that is another."""
        return {"input_ids": self.frame.pad}

    def pick(self, places: NDArray[np.int64]) -> Tokens:
        """Some of the rows, which share the ids."""
        return replace(self, starts=self.starts[places], counts=self.counts[places])

    def batches(self, view: str, size: int) -> Iterator[tuple[NDArray[np.int64], Feeds]]:
        """Rows of about equal length, at most `size` and at most `size` times the recipe's length in padded tokens.

        Raises ValueError for an unknown view, or one that is longer than the model can take.
        """
        frame = self.frame
        limit, starts, counts = self._window(view)
        lengths = np.maximum(counts + frame.specials, 1)
        for places, width in texts.buckets(lengths, size, size * frame.length, limit):
            yield places, self._feeds(starts[places], counts[places], lengths[places], width)

    def _window(self, view: str) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """How many tokens there may be; where each row's window starts, and how many ids are in it."""
        part, asked = texts.part_of(view)
        limit = asked or self.frame.length
        if not self.frame.specials < limit <= self.frame.longest:
            possible = f"{self.frame.specials + 1} to {self.frame.longest}"
            raise ValueError(f"view {view!r} asks for {limit} tokens; the model can take {possible}")
        counts = np.minimum(self.counts, limit - self.frame.specials)
        keeps_end = (part == "tail") == (self.frame.side == "right")
        return limit, self.starts + (self.counts - counts if keeps_end else 0), counts

    def _feeds(
        self, starts: NDArray[np.int64], counts: NDArray[np.int64], lengths: NDArray[np.int64], width: int
    ) -> dict[str, NDArray[np.int64]]:
        before, after = self.frame.before, self.frame.after
        ids = np.full((len(starts), width), self.frame.pad, dtype=np.int64)
        ids[:, : len(before)] = before
        room = width - len(before)
        inside = np.arange(room) < counts[:, None]
        ids[:, len(before) :][inside] = texts.padded(self.ids, starts, counts, room, self.frame.pad)[inside]
        for place, special in enumerate(after):
            ids[np.arange(len(ids)), len(before) + counts + place] = special
        return {"input_ids": ids, "attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}


class TokenReader:
    """Rows to Tokens."""

    def __init__(self, tokenizer: Any, columns: Sequence[str], joiner: str, frame: Frame) -> None:
        self.tokenizer, self.columns, self.joiner, self.frame = tokenizer, columns, joiner, frame

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Tokens:
        """The rows as ids. Raises CellsError when a column is missing."""
        found = [np.zeros(0, dtype=np.int32)]
        for together in _portions(texts.passages(rows, self.columns, self.joiner, CHARACTERS)):
            found += [_ends(encoding.ids) for encoding in self._encoded(together)]
        counts = np.array([len(ids) for ids in found[1:]], dtype=np.int64)
        return Tokens(self.frame, np.concatenate(found), np.cumsum(counts) - counts, counts)

    def _encoded(self, together: list[str]) -> list[Any]:
        # The fast one leaves out where in the text each token was.
        encode = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)
        return encode(together, add_special_tokens=False)  # type: ignore[no-any-return]


def reader(recipe: Mapping[str, Any]) -> TokenReader:
    """The reader of a recipe of kind `tokens`. Raises KeyError, TypeError or ValueError when it is broken."""
    from tokenizers import Tokenizer  # Kaggle's image has it, with transformers

    frame = Frame(
        before=tuple(map(int, recipe["before"])),
        after=tuple(map(int, recipe["after"])),
        pad=int(recipe["pad"]),
        length=int(recipe["length"]),
        side=str(recipe["side"]),
        longest=int(recipe["longest"]),
    )
    if frame.side not in {"right", "left"} or not frame.specials < frame.length <= frame.longest:
        raise ValueError(f"impossible side or length: {frame.side}, {frame.length} of {frame.longest}")
    try:
        tokenizer = Tokenizer.from_str(json.dumps(recipe["tokenizer"]))
    except Exception as error:  # noqa: BLE001  the package raises bare Exceptions
        raise ValueError(f"its tokenizer cannot be read: {error}") from None
    return TokenReader(tokenizer, [str(column) for column in recipe["columns"]], str(recipe["joiner"]), frame)


def _portions(passages: list[str]) -> Iterator[list[str]]:
    """The texts in order, TOGETHER characters at a time; a longer one is alone."""
    portion: list[str] = []
    held = 0
    for passage in passages:
        if portion and held + len(passage) > TOGETHER:
            yield portion
            portion, held = [], 0
        portion.append(passage)
        held += len(passage)
    if portion:
        yield portion


def _ends(ids: list[int]) -> NDArray[np.int32]:
    """What any window can see: no view is longer than LONGEST."""
    seen = ids if len(ids) <= 2 * texts.LONGEST else ids[: texts.LONGEST] + ids[-texts.LONGEST :]
    return np.array(seen, dtype=np.int32)
