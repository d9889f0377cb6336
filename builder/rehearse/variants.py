"""The hidden sets that a notebook is played on, as data: what each changes, and what is a good end.

Every one of them must end `Scored`: a row that was changed may stay without an answer of the models (it then has the fallback),
any other row may not. Only where a whole column is gone may the notebook refuse, naming the column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from builder.rehearse.draft import Draft, Row, split
from builder.rehearse.spoils import SPOILS

FEW = 8
LONG_TEXT = "word " * 20_000
WORDY = 30  # characters: longer cells on average are text, shorter ones are categories
EXTRA = ("README.md", ".DS_Store", "test_extra.csv", "{folder}/Thumbs.db", "{folder}/._hidden.png")


@dataclass(frozen=True)
class Variant:
    """One hidden set.

    Attributes:
        words: What it changes, for a person.
        rows: How many rows it has.
        change: A draft of so many plain rows -> the draft as it is written; None where there is nothing to change.
        may_refuse: Whether a refusal that names the cause is a good end, too.
        usual: Whether it is played when nothing is said about sets.
    """

    name: str
    words: str
    rows: int
    change: Callable[[Draft], Draft | None]
    may_refuse: bool = False
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


def _filled(draft: Draft, columns: tuple[str, ...], value: Callable[[int], str | None], words: str) -> Draft | None:
    """Cells of some columns replaced; `value` tells what by, by the row's number, or None to keep what is there."""
    if not columns:
        return None
    rows = []
    for number, row in enumerate(draft.rows):
        new = value(number)
        changed = row if new is None else _touched(replace(row, cells={**row.cells, **dict.fromkeys(columns, new)}), words)
        rows.append(changed)
    return replace(draft, rows=tuple(rows))


def _touched(row: Row, words: str) -> Row:
    return replace(row, changed=f"{row.changed}, {words}" if row.changed else words)


def _one_category(draft: Draft) -> Draft | None:
    columns = categories(draft)
    same = {column: draft.rows[0].cells[column] for column in columns} if draft.rows else {}
    rows = tuple(_touched(replace(row, cells={**row.cells, **same}), "a repeated category") for row in draft.rows)
    return replace(draft, rows=rows) if columns else None


def _new_category(draft: Draft) -> Draft | None:
    return _filled(draft, categories(draft), lambda n: f"unseen-{n}" if n % 2 else None, "an unseen category")


def _empty_cells(draft: Draft) -> Draft | None:
    return _filled(draft, draft.free, lambda n: ("", "NaN")[n % 2] if n % 3 else None, "an empty cell")


def _text(draft: Draft, value: str, words: str) -> Draft | None:
    return _filled(draft, texts(draft), lambda n: value if n % 2 else None, words)


def _no_column(draft: Draft) -> Draft | None:
    """The last column that the table can do without; one of those that image paths are made of when there is no other."""
    gone = next(iter([*draft.free[-1:], *sorted(draft.named - {draft.id})]), None)
    if gone is None:
        return None
    rows = tuple(_touched(row, f"no column {gone!r}") for row in draft.rows)
    return replace(draft, rows=rows, columns=tuple(column for column in draft.columns if column != gone))


def _extra_files(draft: Draft) -> Draft:
    return replace(draft, extra=EXTRA)


def _spoiled(draft: Draft, kinds: tuple[str, ...], every: int) -> Draft:
    """Every so many rows show an odd image, one kind after the other."""
    rows = list(draft.rows)
    for turn, number in enumerate(range(0, len(rows), every)):
        kind = kinds[turn % len(kinds)]
        rows[number] = _touched(replace(rows[number], spoil=kind), f"image: {SPOILS[kind].words}")
    return replace(draft, rows=tuple(rows))


def _odd(draft: Draft) -> Draft:
    """All that can be combined: one image of each kind, then odd cells, new ids, another order and files nobody asked for."""
    kinds = tuple(SPOILS)
    head = _spoiled(replace(draft, rows=draft.rows[: len(kinds)]), kinds, 1).rows
    rest = replace(draft, rows=draft.rows[len(kinds) :])
    for change in (_new_category, partial(_text, value=LONG_TEXT, words="a very long text"), _empty_cells):
        rest = change(rest) or rest
    whole = replace(draft, rows=head + rest.rows, extra=EXTRA)
    return _shuffled(_renamed(whole, "{:07d}".format))


def categories(draft: Draft) -> tuple[str, ...]:
    """Free columns of short words."""
    return tuple(column for column in draft.free if _kind(draft, column) == "category")


def texts(draft: Draft) -> tuple[str, ...]:
    """Free columns of sentences."""
    return tuple(column for column in draft.free if _kind(draft, column) == "text")


def _kind(draft: Draft, column: str) -> str:
    cells = [row.cells[column] for row in draft.rows if row.cells[column]]
    if not cells or all(_is_number(cell) for cell in cells):
        return "number"
    return "text" if sum(map(len, cells)) / len(cells) > WORDY else "category"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _table() -> Mapping[str, Variant]:
    few = [
        Variant("odd", "one of each oddity, in one set", len(SPOILS) + 9, _odd, usual=True),
        Variant("one-row", "a single row", 1, _as_it_is, usual=True),
        Variant("no-rows", "a table without rows", 0, _as_it_is, usual=True),
        Variant("shuffled", "rows in another order than the sample submission", FEW, _shuffled),
        Variant("zero-ids", "ids such as 0000007", FEW, partial(_renamed, spell="{:07d}".format)),
        Variant("integer-ids", "ids such as 7", FEW, partial(_renamed, spell="{:d}".format)),
        Variant("one-category", "the same category in every row", FEW, _one_category),
        Variant("new-category", "categories that training rows have not", FEW, _new_category),
        Variant("empty-cells", "empty cells and NaN", FEW, _empty_cells),
        Variant("empty-text", "empty texts", FEW, partial(_text, value="", words="an empty text")),
        Variant("long-text", f"texts of {len(LONG_TEXT)} characters", FEW, partial(_text, value=LONG_TEXT, words="a long text")),
        Variant("no-column", "one column of the table is missing", FEW, _no_column, may_refuse=True),
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
