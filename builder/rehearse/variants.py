"""The hidden sets that a notebook is played on, as data: what each changes, and what is a good end.

Every one of them must end `Scored`: a row that was changed may stay without an answer of the models (it then has the fallback),
any other row may not. Only where a whole column is gone may the notebook refuse, naming the column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from builder.rehearse.draft import CATEGORY, NUMBER, TEXT, Draft, Row, split
from builder.rehearse.spoils import SPOILS

FEW = 8
LONG_TEXT = "word " * 200_000  # a megabyte
LONG_WORD = "ㅋㅋㅎ" * 111_111  # a megabyte in UTF-8 without a blank: some tokenizers need quadratic time for it
EMOJI = "😀👍🏽🎬🇰🇷❤️"  # with a skin tone, a flag and a variation selector: several code points for one picture
NO_NUMBERS = ("unknown", "12 kg", "1,5", "--")
EXTRA = ("README.md", ".DS_Store", "test_extra.csv", "{folder}/Thumbs.db", "{folder}/._hidden.png")


@dataclass(frozen=True)
class Variant:
    """One hidden set.

    Attributes:
        words: What it changes, for a person.
        rows: How many rows it has.
        change: A draft of so many plain rows -> the draft as it is written; None where there is nothing to change.
        usual: Whether it is played when nothing is said about sets.
    """

    name: str
    words: str
    rows: int
    change: Callable[[Draft], Draft | None]
    usual: bool = False


def _as_it_is(draft: Draft) -> Draft:
    return draft


def _shuffled(draft: Draft) -> Draft:
    """Every second row first: an order that no table has by itself. The sample submission has another one."""
    return replace(draft, rows=draft.rows[1::2] + draft.rows[::2], reversed=True)


def _renamed(draft: Draft, spell: Callable[[int], str]) -> Draft:
    """Other ids, and with them other image files where these are named after the id."""
    rows = []
    for number, row in enumerate(draft.rows, start=1):
        name = spell(number) + split(row.cells[draft.id])[1]
        rows.append(replace(row, cells={**row.cells, draft.id: name}))
    return replace(draft, rows=tuple(rows))


def _filled(draft: Draft, columns: tuple[str, ...], values: tuple[str, ...], words: str) -> Draft | None:
    """Every second row with other cells in some columns: one of `values`, in turn."""
    if not columns:
        return None
    rows = list(draft.rows)
    for number in range(1, len(rows), 2):
        cells = dict.fromkeys(columns, values[number // 2 % len(values)])
        rows[number] = _touched(replace(rows[number], cells={**rows[number].cells, **cells}), words)
    return replace(draft, rows=tuple(rows))


def _touched(row: Row, words: str) -> Row:
    return replace(row, changed=f"{row.changed}, {words}" if row.changed else words)


def _one_category(draft: Draft) -> Draft | None:
    columns = draft.of_kind(CATEGORY)
    same = {column: draft.rows[0].cells[column] for column in columns} if draft.rows else {}
    rows = tuple(_touched(replace(row, cells={**row.cells, **same}), "a repeated category") for row in draft.rows)
    return replace(draft, rows=rows) if columns else None


def _new_category(draft: Draft) -> Draft | None:
    unseen = tuple(f"unseen-{number}" for number in range(len(draft.rows)))
    return _filled(draft, draft.of_kind(CATEGORY), unseen, "an unseen category")


def _empty_cells(draft: Draft) -> Draft | None:
    return _filled(draft, draft.free, ("", "NaN"), "an empty cell")


def _mixed_types(draft: Draft) -> Draft | None:
    return _filled(draft, draft.of_kind(NUMBER), NO_NUMBERS, "a word where a number belongs")


def _text(draft: Draft, value: str, words: str) -> Draft | None:
    return _filled(draft, draft.of_kind(TEXT), (value,), words)


def _no_column(draft: Draft) -> Draft | None:
    """The last column that models read; else the last one that the table can do without, or one that image paths are made of."""
    read = [column for column in draft.free if column in draft.wanted]
    gone = next(iter([*read[-1:], *draft.free[-1:], *sorted(draft.named - {draft.id})]), None)
    if gone is None:
        return None
    rows = tuple(_touched(row, f"no column {gone!r}") for row in draft.rows)
    return replace(draft, rows=rows, columns=tuple(column for column in draft.columns if column != gone), gone=gone)


def _extra_files(draft: Draft) -> Draft:
    return replace(draft, extra=EXTRA)


def _spoiled(draft: Draft, kinds: tuple[str, ...], every: int) -> Draft | None:
    """Every so many rows show an odd image, one kind after the other."""
    if not draft.images:
        return None
    rows = list(draft.rows)
    for turn, number in enumerate(range(0, len(rows), every)):
        kind = kinds[turn % len(kinds)]
        rows[number] = _touched(replace(rows[number], spoil=kind), f"image: {SPOILS[kind].words}")
    return replace(draft, rows=tuple(rows))


def _odd(draft: Draft) -> Draft:
    """All that can be combined: one image of each kind, then odd cells, new ids, another order and files nobody asked for."""
    kinds = tuple(SPOILS)
    head = _spoiled(replace(draft, rows=draft.rows[: len(kinds)]), kinds, 1)
    rest = draft.rows[len(kinds) :] if head else draft.rows
    rows = (head.rows if head else ()) + _dealt(replace(draft, rows=rest))
    return _shuffled(_renamed(replace(draft, rows=rows, extra=EXTRA), "{:07d}".format))


def _dealt(draft: Draft) -> tuple[Row, ...]:
    """Every second row with one oddity of cells, one kind after the other."""
    sets = [made for change in CELLS if (made := change(draft))]
    rows = list(draft.rows)
    for turn, number in enumerate(range(1, len(rows), 2) if sets else ()):
        rows[number] = sets[turn % len(sets)].rows[number]
    return tuple(rows)


def _of_text(name: str, words: str, value: str, short: str) -> Variant:
    return Variant(name, words, FEW, partial(_text, value=value, words=short))


TEXTS = (
    _of_text("empty-text", "empty texts", "", "an empty text"),
    _of_text("emoji-text", "texts of emoji only", EMOJI, "a text of emoji"),
    _of_text("long-text", f"texts of {len(LONG_TEXT):,} characters", LONG_TEXT, "a very long text"),
    _of_text("long-word", f"texts of {len(LONG_WORD):,} characters without a blank", LONG_WORD, "a very long word"),
)
CELLS = (_new_category, _empty_cells, _mixed_types, *(variant.change for variant in TEXTS))


def _float_id(number: int) -> str:
    """Ids that pandas reads as floats, or that two programs spell in two ways."""
    return (f"{number}e5", f"{number}.0", f"00{number}")[number % 3]


def _table() -> Mapping[str, Variant]:
    few = [
        Variant("odd", "one of each oddity, in one set", len(SPOILS) + 2 * len(CELLS), _odd, usual=True),
        Variant("one-row", "a single row", 1, _as_it_is, usual=True),
        Variant("no-rows", "a table without rows", 0, _as_it_is, usual=True),
        Variant("shuffled", "rows in another order than the sample submission", FEW, _shuffled),
        Variant("zero-ids", "ids such as 0000007", FEW, partial(_renamed, spell="{:07d}".format)),
        Variant("integer-ids", "ids such as 7", FEW, partial(_renamed, spell="{:d}".format)),
        Variant("float-ids", "ids such as 3e5, 1.0 and 002", FEW, partial(_renamed, spell=_float_id)),
        Variant("one-category", "the same category in every row", FEW, _one_category),
        Variant("new-category", "categories that training rows have not", FEW, _new_category),
        Variant("empty-cells", "empty cells and NaN", FEW, _empty_cells),
        Variant("mixed-types", "words where numbers belong", FEW, _mixed_types),
        *TEXTS,
        Variant("no-column", "one column of the table is missing", FEW, _no_column),
        Variant("extra-files", "files that nobody asked for", FEW, _extra_files),
    ]
    few += [
        Variant(
            f"{kind}-image", f"images: {spoil.words}", FEW, partial(_spoiled, kinds=(kind,), every=FEW if kind == "huge" else 2)
        )
        for kind, spoil in SPOILS.items()
    ]
    return {variant.name: variant for variant in few}


VARIANTS = _table()
