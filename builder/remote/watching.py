"""Watching a run: the version that was saved, with its log as it comes, until it is over or we have waited long enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from builder.errors import UserError, WaitError
from builder.remote.answers import TRY_AGAIN, UnavailableError
from builder.remote.progress import Progress
from builder.remote.retry import Polling
from builder.remote.runs import RUNNING, LogEntry, Status, logs, split, status

if TYPE_CHECKING:
    from builder.remote.client import Client

# A version that was just saved may not be visible yet.
APPEAR_S = 60.0


def wait(
    client: Client,
    kernel: str,
    version: int,
    *,
    limit_s: float,
    run_limit_s: float | None = None,
    on_progress: Progress | None = None,
    on_log: Callable[[Sequence[LogEntry]], None] | None = None,
    polling: Polling | None = None,
) -> Status:
    """Watch `version` until it is over.

    Args:
        client: The door.
        kernel: `owner/slug`.
        version: Its number.
        limit_s: Longest wait, in seconds.
        run_limit_s: Longest time in state RUNNING that can be true, in seconds; None does not check it.
        on_progress: Gets the seconds waited.
        on_log: Gets the log entries that are new since the last call, in order.
        polling: How often to look.

    Raises:
        WaitError: `limit_s` or `run_limit_s` ran out. The run goes on.
    """
    watch = _Watch(client, kernel, version, on_log)
    polling = polling or Polling()
    while True:
        now = watch.look()
        waited = watch.waited()
        if now.over:
            return now
        if waited >= limit_s:
            raise _late(kernel, version, f"{now.state} after {waited:.0f} s", f"an end within {limit_s:.0f} s")
        if run_limit_s is not None and watch.ran() > run_limit_s:
            raise _late(kernel, version, f"RUNNING for {watch.ran():.0f} s", f"an end within its own limit, {run_limit_s:.0f} s")
        if on_progress:
            on_progress(waited, None, f"{kernel} version {version}: {now.state.lower()}")
        client.sleep(polling.interval(waited, limit_s - waited))


class _Watch:
    """One run under observation: since when, since when running, and how much of its log was told."""

    def __init__(self, client: Client, kernel: str, version: int, on_log: Callable[[Sequence[LogEntry]], None] | None) -> None:
        self._client, self._kernel, self._version, self._on_log = client, kernel, version, on_log
        self._start = client.clock()
        self._running: float | None = None
        self._told = 0

    def waited(self) -> float:
        return self._client.clock() - self._start

    def ran(self) -> float:
        return 0.0 if self._running is None else self._client.clock() - self._running

    def look(self) -> Status:
        try:
            now = status(self._client, self._kernel, self._version)
        except UserError:
            if self.waited() >= APPEAR_S:
                raise
            return Status("QUEUED", "")
        if now.state == RUNNING and self._running is None:
            self._running = self._client.clock()
        if now.state == RUNNING or now.over:
            self._tell_log(over=now.over)
        return now

    def _tell_log(self, *, over: bool) -> None:
        """A log that cannot be read just now is no reason to stop watching."""
        if self._on_log is None:
            return
        try:
            entries = self._news(over=over)
        except (UserError, UnavailableError):
            return
        if entries:
            self._on_log(entries)
            self._told += len(entries)

    def _news(self, *, over: bool) -> list[LogEntry]:
        """What was not told yet: from the live stream, or from the kept log when the stream was refused or is not complete."""
        owner, slug = split(self._kernel)
        live = self._client.call("kernel_log", owner=owner, slug=slug, version=self._version, seen=self._told)
        if live["refused"] or (over and not live["ended"]):
            return logs(self._client, self._kernel, self._version)[self._told :]
        return list(live["entries"])


def _late(kernel: str, version: int, found: str, expected: str) -> WaitError:
    return WaitError(
        f"version {version} of '{kernel}' is not over",
        found=found,
        expected=expected,
        remedy=f"{TRY_AGAIN}; the run itself goes on",
    )
