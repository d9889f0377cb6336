"""Bytes in: blobs with resumable upload, as Kaggle's storage takes them.

`PUT` with the whole body starts over; `PUT` with `Content-Range: bytes */N` asks how much arrived (308 and a Range, or 200);
`PUT` with `Content-Range: bytes a-b/N` goes on. A blob is complete when it has the announced size; half ones stay resumable
after a kill and are dropped after a week.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from kagglesdk.blobs.types.blob_api_service import ApiStartBlobUploadRequest, ApiStartBlobUploadResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from builder.standin.home import Home
from builder.standin.store import Store
from builder.standin.wire import ApiError, Call, Methods, Service, discard

KEEP_S = 7 * 24 * 3600
RANGE = re.compile(r"bytes (?:\*|(\d+)-(\d+))/(\d+)")


def start(call: Call, request: Any) -> ApiStartBlobUploadResponse:
    """Reserve a place for a blob."""
    response = ApiStartBlobUploadResponse()
    response.token, response.create_url = reserve(call, request.name, request.content_length or 0)
    return response


def reserve(call: Call, name: str, size: int) -> tuple[str, str]:
    """A new blob's token and the address to PUT it to."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise ApiError(400, f"'{name}' is not a file name")
    token, upload = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    sql = "INSERT INTO blobs (token, upload, name, size, created) VALUES (?, ?, ?, ?, ?)"
    call.store.run(sql, token, upload, name, size, call.service.now())
    return token, f"{call.base}/upload/{upload}"


def blob_path(home: Home, token: str) -> Path:
    return home.uploads / token


class Uploads:
    """The endpoint that takes the bytes. One event loop; the newest PUT for a blob is the one that writes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turn: dict[str, int] = {}

    def find(self, upload: str) -> sqlite3.Row:
        """The blob of an address, which is the only credential that a PUT has. Raises ApiError 404 when there is none."""
        blob = self._service.store.one("SELECT * FROM blobs WHERE upload = ?", upload)
        if blob is None:
            raise ApiError(404, "The upload has expired")
        return blob

    async def put(self, request: Request) -> Response:
        """Take a body, a part of one, or the question how much has arrived."""
        blob = self.find(request.path_params["upload"])
        path = blob_path(self._service.home, blob["token"])
        begin = self._begin(request.headers.get("content-range"), blob["size"])
        if blob["complete"]:
            await discard(request)  # a repeated PUT after a lost answer: the bytes are here already
            return Response(status_code=200)
        if begin is None or begin > received(path):
            return _incomplete(path)
        await self._receive(request, blob["token"], path, begin, blob["size"])
        if received(path) < blob["size"]:
            return _incomplete(path)
        self._service.store.run("UPDATE blobs SET complete = 1 WHERE token = ?", blob["token"])
        return Response(status_code=200)

    @staticmethod
    def _begin(header: str | None, size: int) -> int | None:
        """Where the body begins; None when the client only asks. Raises ApiError 400 when the header does not fit the upload."""
        if header is None:
            return 0
        match = RANGE.fullmatch(header)
        if match is None or int(match[3]) != size:
            raise ApiError(400, f"Content-Range '{header}' does not fit an upload of {size} bytes")
        return None if match[1] is None else int(match[1])

    async def _receive(self, request: Request, token: str, path: Path, begin: int, size: int) -> None:
        """Write the body from `begin`; what arrives before a broken connection stays.

        Raises ApiError 400 when there is too much.
        """
        turn = self._turn[token] = self._turn.get(token, 0) + 1
        handle = _open(path)
        position = begin
        try:
            os.ftruncate(handle, begin)
            async for chunk in request.stream():
                if self._turn[token] != turn:
                    break  # a newer PUT took over
                if position + len(chunk) > size:
                    os.ftruncate(handle, 0)
                    raise ApiError(400, f"The upload has more than the announced {size} bytes")
                os.pwrite(handle, chunk, position)
                position += len(chunk)
        except ClientDisconnect:
            pass  # the client asks how far it got when it comes back
        finally:
            os.close(handle)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)


def received(path: Path) -> int:
    """Bytes of a blob that are here."""
    return path.stat().st_size if path.exists() else 0


def _incomplete(path: Path) -> Response:
    count = received(path)
    return Response(status_code=308, headers={"Range": f"bytes=0-{count - 1}"} if count else {})


def take(store: Store, home: Home, token: str) -> tuple[str, Path]:
    """Name and path of a complete blob. Raises ApiError 400 when there is none."""
    blob = store.one("SELECT * FROM blobs WHERE token = ?", token)
    if blob is None:
        raise ApiError(400, "A file token is not known: upload the file again")
    if not blob["complete"]:
        raise ApiError(400, f"The upload of '{blob['name']}' is not complete")
    return blob["name"], blob_path(home, token)


def forget(store: Store, home: Home, tokens: list[str]) -> None:
    """Remove blobs that have found their place."""
    for token in tokens:
        store.run("DELETE FROM blobs WHERE token = ?", token)
        blob_path(home, token).unlink(missing_ok=True)


def sweep(store: Store, home: Home, now: float) -> None:
    """Remove blobs that nobody came back for, and files that no row names."""
    store.run("DELETE FROM blobs WHERE created < ?", now - KEEP_S)
    known = {row["token"] for row in store.all("SELECT token FROM blobs")}
    if home.uploads.is_dir():
        for path in home.uploads.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)


METHODS: Methods = {"StartBlobUpload": (ApiStartBlobUploadRequest, start)}
