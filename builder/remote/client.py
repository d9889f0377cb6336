"""The official client in a process of its own, behind one method: `Client.call(name, **arguments)` -> plain JSON.

Expects an environment, of which only the names in environment.ALLOWED reach the process. Produces the answer of a call, or a
typed error (answers.py). Never: prints, lets a call outlive its timeout, repeats a write, puts a secret into a message.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from builder.errors import KkbError
from builder.remote import environment as environments
from builder.remote.answers import TRY_AGAIN, UnavailableError, error_of
from builder.remote.calls import WRITES
from builder.remote.process import Process
from builder.remote.retry import RETRY_AFTER_CAP_S, Retry

MOST_PAGES = 1000


class Client:
    """A conversation with one server under one set of credentials. Use it in a `with` block.

    Args:
        environment: The caller's environment, or another one that leads elsewhere.
        timeout_s: Longest silence of a call, in seconds; moved bytes count as life. The process is killed after it.
        sleep: Waits between tries and looks.
        clock: Seconds, from anywhere; only differences count.
        dice: A number in [0, 1), for jitter.
        retry: How reads are repeated.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        timeout_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
        retry: Retry | None = None,
    ) -> None:
        self.environment = environments.allowed(environment)
        self.destination = environments.destination(self.environment)
        self.sleep = sleep
        self.clock = clock
        self.notes: list[str] = []
        self._timeout_s = timeout_s
        self._dice = dice
        self._retry = retry or Retry()
        self._process: Process | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process. A later call starts a new one."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def call(
        self,
        method: str,
        *,
        timeout_s: float | None = None,
        on_bytes: Callable[[int], None] | None = None,
        **arguments: Any,
    ) -> Any:
        """Make one call of calls.CALLS; its answer as plain JSON.

        A read is repeated when there was no usable answer. A write is made once; its UnavailableError says with `sent` whether
        the server may have acted on it.

        Raises:
            CredentialError: There are no credentials, or the server refused them.
            RefusedError: The server says no.
            UserError: The official client rejects the arguments.
            UnavailableError: No usable answer, after all tries.
        """
        failures = timeouts = 0
        while True:
            try:
                return self._once(method, arguments, timeout_s or self._timeout_s, on_bytes)
            except UnavailableError as error:
                failures += 1
                timeouts += error.timeout
                if method in WRITES or failures >= self._retry.attempts or timeouts >= self._retry.timeouts:
                    raise
                self.pause(failures, error)

    def pause(self, failures: int, error: UnavailableError) -> None:
        """Wait as long as `error`, the latest of `failures`, asks for; raise it when that is longer than we are ready to wait."""
        if error.retry_after is not None and error.retry_after > RETRY_AFTER_CAP_S:
            raise error
        self.sleep(self._retry.delay(failures, error.retry_after, self._dice()))

    def pages(self, method: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items under `key` of every page of a list.

        Raises:
            UnavailableError: The server repeats a page.
        """
        for page in self.whole_pages(method, **arguments):
            yield from page.get(key) or []

    def whole_pages(self, method: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Every page of a list, as it was answered."""
        token: str | None = None
        seen: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self.call(method, page_token=token, **arguments)
            yield page
            token = page.get("nextPageToken")
            if not token:
                return
            if token in seen:
                break
            seen.add(token)
        raise UnavailableError(f"'{method}' never comes to its last page", found=f"page token {token!r} again", remedy=TRY_AGAIN)

    def _once(self, method: str, arguments: dict[str, Any], timeout_s: float, on_bytes: Callable[[int], None] | None) -> Any:
        if self._process is None:
            self._process = Process(self.environment)
        try:
            answer = self._process.ask(method, arguments, timeout_s, on_bytes)
        except BaseException:
            # Silent, dead or interrupted: what is still on its way must not be taken for the answer to the next call.
            self.close()
            raise
        self.notes += [note for note in answer["notes"] if note not in self.notes]
        if "failure" in answer:
            raise self._error(method, answer["failure"])
        return answer["value"]

    def _error(self, method: str, failure: Mapping[str, Any]) -> KkbError:
        message = environments.scrub(failure["message"], environments.secrets(self.environment))
        return error_of(method, {**failure, "message": message})
