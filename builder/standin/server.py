"""The server process: `python -m builder.standin.server --home DIR --socket FD`.

Expects a bound, listening socket on 127.0.0.1 as an inherited descriptor, so that nobody can take the port in between.
Ends on SIGTERM or SIGINT, after its runs have ended; survives kill -9 without losing anything it had answered for.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import os
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from builder.errors import KkbError
from builder.standin import account, faults, kernels, page, process, storage, strike, uploads, wire
from builder.standin.home import Home, new_record, read_record, write_record
from builder.standin.runner import Runner
from builder.standin.services import SERVICES
from builder.standin.store import Store
from builder.standin.wire import ApiError, Call, Loopback, Service, failure

log = logging.getLogger(__name__)
OPEN = {"IntrospectToken"}  # the request itself carries what is to be checked
LOG_POLL_S = 0.2
END_OF_LOG = "data: END_OF_LOG\n\n"


class Site:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._uploads = uploads.Uploads(service)
        self._pages = page.Pages(service)

    def app(self) -> ASGIApp:
        """The application, behind the loopback check."""
        opened = self._pages.opened
        routes = [
            Route("/api/v1/{service}/{method}", self.rpc, methods=["POST"]),
            Route("/api/v1/kernels/logs/stream/{owner}/{slug}", self.logs, methods=["GET"]),
            Route("/upload/{upload}", self.upload, methods=["PUT"]),
            Route("/storage/{signature}/{text}/{name:path}", self.storage, methods=["GET", "HEAD"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/", opened(self._pages.overview), methods=["GET"]),
            Route("/code/{owner}/{slug}", opened(self._pages.kernel), methods=["GET"]),
            *(Route(f"/{part}/{{rest:path}}", opened(self._pages.section), methods=["GET"]) for part in page.SECTIONS),
        ]
        return Loopback(
            Starlette(
                routes=routes, exception_handlers={404: _not_found, 405: _not_found, ApiError: _api_error, Exception: _api_error}
            )
        )

    def _call(self, request: Request) -> Call:
        return Call(self._service, wire.base_of(request))

    def _authorized(self, request: Request) -> bool:
        return wire.username(self._service.record, request.headers.get("authorization")) is not None

    def _authorize(self, request: Request) -> None:
        if not self._authorized(request):
            raise ApiError(401, "Unauthenticated")

    async def rpc(self, request: Request) -> Response:
        """One call of the API."""
        service, method = request.path_params["service"], request.path_params["method"]
        if method not in OPEN:
            self._authorize(request)
        if method not in SERVICES.get(service, {}):
            raise ApiError(404, f"The stand-in does not have {service}/{method}")
        kind, handler = SERVICES[service][method]
        known = self._authorized(request)
        request = wire.bounded(request, wire.MAX_BODY if known else wire.MAX_OPEN_BODY)
        message = await wire.read_message(request, kind)

        async def work(_: Request) -> Response:
            return wire.reply(await run_in_threadpool(handler, self._call(request), message))

        # Faults are for whom they were asked for: a stranger's request does not use them up.
        if known or account.introspect(self._call(request), message).active:
            return await self._answer(method, request, work)
        return await work(request)

    async def upload(self, request: Request) -> Response:
        """The bytes of a blob."""
        await run_in_threadpool(self._uploads.find, request.path_params["upload"])
        return await self._answer("upload", request, self._uploads.put)

    async def storage(self, request: Request) -> Response:
        """A signed download; resumable."""
        path = storage.locate(self._service, request.path_params["signature"], request.path_params["text"])

        async def work(_: Request) -> Response:
            return FileResponse(path, media_type="application/octet-stream")

        return await self._answer("download", request, work)

    async def _answer(self, target: str, request: Request, work: strike.Work) -> Response:
        fault = await run_in_threadpool(faults.take, self._service.store, target)
        return await strike.answer(fault, request, work)

    async def logs(self, request: Request) -> Response:
        """The log of a run: a stream of events while it goes on, the whole log afterwards."""
        self._authorize(request)
        return await self._answer("logs", request, self._logs)

    async def _logs(self, request: Request) -> Response:
        call = self._call(request)
        owner, slug = request.path_params["owner"], request.path_params["slug"]
        kernel, version = kernels.find(call, owner, slug, request.query_params.get("versionLabel"))
        folder = call.home.kernel(kernel["folder"], version["number"])
        if version["status"] not in kernels.ACTIVE:
            return Response(kernels.log_text(folder), media_type="application/json")

        def active() -> bool:
            sql = "SELECT status FROM kernel_versions WHERE kernel = ? AND number = ?"
            row = call.store.one(sql, kernel["id"], version["number"])
            return row is not None and row["status"] in kernels.ACTIVE

        return StreamingResponse(_follow(folder, active), media_type="text/event-stream")

    async def health(self, _: Request) -> Response:
        """Which server this is."""
        return PlainTextResponse(self._service.record.instance)


async def _follow(folder: Path, active: Callable[[], bool]) -> AsyncIterator[str]:
    """Events of a running log, until the run has ended."""
    sent = 0
    while True:
        going = await run_in_threadpool(active)
        entries: list[Any] = json.loads(kernels.log_text(folder) or "[]")
        for entry in entries[sent:]:
            yield f"data: {json.dumps(entry)}\n\n"
        sent = max(sent, len(entries))
        if not going:
            yield END_OF_LOG
            return
        await asyncio.sleep(LOG_POLL_S)


async def _not_found(request: Request, _: Exception) -> Response:
    return failure(404, f"There is nothing at {request.method} {request.url.path}")


async def _api_error(_: Request, error: Exception) -> Response:
    known = error if isinstance(error, ApiError) else ApiError(500, "Internal error")
    headers = {"WWW-Authenticate": "Basic"} if known.code == 401 else {}
    return failure(known.code, known.message, headers)


def serve(home: Home, listener: socket.socket) -> None:
    """Serve until told to stop. Raises WaitError when another server holds the same folder."""
    # The lock tells a server that hangs from one that is gone: two must never work on the same state.
    with process.locked(home, "server.lock", wait_s=5.0):
        _serve(home, listener)


def _serve(home: Home, listener: socket.socket) -> None:
    previous = read_record(home) or new_record()
    record = dataclasses.replace(previous, pid=os.getpid(), port=listener.getsockname()[1], instance=secrets.token_hex(8))
    store = Store(home.database)
    runners: list[Runner] = []
    service = Service(
        home=home,
        store=store,
        record=record,
        wake=lambda: runners[0].wake(),  # noqa: PLW0108 - the runner is made below, with this service
        cancel=lambda kernel, version: runners[0].cancel(kernel, version),  # noqa: PLW0108
    )
    runners.append(Runner(service))
    shutil.rmtree(home.incoming, ignore_errors=True)
    uploads.sweep(store, home, service.now())
    storage.sweep(home, service.now())
    home.client_config.mkdir(parents=True, exist_ok=True)
    config = uvicorn.Config(
        Site(service).app(),
        http=strike.Connection,  # h11 keeps absolute-form targets as they came
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    for kind in (signal.SIGTERM, signal.SIGINT):
        signal.signal(kind, lambda *_: None)  # uvicorn stops at them, then raises them again: that must not cut off what follows
    write_record(home, record)
    runners[0].start()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        runners[0].stop()
        latest = read_record(home)
        if latest is not None and latest.instance == record.instance:
            write_record(home, dataclasses.replace(latest, pid=0))


def main() -> None:
    """The command line; started by `control.up`."""
    parser = argparse.ArgumentParser(description="the stand-in's server process")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(Home(options.home), socket.socket(fileno=options.socket))
    except KkbError as error:
        log.error("%s", error)  # noqa: TRY400 - a message for people; `control.up` shows the end of this log


if __name__ == "__main__":
    main()
