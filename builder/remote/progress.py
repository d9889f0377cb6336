"""What a callback for progress receives, and how bytes become it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.remote.client import Client

# (done, total or None when unknown, what is going on). Bytes for transfers, seconds for waits.
Progress = Callable[[float, float | None, str], None]


def rate(size: float) -> str:
    """Bytes, or bytes per second, for people: `3.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


class Meter:
    """Counts the bytes of one transfer, which may take several calls, and tells them with their speed."""

    def __init__(self, client: Client, on_progress: Progress | None, total: int | None, text: str) -> None:
        self._clock = client.clock
        self._start = client.clock()
        self._on_progress = on_progress
        self._total = total
        self._text = text
        self._before = 0
        self.bytes = 0

    def next_call(self) -> None:
        """What follows is counted on top of what was moved so far."""
        self._before = self.bytes

    def __call__(self, moved: int) -> None:
        """Say that the current call has moved so many bytes."""
        self.bytes = self._before + moved
        if self._on_progress:
            seconds = self._clock() - self._start
            speed = f", {rate(self.bytes / seconds)}/s" if seconds > 0 else ""
            done = self.bytes if self._total is None else min(self.bytes, self._total)
            self._on_progress(float(done), self._total, f"{self._text}: {rate(done)}{speed}")
