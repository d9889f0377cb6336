"""A hidden test set out of the visible one, when nothing is known about a competition but its files.

The rows that the sample submission names appear under other ids, and more of them: whoever counts on the visible ids, their
number or their files is found out. Tables get rows with the new ids, files and folders named after an id are there under the new
name; everything else is as it was. Contents are copies, so scores and timings of single rows are those of the visible set.

Expects: a competition's folder. Produces: a folder that looks like it.
Never: writes to the competition's folder (plain files are hard links to it where the disk allows).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.rehearse import judge
from builder.scoring import Rejected, read_table

FEW, MANY = 100, 1000
SHARE = 10  # one row more for each ten, where there are many
MOST_ENTRIES = 200_000
MOST_COPIED = 512 << 20  # bytes, where files cannot be linked
DEPTH = 4
TABLE_BYTES = 512 << 20
NUMBER = re.compile(r"\d+")
HEXADECIMAL = string.digits + "abcdef"


@dataclass(frozen=True)
class Made:
    """A hidden set: its folder, its rows, and why it is no more than the visible one (empty when it is)."""

    folder: Path
    rows: int
    why_visible: str = ""


class _NotPossibleError(Exception):
    """Raised when the visible files don't say how to make more of them."""


def rows_wanted(visible: int) -> int:
    """Ten times the visible rows as long as they are few; else a tenth more: what is already large needs only to differ."""
    return min(SHARE * visible, max(MANY, visible + visible // SHARE))


def make(competition: Path, folder: Path, rows: int | None = None) -> Made:
    """A hidden set of `rows` rows (None: see rows_wanted) in `folder`; the visible one itself when none can be made."""
    sample = judge.find_sample(competition)
    try:
        table = read_table(sample)
    except Rejected:
        return Made(competition, 0, "the sample submission cannot be read")
    visible = list(dict.fromkeys(table[table.columns[0]].astype(str)))
    try:
        _build(competition, folder, str(table.columns[0]), visible, rows or rows_wanted(len(visible)))
    except _NotPossibleError as error:
        return Made(competition, len(table), str(error))
    return Made(folder, len(read_table(folder / sample.name)))


def _build(competition: Path, folder: Path, key: str, visible: list[str], rows: int) -> None:
    if not visible:
        raise _NotPossibleError("the visible sample has no rows")
    rounds = renamed(visible, rows)
    stems = {_base(name): [_base(names[name]) for names in rounds if name in names] for name in visible}
    entries = list(_walk(competition, stems))
    tables = {path: made for path in entries if (made := _larger(competition / path, key, rounds)) is not None}
    files = {path: stems[_stem(path.name)] for path in entries if path not in tables and _stem(path.name) in stems}
    if len(tables) < 2 and not files:
        raise _NotPossibleError(f"no table but the sample has the ids of '{key}', and no file is named after one")
    changed = {path.parts[0] for path in (*tables, *files)}
    budget = _Budget()
    folder.mkdir(parents=True)
    for top in sorted(competition.iterdir()):
        if top.name not in changed and top.is_dir():
            (folder / top.name).symlink_to(top.resolve())
        elif top.name not in changed:
            budget.place(top, folder / top.name)
    for path in (path for path in entries if path.parts[0] in changed):
        _place(competition / path, folder / path, files.get(path), tables.get(path), budget, deepest=len(path.parts) >= DEPTH)


def _place(source: Path, target: Path, names: Sequence[str] | None, table: Any, budget: _Budget, *, deepest: bool) -> None:
    """Put one table, file or folder in its place in the hidden set; under all its new `names`, if it has some."""
    if table is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(table, target)
    elif names is not None:
        for name in names:
            budget.place(source, target.with_name(name + target.name.removeprefix(_stem(target.name))))
    elif source.is_dir() and _entered(source) and not deepest:
        target.mkdir(parents=True, exist_ok=True)
    else:
        budget.place(source, target)


class _Budget:
    """Puts files and folders in place: links where possible, else copies up to a limit."""

    def __init__(self) -> None:
        self._left = MOST_COPIED

    def place(self, source: Path, target: Path) -> None:
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            for entry in source.iterdir():
                self.place(entry, target / entry.name)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:
            self._left -= source.stat().st_size
            if self._left < 0:
                raise _NotPossibleError("the files are on another disk and too large to be copied") from None
            shutil.copyfile(source, target)


def renamed(visible: Sequence[str], rows: int) -> list[dict[str, str]]:
    """Old id -> new id, in rounds over the visible ids, `rows` in all; no new id is an old one."""
    used = set(visible)
    rounds: list[dict[str, str]] = []
    numbers = all(NUMBER.fullmatch(name) for name in visible)
    following = max(int(name) for name in visible) + 1 if numbers else 0
    width = max(map(len, visible)) if numbers and any(name.startswith("0") and len(name) > 1 for name in visible) else 0
    alphabet = _alphabet(visible)
    for start in range(0, rows, len(visible)):
        names = {}
        for old in visible[: rows - start]:
            if numbers:
                new, following = str(following).zfill(width), following + 1
            else:
                new = _other(old, len(rounds), used, alphabet)
            used.add(new)
            names[old] = new
        rounds.append(names)
    return rounds


def _alphabet(names: Sequence[str]) -> dict[str, str]:
    """Character -> the characters that may stand in its place: ids in hexadecimal stay in hexadecimal."""
    seen = {mark for name in names for mark in _base(name) if mark.isalnum()}
    hexadecimal = seen <= set(HEXADECIMAL) and not seen <= set(string.digits)
    alphabets = (HEXADECIMAL,) if hexadecimal else (string.digits, string.ascii_lowercase, string.ascii_uppercase)
    return {mark: next((marks for marks in alphabets if mark in marks), mark) for mark in seen}


def _other(old: str, turn: int, used: set[str], alphabet: Mapping[str, str]) -> str:
    """An id of the same look that is not used: letters for letters, digits for digits; folder and suffix stay."""
    parent, slash, name = old.rpartition("/")
    stem = _stem(name)
    for attempt in range(100):
        noise = hashlib.sha256(f"{old}\0{turn}\0{attempt}".encode()).digest()
        marks = [alphabet.get(mark, mark) for mark in stem]
        new = "".join(choices[noise[place % 32] % len(choices)] for place, choices in enumerate(marks))
        whole = f"{parent}{slash}{new}{name.removeprefix(stem)}"
        if whole not in used:
            return whole
    return f"{parent}{slash}{stem}{len(used)}{name.removeprefix(stem)}"


def _base(identity: str) -> str:
    """What the files of an id are named after: `test/0a1b.png` -> `0a1b`."""
    return _stem(identity.rpartition("/")[2])


def _stem(name: str) -> str:
    """A file's or an id's name without its suffixes: `0a1b.tar.gz` -> `0a1b`."""
    return name.partition(".")[0] or name


def _walk(competition: Path, stems: Mapping[str, object]) -> Iterator[Path]:
    """Relative paths of what lies in folders that are neither for training nor one row's own.

    Raises:
        _NotPossibleError: There is too much.
    """
    seen = 0
    queue = [competition]
    while queue:
        for entry in sorted(queue.pop().iterdir()):
            path = entry.relative_to(competition)
            seen += 1
            if seen > MOST_ENTRIES:
                raise _NotPossibleError(f"the competition has more than {MOST_ENTRIES} files outside of training folders")
            yield path
            if entry.is_dir() and len(path.parts) < DEPTH and _entered(path) and _stem(path.name) not in stems:
                queue.append(entry)


def _entered(path: Path) -> bool:
    """Whether a folder or table may hold what belongs to test rows."""
    return "train" not in path.name.lower()


def _larger(path: Path, key: str, rounds: list[dict[str, str]]) -> Any:
    """The table at `path` with its rows under the new ids; None when it is no table of these rows."""
    import pandas as pd

    if path.suffix not in judge.TABLES or not path.is_file() or not _entered(path) or path.stat().st_size > TABLE_BYTES:
        return None
    try:
        if path.suffix == ".csv" and key not in pd.read_csv(path, nrows=0).columns:
            return None
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError, ImportError):
        return None
    if key not in table.columns:
        return None
    ids = table[key].astype(str)
    ours = ids.isin(list(rounds[0]))
    if not ours.any():
        return None
    parts = [table[~ours]]
    for names in rounds:
        part = table[ours & ids.isin(list(names))].copy()
        part[key] = ids[part.index].map(names).astype(table[key].dtype)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _write(table: Any, path: Path) -> None:
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
