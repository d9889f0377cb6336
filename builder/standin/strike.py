"""How a fault strikes a request: instead of the work, after it, or in the middle of the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from builder.standin.faults import Fault
from builder.standin.wire import discard, failure

HTML = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
Work = Callable[[Request], Awaitable[Response]]


class Connection(H11Protocol):
    """An HTTP connection that can be found again, to be dropped."""

    open: dict[Any, asyncio.BaseTransport] = {}  # noqa: RUF012 - one server, one event loop: this is the list of its connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self.open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        self.open.pop(self.client, None)
        super().connection_lost(exc)


def _close(scope: Scope) -> None:
    """Close a request's connection; what was sent before still arrives."""
    transport = Connection.open.get(scope.get("client"))
    if transport is not None:
        transport.close()


class Drop(Response):
    """No answer: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Close the connection."""
        _close(scope)


class Cut(Response):
    """An answer of which only the first bytes arrive."""

    def __init__(self, whole: Response, count: int) -> None:
        super().__init__()
        self._whole, self._left = whole, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and the first bytes of the body, then close the connection."""

        async def limited(message: Message) -> None:
            if self._left <= 0 and message["type"] == "http.response.body":
                return
            if message["type"] == "http.response.body":
                body = message.get("body", b"")[: self._left]
                self._left -= len(body)
                await send({**message, "body": body, "more_body": True})
                if self._left <= 0:
                    _close(scope)
                return
            await send(message)

        await self._whole(scope, receive, limited)
        _close(scope)


async def answer(fault: Fault | None, request: Request, work: Work) -> Response:
    """The response to a request: that of `work`, as far as the fault lets it come about."""
    if fault is None:
        return await work(request)
    if fault.kind == "slow":
        await asyncio.sleep(float(fault.options.get("seconds", 5.0)))
        return await work(request)
    if fault.kind == "drop-after":
        await work(request)
        return Drop()
    if fault.kind == "cut":
        return await _cut(request, work, int(fault.options.get("bytes", 1)))
    if fault.kind == "drop-before":
        return Drop()
    await discard(request)
    return _instead(fault)


def _instead(fault: Fault) -> Response:
    """What comes instead of the work."""
    if fault.kind == "html":
        return HTMLResponse(HTML, status_code=502)
    if fault.kind == "refusal":
        return JSONResponse({"status": "error", "error": fault.message})
    if fault.kind == "429":
        return failure(429, "Too many requests", {"Retry-After": str(fault.options.get("retry_after", 1))})
    if fault.kind == "error":
        return failure(int(fault.options.get("code", 400)), fault.message)
    return failure(int(fault.kind), fault.message)


async def _cut(request: Request, work: Work, count: int) -> Response:
    """Of an upload only the first bytes arrive; of an answer only the first bytes leave."""
    if request.method != "PUT":
        return Cut(await work(request), count)
    left = count
    receive = request.receive

    async def limited() -> Message:
        nonlocal left
        if left <= 0:
            return {"type": "http.disconnect"}
        message = await receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")[:left]
            left -= len(body)
            return {**message, "body": body, "more_body": True}
        return message

    await work(Request(request.scope, limited))
    return Drop()
