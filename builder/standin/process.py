"""The server as a process: one starter at a time, a listening socket handed over, waiting until it answers or has gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import RemoteError, UserError, WaitError
from builder.standin.home import Home, Record, make_private, read_record

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.05
PROXIES = ("HTTP_PROXY", "http_proxy")
NO_PROXIES = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class Running:
    """A server that answers; `pages` is the address for people."""

    pid: int
    port: int
    url: str
    pages: str
    username: str
    token: str = field(repr=False)
    home: Path


@contextlib.contextmanager
def locked(place: Home, name: str = "lock", wait_s: float = START_S + STOP_S) -> Iterator[None]:
    """One process at a time behind the lock of that name; it goes with its process. Raises WaitError when it stays taken.

    Every caller works on what is private, so the folder is made so here.
    """
    make_private(place)
    with (place.root / name).open("w") as stream:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WaitError("another kkb process holds the stand-in's lock", file=place.root / name) from None
                time.sleep(POLL_S)
        yield


def listen(port: int | None, last: int) -> socket.socket:
    """A listening socket. Raises UserError when the asked port is taken."""
    reason = ""
    for candidate in [port] if port is not None else [last, 0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(128)
            return listener
        except (OSError, OverflowError) as error:
            listener.close()
            reason = str(error)
    raise UserError(
        f"port {port} cannot be used", found=reason, expected="a free port on 127.0.0.1", remedy="choose another --port, or none"
    )


def spawn(place: Home, listener: socket.socket) -> subprocess.Popen[bytes]:
    """The detached server process. Its environment has no credentials and no proxies of the caller."""
    dropped = {*PROXIES, *NO_PROXIES, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_") and name not in dropped}
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *([kept["PYTHONPATH"]] if kept.get("PYTHONPATH") else [])])
    # The log holds one server's life: what an earlier one wrote does not explain this one.
    with place.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "builder.standin.server", "--home", str(place.root), "--socket", str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.root,
            env={**kept, "PYTHONPATH": path},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def wait_until_up(place: Home, process: subprocess.Popen[bytes]) -> Running:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        record = read_record(place)
        if record is not None and record.pid == process.pid and health(record) == record.instance:
            return describe(place, record)
        if process.poll() is not None:
            tail = place.log.read_text("utf-8", errors="replace")[-2000:].strip()
            raise RemoteError(
                "the stand-in ended while starting", found=tail or f"exit code {process.returncode}", file=place.log
            )
        time.sleep(POLL_S)
    process.kill()
    raise WaitError("the stand-in does not answer", found=f"nothing within {START_S:.0f} s", file=place.log)


def describe(place: Home, record: Record) -> Running:
    return Running(
        pid=record.pid,
        port=record.port,
        url=record.url,
        pages=record.pages,
        username=record.username,
        token=record.token,
        home=place.root,
    )


def health(record: Record) -> str:
    """The instance that answers on the record's port; empty when nobody does."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", record.port, timeout=5.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().read(100).decode("latin-1")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def gone(pid: int) -> bool:
    """Wait until a process has ended; False when it has not within the limit."""
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # when we are its parent, it stays a zombie until somebody asks
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(POLL_S)
    return False
