"""A folder to rehearse in: gone afterwards, however that comes about.

What a killed rehearsal left behind is removed by the next one: each folder is locked as long as its process lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from builder.errors import UserError
from builder.rehearse import sandbox

PREFIX, LOCK = "kkb-rehearsal-", ".lock"


@contextlib.contextmanager
def scratch(*, keep: bool = False) -> Iterator[Path]:
    """An empty folder for the length of the block; with `keep` it stays. Raises UserError when there is no place for one."""
    try:
        sweep()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise UserError(
            "no scratch folder can be made", found=error, expected="a writable folder", remedy="set TMPDIR to one"
        ) from None
    with (folder / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            if keep:
                (folder / LOCK).unlink(missing_ok=True)
            else:
                sandbox.remove(folder)


def sweep() -> None:
    """Remove what rehearsals left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / LOCK).open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sandbox.remove(folder)
