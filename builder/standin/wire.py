"""One request: its address form, its credentials, the message that comes in and the message that goes out.

Expects `POST /api/v1/<package.Service>/<Method>` with a JSON body, in origin form or in the absolute form that a client with
HTTP_PROXY sends. Answers are kagglesdk messages as JSON; failures are `{"code": 403, "message": "..."}` with that status.
Never passes a request on to another host: whatever is not for localhost is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kagglesdk.kaggle_object import KaggleObject
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from builder.standin.home import Home, Record, Settings, read_settings
from builder.standin.store import Store

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
MAX_BODY = 64 << 20  # a notebook with its pictures
MAX_OPEN_BODY = 1 << 20  # of a request without credentials


class ApiError(Exception):
    """A failure as Kaggle reports it: an HTTP status and a message."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def denied(permission: str) -> ApiError:
    """What Kaggle answers for things that are missing or belong to others."""
    return ApiError(403, f"Permission '{permission}' was denied")


@dataclass(frozen=True)
class Redirect:
    """An answer that sends the client to a download address."""

    url: str


@dataclass(frozen=True)
class Service:
    """What every handler may use.

    Attributes:
        home: Where files lie.
        store: The state.
        record: Username and credentials.
        wake: Called when a job was queued.
        cancel: Called with a kernel's id and version number when its run should end.
        now: The time in seconds since 1970.
    """

    home: Home
    store: Store
    record: Record
    wake: Callable[[], None]
    cancel: Callable[[int, int], None]
    now: Callable[[], float] = field(default=time.time)

    @property
    def owner(self) -> str:
        return self.record.username

    @property
    def settings(self) -> Settings:
        return read_settings(self.home)

    def page(self, path: str) -> str:
        """The address of a page for people, which works without a proxy."""
        return f"{self.record.url}/{path}"


@dataclass(frozen=True)
class Call:
    """One call of a handler: the service, and the address under which this client reaches us."""

    service: Service
    base: str

    @property
    def store(self) -> Store:
        return self.service.store

    @property
    def home(self) -> Home:
        return self.service.home

    @property
    def owner(self) -> str:
        return self.service.owner


Handler = Callable[[Call, Any], Any]
Methods = Mapping[str, tuple[type[KaggleObject], Handler]]


def username(record: Record, authorization: str | None) -> str | None:
    """The user that an Authorization header proves, or None. The token is accepted as a password too."""
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return record.username if hmac.compare_digest(value.strip().encode(), record.token.encode()) else None
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    secrets = (record.key.encode(), record.token.encode())
    fits = any(hmac.compare_digest(password.encode(), secret) for secret in secrets)
    return record.username if fits and name == record.username else None


def base_of(request: Request) -> str:
    """Scheme and host under which this client reaches us: through a proxy `http://localhost`, else with the port."""
    return f"http://{request.headers.get('host', '127.0.0.1')}"


def failure(code: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A failure body with its status."""
    return JSONResponse({"code": code, "message": message}, status_code=code, headers=dict(headers or {}))


def reply(answer: Any) -> Response:
    """The HTTP form of what a handler returned: a message, a plain object, a redirect or a whole response."""
    if isinstance(answer, Response):
        return answer
    if isinstance(answer, Redirect):
        return RedirectResponse(answer.url, status_code=302)
    body = answer.to_dict() if isinstance(answer, KaggleObject) else answer
    return Response(json.dumps(body), media_type="application/json")


def bounded(request: Request, limit: int) -> Request:
    """The same request. ApiError 413 when its body is announced larger than `limit` bytes, or turns out so while it is read."""
    too_large = ApiError(413, f"The request is larger than {limit} bytes")
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        message = await request.receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large
        return message

    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large

    return Request(request.scope, receive)


async def read_message(request: Request, kind: type[KaggleObject]) -> Any:
    """The request message. Raises ApiError 400 when the body is not one."""
    body = await request.body()
    try:
        raw = json.loads(body) if body else {}
        if not isinstance(raw, dict):
            raise TypeError("not an object")
        message = kind.from_dict(raw)
        check_types(message)
        return message
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ApiError(400, f"The request body is not a valid {kind.__name__}: {error}") from None


def check_types(message: KaggleObject) -> None:
    """Raises TypeError when a value is not of its field's type: the message classes take anything that JSON can be."""
    for entry in message._fields:
        value = getattr(message, entry.private_field_name)
        if value is None:
            continue
        for item in value if isinstance(entry.default_value, list) else [value]:
            if isinstance(item, KaggleObject):
                check_types(item)
            fits = isinstance(item, (int, float) if entry.field_type is float else entry.field_type)
            if not fits or (isinstance(item, bool) and entry.field_type is not bool):
                raise TypeError(f"{entry.json_name} is {type(item).__name__}, expected {entry.field_type.__name__}")


class Loopback:
    """ASGI wrapper: turns absolute-form targets into paths and refuses every host but this machine's loopback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        path = scope["path"]
        if not path.startswith("/"):
            address = urlsplit(path)
            if address.scheme != "http":
                await failure(403, "This is not a proxy: only http://localhost is served")(scope, receive, send)
                return
            host = address.netloc
            raw = urlsplit(scope["raw_path"].decode("latin-1")).path.encode("latin-1")
            scope = {**scope, "path": address.path or "/", "raw_path": raw or b"/"}
        if _hostname(host) not in LOOPBACK:
            message = f"This is not a proxy: host '{host}' is not served, only localhost is"
            await failure(403, message)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _hostname(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


async def discard(request: Request) -> None:
    """Read a request's body to its end, so that the client gets to read our answer."""
    async for _ in request.stream():
        pass
