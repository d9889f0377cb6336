"""How long work tells how far it is: stages call a Report, the command line draws it."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[float, float | None, str], None]
"""(done, total or None when unknown, what is being done)"""


def silent(done: float, total: float | None, text: str) -> None:
    """A Report that shows nothing."""
