"""What went wrong inside the official client, as data (child side). The kinds are those of answers.py."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from builder.remote.answers import ARGUMENT, CLIENT, CREDENTIALS, REFUSED, UNAVAILABLE

LONGEST_MESSAGE = 600


class NoCredentialsError(Exception):
    """Raised when there are no credentials that the server accepts."""


class UploadError(Exception):
    """Raised when a file could not be uploaded; nothing was created from the others."""


class ServerError(Exception):
    """Raised when an answer says by itself that the server failed."""


def failure_of(error: BaseException) -> dict[str, Any]:
    """`error` as {"kind", "message", "status", "retry_after", "sent"}."""
    chain = list(_chain(error))
    response = next((r for e in chain if (r := getattr(e, "response", None)) is not None), None)
    if response is not None:
        return _of_response(response, str(error))
    return _failure(_kind(error, chain), _text(error, chain), sent=not any(_never_sent(e) for e in chain))


def _of_response(response: Any, message: str) -> dict[str, Any]:
    status = int(response.status_code)
    if status == 401:
        return _failure(CREDENTIALS, message, status=status, sent=False)
    if status in (408, 429) or (status >= 500 and status != 501):
        wait = retry_after(response.headers.get("Retry-After"))
        return _failure(UNAVAILABLE, message, status=status, retry_after=wait, sent=status != 429)
    if status >= 400:  # 501 too: it will not be implemented at the next try
        return _failure(REFUSED, message, status=status, sent=False)
    return _failure(UNAVAILABLE, f"HTTP {status} with an answer that cannot be read: {message}", status=status)


def _kind(error: BaseException, chain: list[BaseException]) -> str:
    import requests

    if isinstance(error, (NoCredentialsError, SystemExit)):
        return CREDENTIALS
    unavailable = (requests.exceptions.RequestException, UploadError, ServerError, json.JSONDecodeError, ConnectionError)
    if any(isinstance(e, unavailable) for e in chain) or any(type(e).__module__.startswith("urllib3") for e in chain):
        return UNAVAILABLE
    if _while_reading(error):
        return UNAVAILABLE
    if isinstance(error, (ImportError, AttributeError, TypeError, NameError)):
        return CLIENT
    if isinstance(error, (ValueError, OSError)):
        return ARGUMENT
    return CLIENT


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and everything that led to it: causes, contexts, and what requests and urllib3 wrap."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), getattr(one, "original_error", None), *one.args]


def _while_reading(error: BaseException) -> bool:
    """Whether the SDK failed on the shape of an answer, which is then none."""
    frames = [frame.f_code.co_filename.replace("\\", "/") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].endswith(("/kagglesdk/kaggle_http_client.py", "/kagglesdk/kaggle_object.py"))


def _never_sent(error: BaseException) -> bool:
    """Whether this is the failure of making a connection, so that no request left."""
    return isinstance(error, (ConnectionRefusedError, UploadError)) or type(error).__name__ in (
        "NewConnectionError",
        "ConnectTimeoutError",
        "NameResolutionError",
    )


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """The seconds that a Retry-After header asks for, given as a number or as a date; None when it asks for nothing readable."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _failure(
    kind: str, message: str, *, status: int | None = None, retry_after: float | None = None, sent: bool = True
) -> dict[str, Any]:
    short = message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + " ..."
    return {"kind": kind, "message": short, "status": status, "retry_after": retry_after, "sent": sent}


def _text(error: BaseException, chain: list[BaseException]) -> str:
    import requests

    if isinstance(error, SystemExit):
        return "the official client found no credentials that it can use"
    if isinstance(error, requests.exceptions.ConnectionError):
        # What is wrapped three times over says it in the fewest words: "[Errno 111] Connection refused".
        return f"no connection: {min((str(e) for e in chain if str(e)), key=len, default='no reason given')}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
