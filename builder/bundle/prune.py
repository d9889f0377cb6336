"""What nobody needs any more: datasets of ours on Kaggle, and leftovers in the workspace.

Expects: what is there, what pushed versions of kernels use, and which of them were submitted; whoever asks Kaggle or the ledger
    for it hands it in.
Produces: one judgement for each thing, with its reason.
Never: takes a dataset for ours because of its name alone; lets go of one that a submission to an open competition uses; removes
    anything by itself, but for `sweep`, which removes what it is given.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.bundle.changes import stem_of
from builder.bundle.record import TITLE_DIGITS
from builder.errors import GateError, UserError, did_you_mean
from builder.workspace import DIGEST_DIGITS, locked

UNUSED, USED, SUBMITTED = "unused", "used", "submitted"
UNTOLD = "a competition that can't be told"  # never over
_UPLOAD = re.compile(r"\.(?P<slug>[a-z0-9-]+)\.upload-[^.]+")
_HALF = re.compile(r"\.(?P<slug>[a-z0-9-]+)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class Held:
    """One dataset on Kaggle."""

    slug: str
    title: str
    bytes: int


@dataclass(frozen=True)
class Use:
    """A pushed version of a kernel.

    Attributes:
        kernel: `owner/slug`.
        slugs: The datasets that it mounts.
        competitions: Where it was submitted, or may have been without our knowledge; UNTOLD when nobody can tell where.
    """

    kernel: str
    version: int
    slugs: frozenset[str]
    competitions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What may become of a dataset on Kaggle.

    Attributes:
        state: `unused`, `used` by a pushed version, or `submitted` by one.
        used_by: `owner/slug version N`, newest first.
        removable: Whether `--yes` removes it.
        why: In words.
    """

    slug: str
    title: str
    bytes: int
    state: str
    used_by: tuple[str, ...]
    removable: bool
    why: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Leftover:
    """A folder in `.kkb/datasets` that nothing needs. `bytes` is what its removal gives back: links are free."""

    path: Path
    bytes: int
    why: str

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def is_ours(held: Held) -> bool:
    """True for datasets that kkb named: slug and title end in digits of the same digest."""
    if stem_of(held.slug) is None:
        return False
    stem, digits, *number = _split(held.slug)
    end = "-".join([digits[:TITLE_DIGITS], *number])
    return bool(stem) and held.title.endswith(f" {end}")


def _split(slug: str) -> list[str]:
    """[stem, digits] or [stem, digits, number] of a slug of ours."""
    head, _, tail = slug.rpartition("-")
    return [head, tail] if len(tail) == DIGEST_DIGITS else [*head.rsplit("-", 1), tail]


def judge(held: Iterable[Held], uses: Sequence[Use], over: Callable[[str], bool], named: Collection[str] = ()) -> list[Verdict]:
    """What may become of each dataset of ours, largest first.

    Args:
        held: Our datasets on Kaggle; those that kkb did not name are left out.
        uses: Every pushed version that the ledger or Kaggle knows.
        over: Whether a competition has closed.
        named: Slugs that the person names: without that, only what no pushed version uses is removable.

    Raises:
        UserError: A named dataset is not one of ours.
    """
    ours = [one for one in held if is_ours(one)]
    for slug in named:
        if slug not in {one.slug for one in ours}:
            raise UserError(
                f"'{slug}' is not a dataset that kkb made",
                expected="a slug that `kkb prune` lists",
                remedy=did_you_mean(slug, [one.slug for one in ours]) if ours else "nothing: there is none",
            )
    newest: dict[str, int] = {}
    for use in uses:
        newest[use.kernel] = max(use.version, newest.get(use.kernel, 0))
    return [_verdict(one, uses, newest, over, one.slug in named) for one in sorted(ours, key=lambda one: (-one.bytes, one.slug))]


def _verdict(held: Held, uses: Sequence[Use], newest: Mapping[str, int], over: Callable[[str], bool], named: bool) -> Verdict:
    mine = sorted((use for use in uses if held.slug in use.slugs), key=lambda use: (-use.version, use.kernel))
    by = tuple(f"{use.kernel} version {use.version}" for use in mine)
    competitions = sorted(frozenset[str]().union(*(use.competitions for use in mine)))
    open_ones = [one for one in competitions if one == UNTOLD or not over(one)]
    kept = next((use.kernel for use in mine if use.version == newest[use.kernel]), None)
    state = SUBMITTED if set(competitions) - {UNTOLD} else USED if mine else UNUSED
    if open_ones:
        removable, why = False, f"a submission to {', '.join(open_ones)} may mount it in a late rerun"
    elif kept:
        removable, why = False, f"the newest version of {kept} mounts it"
    elif competitions:
        removable, why = named, f"mounted by a submission to {', '.join(competitions)}, which is over; named, it can go"
    elif mine:
        removable, why = named, "mounted by older versions only, none of them submitted; named, it can go"
    else:
        removable, why = True, "no pushed version of a kernel mounts it"
    return Verdict(held.slug, held.title, held.bytes, state, by, removable, why)


def refuse(verdicts: Iterable[Verdict], named: Collection[str]) -> None:
    """Raise GateError when a named dataset must stay."""
    kept = [one for one in verdicts if one.slug in named and not one.removable]
    if kept:
        raise GateError(
            f"'{kept[0].slug}' is still needed", found=kept[0].why, expected="a dataset that can go", remedy="leave it out"
        )


def leftovers(folders: Path, needed: Collection[str] | None) -> list[Leftover]:
    """What lies in `.kkb/datasets` and is of no use: interrupted uploads and writes, and folders that no plan uses.

    Args:
        folders: `.kkb/datasets`.
        needed: Slugs that the plans of the workspace use; None when that can't be told, and all whole folders stay.
    """
    found = []
    for path in sorted(folders.iterdir()) if folders.is_dir() else ():
        why = _why(path, needed)
        if why and path.is_dir() and not path.is_symlink():
            found.append(Leftover(path, _freed(path), why))
    return found


def _why(path: Path, needed: Collection[str] | None) -> str:
    if _UPLOAD.fullmatch(path.name):
        return "" if _busy(path) else "an interrupted upload"
    if _HALF.fullmatch(path.name):
        return "an interrupted write"
    if needed is not None and stem_of(path.name) and path.name not in needed:
        return "no kernel's plan uses it"
    return ""


def _busy(upload: Path) -> bool:
    """True while a process holds the lock of an upload."""
    lock = upload / "lock"
    if not lock.is_file():
        return False
    try:
        with locked(lock):
            return False
    except UserError:
        return True


def _freed(folder: Path) -> int:
    files = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    return sum(status.st_size for status in files if status.st_nlink == 1)


def sweep(found: Iterable[Leftover], lock: Path) -> list[Leftover]:
    """Remove leftovers, while no bundle is written (`lock`); those that are gone. An upload that has begun since stays."""
    gone = []
    with locked(lock):
        for one in found:
            upload = one.path / "lock"
            with contextlib.ExitStack() as stack:
                try:
                    if upload.is_file():
                        stack.enter_context(locked(upload))
                except UserError:
                    continue
                shutil.rmtree(one.path, ignore_errors=True)
            if not one.path.exists():
                gone.append(one)
    return gone
