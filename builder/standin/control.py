"""What the rest of kkb calls: start and stop the stand-in, the environment for the official client, its state, its competitions.

Every function takes the stand-in's folder (`.kkb/standin`) and works whether the server is up or down, except where said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import RemoteError, UserError, WaitError
from builder.standin import enrol, faults
from builder.standin.home import Home, Record, Settings, new_record, read_record, read_settings, write_record, write_settings
from builder.standin.store import Store

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.05
PROXIES = ("HTTP_PROXY", "http_proxy")
NO_PROXIES = ("NO_PROXY", "no_proxy")


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    pid: int
    port: int
    url: str
    username: str
    token: str = field(repr=False)
    home: Path


def up(home: Path, port: int | None = None) -> Running:
    """Start a detached server and wait until it answers; does nothing when one already runs.

    Args:
        home: The stand-in's folder; made when it is missing.
        port: A port on 127.0.0.1; None for the one used last time, or a free one.

    Raises:
        UserError: The port is taken, or the running server has another one.
        RemoteError: The server ended while starting; its log says why.
        WaitError: It does not answer in time.
    """
    place = Home(home.resolve())
    place.root.mkdir(parents=True, exist_ok=True)
    read_settings(place)  # a mistake in the settings is the user's to mend, before anything starts
    with _locked(place):
        present = running(home)
        if present is not None:
            if port not in (None, present.port):
                remedy = "stop it first: kkb standin down"
                raise UserError("the stand-in already runs on another port", found=present.port, expected=port, remedy=remedy)
            return present
        record = read_record(place)
        if record is None:
            record = new_record()
            write_record(place, record)
        with contextlib.closing(_listen(port, record.port)) as listener:
            process = _spawn(place, listener)
        return _await(place, process)


def down(home: Path) -> bool:
    """Stop the server and its runs, which go on when it is started again. False when none runs."""
    place = Home(home.resolve())
    if not place.root.is_dir():
        return False
    with _locked(place):
        present = running(home)
        if present is None:
            return False
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(present.pid, kind)
            if _gone(present.pid):
                break
        record = read_record(place)
        if record is not None and record.pid == present.pid:
            write_record(place, dataclasses.replace(record, pid=0))
        return True


def running(home: Path) -> Running | None:
    """The server that runs for this folder, or None. A stale record, or another program on its port, counts as none."""
    place = Home(home.resolve())
    record = read_record(place)
    if record is None or not record.pid or _health(record) != record.instance:
        return None
    return _running(place, record)


def environment(home: Path) -> dict[str, str]:
    """The variables with which the official client talks to this stand-in and to nothing else.

    Raises UserError when it does not run.
    """
    present = running(home)
    record = read_record(Home(home.resolve()))
    if present is None or record is None:
        raise UserError("the stand-in does not run", found=home, expected="a running server", remedy="kkb standin up")
    proxy = f"http://127.0.0.1:{present.port}"
    return {
        # The client knows no URL setting. This makes it call http://localhost, and the proxy takes that to our port.
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        **dict.fromkeys(PROXIES, proxy),
        **dict.fromkeys(NO_PROXIES, ""),  # a `localhost` in the caller's list would go past the proxy
        "KAGGLE_USERNAME": record.username,
        "KAGGLE_KEY": record.key,
        # The client tries a token before the key: the caller's own KAGGLE_API_TOKEN, or the file ~/.kaggle/access_token. One that
        # this server refuses is not dropped but sent again with every request and makes the valid key fail. An empty value would
        # let the file through, so our own token takes its place; the client checks it with one request.
        "KAGGLE_API_TOKEN": record.token,
        "KAGGLE_CONFIG_DIR": str(Home(home.resolve()).client_config),
    }


def status(home: Path) -> dict[str, Any]:
    """Whether it runs, and what it holds, by state."""
    place = Home(home.resolve())
    present = running(home)
    server = (
        None if present is None else {"pid": present.pid, "port": present.port, "url": present.url, "username": present.username}
    )
    if not place.database.is_file():
        return {
            "running": present is not None,
            "server": server,
            "competitions": [],
            "datasets": 0,
            "kernels": {},
            "submissions": {},
        }
    store = Store(place.database)
    counted = "SELECT status, count(*) AS n FROM {} GROUP BY status ORDER BY status"
    total = store.one("SELECT count(*) AS n FROM datasets")
    contests = store.all("SELECT slug, title, metric, limit_s, daily, machine, submission_file FROM competitions ORDER BY slug")
    return {
        "running": present is not None,
        "server": server,
        "competitions": [dict(row) for row in contests],
        "datasets": total["n"] if total else 0,
        "kernels": {row["status"]: row["n"] for row in store.all(counted.format("kernel_versions"))},
        "submissions": {row["status"]: row["n"] for row in store.all(counted.format("submissions"))},
        "settings": dataclasses.asdict(read_settings(place)),
        "faults": faults.waiting(store),
    }


def add_competition(  # noqa: PLR0913 - a competition has that many facts, all but the first by name
    home: Path,
    slug: str,
    *,
    data: Path,
    hidden: Path,
    metric: str,
    limit_s: float = 9 * 3600,
    daily: int = 5,
    title: str | None = None,
    machine: str = "cpu",
    submission_file: str = "submission.csv",
) -> dict[str, Any]:
    """Add a competition from two zips or folders, or replace its data; see `enrol`.

    Raises UserError on anything that does not fit.
    """
    place = Home(home.resolve())
    competition = enrol.Competition(
        slug, title or slug.replace("-", " ").title(), metric, float(limit_s), daily, machine, submission_file
    )
    with _locked(place, "competitions.lock"):
        return enrol.add(place, Store(place.database), competition, data, hidden)


def configure(home: Path, **changes: Any) -> Settings:
    """Change settings (see `home.Settings`); most take effect at once, `runners` at the next start."""
    return write_settings(Home(home.resolve()), changes)


def set_fault(home: Path, target: str, kind: str, *, times: int = 1, skip: int = 0, **options: Any) -> int:
    """Ask for a fault (see `faults`); returns its number."""
    return faults.add(Store(Home(home.resolve()).database), target, kind, times=times, skip=skip, **options)


def clear_faults(home: Path) -> int:
    """Forget all faults that wait; returns how many."""
    return faults.clear(Store(Home(home.resolve()).database))


@contextlib.contextmanager
def _locked(place: Home, name: str = "lock") -> Iterator[None]:
    """One starter or stopper at a time; the lock goes with its process."""
    place.root.mkdir(parents=True, exist_ok=True)
    with (place.root / name).open("w") as stream:
        deadline = time.monotonic() + START_S + STOP_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WaitError("another kkb process holds the stand-in's lock", file=place.root / name) from None
                time.sleep(POLL_S)
        yield


def _listen(port: int | None, last: int) -> socket.socket:
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


def _spawn(place: Home, listener: socket.socket) -> subprocess.Popen[bytes]:
    """The detached server process. Its environment has no credentials and no proxies of the caller."""
    dropped = {*PROXIES, *NO_PROXIES, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}
    kept: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith("KAGGLE_") and name not in dropped
    }
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


def _await(place: Home, process: subprocess.Popen[bytes]) -> Running:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        record = read_record(place)
        if record is not None and record.pid == process.pid and _health(record) == record.instance:
            return _running(place, record)
        if process.poll() is not None:
            tail = place.log.read_text("utf-8", errors="replace")[-2000:].strip()
            raise RemoteError(
                "the stand-in ended while starting", found=tail or f"exit code {process.returncode}", file=place.log
            )
        time.sleep(POLL_S)
    process.kill()
    raise WaitError("the stand-in does not answer", found=f"nothing within {START_S:.0f} s", file=place.log)


def _running(place: Home, record: Record) -> Running:
    return Running(
        pid=record.pid, port=record.port, url=record.url, username=record.username, token=record.token, home=place.root
    )


def _health(record: Record) -> str:
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


def _gone(pid: int) -> bool:
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
