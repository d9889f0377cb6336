"""What the rest of kkb calls: start and stop the stand-in, the environment for the official client, its state, its competitions.

Every function takes the stand-in's folder (`.kkb/standin`) and works whether the server is up or down, except where said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

from builder import workspace
from builder.errors import UserError, nearest
from builder.standin import enrol, faults, process
from builder.standin.home import (
    Home,
    Settings,
    make_private,
    new_record,
    read_record,
    read_settings,
    write_record,
    write_settings,
)
from builder.standin.process import Running
from builder.standin.store import Store


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
    make_private(place)
    read_settings(place)  # a mistake in these two is the user's to mend, before anything starts
    Store(place.database)
    with process.locked(place):
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
        with contextlib.closing(process.listen(port, record.port)) as listener:
            server = process.spawn(place, listener)
        return process.wait_until_up(place, server)


def down(home: Path) -> bool:
    """Stop the server and its runs, which go on when it is started again. False when none runs."""
    place = Home(home.resolve())
    if not place.root.is_dir():
        return False
    with process.locked(place):
        present = running(home)
        if present is None:
            return False
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(present.pid, kind)
            if process.gone(present.pid):
                break
        record = read_record(place)
        if record is not None and record.pid == present.pid:
            write_record(place, dataclasses.replace(record, pid=0))
        return True


def running(home: Path) -> Running | None:
    """The server that runs for this folder, or None. A stale record, or another program on its port, counts as none."""
    place = Home(home.resolve())
    record = read_record(place)
    if record is None or not record.pid or process.health(record) != record.instance:
        return None
    return process.describe(place, record)


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
        **dict.fromkeys(process.PROXIES, proxy),
        **dict.fromkeys(process.NO_PROXIES, ""),  # a `localhost` in the caller's list would go past the proxy
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
    server = None if present is None else {name: getattr(present, name) for name in ("pid", "port", "url", "pages", "username")}
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
    contests = store.all(
        "SELECT slug, title, metric, limit_s, daily, machine, submission_file, kind FROM competitions ORDER BY slug"
    )
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
    kind: str = "notebook",
) -> dict[str, Any]:
    """Add a competition from two zips or folders, or replace its data; see `enrol`.

    Raises UserError on anything that does not fit.
    """
    place = Home(home.resolve())
    competition = enrol.Competition(
        slug, title or slug.replace("-", " ").title(), metric, float(limit_s), daily, machine, submission_file, kind
    )
    with process.locked(place, "competitions.lock"):
        return enrol.add(place, Store(place.database), competition, data, hidden, serving=running(home) is not None)


def configure(home: Path, **changes: Any) -> Settings:
    """Change settings (see `home.Settings`); most take effect at once, `runners` at the next start."""
    return write_settings(Home(home.resolve()), changes)


def set_fault(home: Path, target: str, kind: str, *, times: int = 1, skip: int = 0, **options: Any) -> int:
    """Ask for a fault (see `faults`); returns its number. Raises UserError when there is no such target or kind."""
    from builder.standin.services import targets

    known = [*targets(), *faults.FATES]
    if target not in known:
        match = nearest(target, known)
        raise UserError(
            f"nothing is called '{target}'",
            expected="a method of the API (such as SaveKernel), upload, download, logs, * for all of these, or what is to end"
            f" badly: {', '.join(faults.FATES)}",
            remedy=f"did you mean '{match}'?" if match else "kkb standin fault --help",
        )
    return faults.add(Store(Home(home.resolve()).database), target, kind, times=times, skip=skip, **options)


def load_faults(home: Path, file: Path) -> list[int]:
    """Ask for every fault of a JSON file, a list of `{"target": ..., "kind": ..., "times": ..., "skip": ..., ...}`."""
    entries = workspace.read_json(file, remedy='write [{"target": "SaveKernel", "kind": "500"}]')
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and {"target", "kind"} <= set(entry) for entry in entries
    ):
        raise UserError("not a list of faults", file=file, expected="objects with at least target and kind")
    return [set_fault(home, **entry) for entry in entries]


def clear_faults(home: Path) -> int:
    """Forget all faults that wait; returns how many."""
    return faults.clear(Store(Home(home.resolve()).database))
