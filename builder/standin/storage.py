"""Bytes out: download addresses that need no credentials but cannot be guessed, archives, pages of a list.

An address carries the path below the stand-in's home and a signature, so that it survives a restart.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import json
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from builder import workspace
from builder.standin.home import Home, files_below
from builder.standin.wire import ApiError, Call, Service

VALID_S = 24 * 3600
EPOCH = (2026, 1, 1, 0, 0, 0)
MAX_PAGE = 200
Item = TypeVar("Item")


def address(call: Call, path: Path, name: str | None = None) -> str:
    """The address of a file below the home; its last part is the file's name, which clients save it under."""
    payload = {"p": path.relative_to(call.home.root).as_posix(), "e": int(call.service.now()) + VALID_S}
    text = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"{call.base}/storage/{_sign(call.service, text)}/{text}/{quote(name or path.name)}"


def locate(service: Service, signature: str, text: str) -> Path:
    """The file that an address names. Raises ApiError 403 when it is not one of ours, 404 when the file is gone."""
    if not hmac.compare_digest(signature.encode(), _sign(service, text).encode()):
        raise ApiError(403, "The download address is not valid")
    try:
        payload = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        raise ApiError(403, "The download address is not valid") from None
    if payload["e"] < service.now():
        raise ApiError(403, "The download address has expired")
    path: Path = service.home.root / payload["p"]
    if not path.is_file():
        raise ApiError(404, "The file is gone")
    return path


def _sign(service: Service, text: str) -> str:
    return hmac.new(service.record.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def sweep(home: Home, now: float) -> None:
    """Remove archives whose addresses have expired."""
    if home.downloads.is_dir():
        for path in home.downloads.iterdir():
            if path.stat().st_mtime < now - VALID_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def archive(call: Call, folder: Path, key: str) -> Path:
    """The zip of a folder, made once per `key`: same content, same bytes. Stored, not compressed: weights don't get smaller."""
    path = call.home.downloads / f"{key}.zip"
    if path.is_file():
        return path
    with workspace.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as target:
        for relative in files_below(folder):
            entry = zipfile.ZipInfo(relative.as_posix(), EPOCH)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with (folder / relative).open("rb") as source, target.open(entry, "w", force_zip64=True) as sink:
                while chunk := source.read(workspace.CHUNK):
                    sink.write(chunk)
    return path


def tarball(call: Call, folder: Path, key: str) -> Path:
    """The .tar.gz of a folder, made once per `key`: same content, same bytes."""
    path = call.home.downloads / f"{key}.tar.gz"
    if path.is_file():
        return path
    with (
        workspace.replacing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as target,
    ):
        for relative in files_below(folder):
            entry = tarfile.TarInfo(relative.as_posix())
            entry.size, entry.mode = (folder / relative).stat().st_size, 0o644
            with (folder / relative).open("rb") as source:
                target.addfile(entry, source)
    return path


def inside(folder: Path, name: str) -> Path | None:
    """The file `name` of a folder; None when there is none, or when the name or a link leads outside."""
    path = folder / name
    if not name or "\0" in name or not path.is_file() or path.is_symlink():
        return None
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def page(items: Sequence[Item], size: int | None, token: str | None, *, default: int = 20) -> tuple[list[Item], str]:
    """One page of a list and the token of the next one; an empty token at the end."""
    count = min(size or default, MAX_PAGE)
    try:
        start = int(base64.urlsafe_b64decode(token).decode()) if token else 0
    except (ValueError, binascii.Error):
        raise ApiError(400, "The page token is not valid") from None
    end = start + count
    following = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(items) else ""
    return list(items[start:end]), following
