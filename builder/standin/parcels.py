"""Files of a request that makes a version: taken from their blobs, unpacked as Kaggle does, moved to their place in one step."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import workspace
from builder.rehearse import unpack
from builder.standin import uploads
from builder.standin.home import files_below
from builder.standin.wire import ApiError, Call

MAX_TOP_LEVEL = 50


@dataclass(frozen=True)
class Parcel:
    """Unpacked files in a temporary folder.

    Attributes:
        folder: Where they are.
        tokens: The blobs they came from.
        bytes, files: Their size and number.
    """

    folder: Path
    tokens: list[str]
    bytes: int
    files: int

    def move(self, target: Path) -> None:
        """Put the folder in its place; call it last inside the transaction that names the place."""
        if target.exists():
            shutil.rmtree(target)  # left by a kill between a move and its commit
        target.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(target)


@contextlib.contextmanager
def unpacked(call: Call, body: Any) -> Iterator[Parcel]:
    """The files of a request body with `files` and `directories`. Raises ApiError when an upload is missing or not complete."""
    placed = [(folder, token, *uploads.take(call.store, call.home, token)) for folder, token in _tokens(body, Path())]
    tokens = [token for _, token, *_ in placed]
    folder = call.home.incoming / workspace.short(workspace.digest_of(tokens))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for below, _, name, path in placed:
            unpack.place(path, folder / below, name)
        paths = files_below(folder)
        yield Parcel(folder, tokens, sum((folder / path).stat().st_size for path in paths), len(paths))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refusal(body: Any) -> str:
    """Why a version cannot be made of these files; empty when it can."""
    count = len(body.files or []) + len(body.directories or [])
    if count == 0:
        return "At least one file is needed"
    return f"Max files exceeded: {count} of {MAX_TOP_LEVEL}" if count > MAX_TOP_LEVEL else ""


def _tokens(body: Any, folder: Path) -> Iterator[tuple[Path, str]]:
    """(folder below the root, token) of every file of a request or of one of its directories."""
    for file in body.files or []:
        yield folder, file.token
    for directory in body.directories or []:
        if not directory.name or directory.name in (".", "..") or "/" in directory.name:
            raise ApiError(400, f"'{directory.name}' is not a folder name")
        yield from _tokens(directory, folder / directory.name)
