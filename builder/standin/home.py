"""Where the stand-in keeps its things, its settings, and the record of the server that runs.

Everything lies under one folder, so that `rm -r` forgets it and a copy is a backup. A person can read it:
`kernels/<slug>/vN/` holds the notebook, the log, the output and how the run ended.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from builder import workspace
from builder.errors import UserError, did_you_mean

USERNAME = "local"
LAYOUTS = ("typed", "classic")


@dataclass(frozen=True)
class Home:
    """The paths below one stand-in's folder. Nothing is created by asking for a path."""

    root: Path

    @property
    def record(self) -> Path:
        """Port, process and credentials; readable by the owner only."""
        return self.root / "standin.json"

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def database(self) -> Path:
        return self.root / "state.sqlite"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def incoming(self) -> Path:
        """Half-made versions; emptied when the server starts."""
        return self.root / "incoming"

    @property
    def downloads(self) -> Path:
        """Archives made for downloads; may be deleted at any time."""
        return self.root / "downloads"

    @property
    def client_config(self) -> Path:
        """An empty folder for the client's KAGGLE_CONFIG_DIR."""
        return self.root / "client"

    def dataset(self, slug: str, version: int) -> Path:
        return self.root / "datasets" / slug / f"v{version}"

    def model(self, key: str, version: int) -> Path:
        """Folder of a model version; `key` is `<model>/<framework>/<variation>`."""
        return self.root / "models" / key / f"v{version}"

    def kernel(self, slug: str, version: int) -> Path:
        return self.root / "kernels" / slug / f"v{version}"

    def submission(self, ref: int) -> Path:
        return self.root / "submissions" / str(ref)

    def competition(self, slug: str) -> Path:
        return self.root / "competitions" / slug

    def visible(self, slug: str) -> Path:
        """What anybody may download and what a commit run mounts."""
        return self.competition(slug) / "visible"

    def hidden(self, slug: str) -> Path:
        """What a scored rerun mounts; without the solution."""
        return self.competition(slug) / "hidden"

    def solution(self, slug: str) -> Path:
        """Outside of every folder that is mounted, listed or downloaded."""
        return self.competition(slug) / "solution.csv"


@dataclass(frozen=True)
class Settings:
    """What a person may set (`settings.json`); times in seconds.

    Attributes:
        processing_s: How long a new dataset version takes to become ready.
        layout: `typed` (/kaggle/input/datasets/<owner>/<slug>) or `classic` (/kaggle/input/<slug>).
        runners: Kernels that are executed at the same time; the others wait in the queue.
        gpu_sessions, cpu_sessions: Batch sessions that may be queued or running at the same time.
        gpu_hours, tpu_hours: Weekly quota.
    """

    processing_s: float = 1.5
    layout: str = "typed"
    runners: int = 1
    gpu_sessions: int = 2
    cpu_sessions: int = 5
    gpu_hours: float = 30.0
    tpu_hours: float = 20.0


def read_settings(home: Home) -> Settings:
    """The settings in force. Raises UserError on an unknown key or a wrong value."""
    if not home.settings.is_file():
        return Settings()
    raw = workspace.read_json(home.settings, remedy="correct the file or delete it")
    return checked_settings(raw, home.settings)


def checked_settings(raw: Any, file: Path | None = None) -> Settings:
    """Settings of a JSON object. Raises UserError that names the key."""
    known = {entry.name: entry.default for entry in fields(Settings)}
    if not isinstance(raw, dict):
        raise UserError("settings are not an object", file=file, found=type(raw).__name__, expected="a JSON object")
    for name, value in raw.items():
        if name not in known:
            raise UserError(f"unknown setting '{name}'", file=file, remedy=did_you_mean(name, known))
        wanted = known[name]
        fits = value in LAYOUTS if isinstance(wanted, str) else _is_amount(value, whole=isinstance(wanted, int))
        if not fits:
            expected = " or ".join(LAYOUTS) if isinstance(wanted, str) else f"a {type(wanted).__name__} of 0 or more"
            raise UserError(f"wrong value for '{name}'", file=file, found=repr(value), expected=expected)
    return Settings(**raw)


def _is_amount(value: object, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 0 and (isinstance(value, int) or not whole)


def write_settings(home: Home, changes: dict[str, Any]) -> Settings:
    """Change some settings and return all of them."""
    settings = checked_settings({**asdict(read_settings(home)), **changes})
    workspace.write_json(home.settings, asdict(settings))
    return settings


@dataclass(frozen=True)
class Record:
    """The server that runs, or the last one: `standin.json`.

    Attributes:
        pid: Process id; 0 when it was stopped.
        port: Port on 127.0.0.1.
        instance: Random name of one server process, so that a port taken over by something else is noticed.
        username: Owner of everything.
        key: Legacy API key (HTTP Basic).
        token: Access token (Bearer).
        secret: Key that signs download addresses.
    """

    pid: int
    port: int
    instance: str
    username: str
    key: str = field(repr=False)
    token: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ticket(self) -> str:
        """What the pages ask for: a token of their own, with which nobody can call the API."""
        return hmac.new(self.secret.encode(), b"pages", hashlib.sha256).hexdigest()[:32]

    @property
    def pages(self) -> str:
        """The address that opens the pages in a browser."""
        return f"{self.url}/?ticket={self.ticket}"


def make_private(home: Home) -> None:
    """Make the folder, closed to other users: below it lie solutions, private scores and credentials."""
    try:
        home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.root.chmod(0o700)  # one of an earlier version, or made by another function
    except OSError as error:
        raise UserError(
            "the stand-in's folder cannot be made private", file=home.root, found=error, expected="a folder that you own"
        ) from None


def new_record() -> Record:
    """A record with fresh credentials for a server that was never started."""
    key, token, secret = secrets.token_hex(16), f"standin_{secrets.token_hex(24)}", secrets.token_hex(32)
    return Record(pid=0, port=0, instance="", username=USERNAME, key=key, token=token, secret=secret)


def read_record(home: Home) -> Record | None:
    """The record on disk; None when there is none or it cannot be read."""
    try:
        raw = json.loads(home.record.read_text("utf-8"))
        return Record(**raw)
    except (OSError, ValueError, TypeError):
        return None


def write_record(home: Home, record: Record) -> None:
    """Write the record by atomic rename, readable by the owner only."""
    home.root.mkdir(parents=True, exist_ok=True)
    temporary = home.record.with_name(f".standin.json.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(workspace.pretty_json(asdict(record)))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(home.record)


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, as sorted relative paths; links are left out."""
    found: list[str] = []
    folders = [""] if folder.is_dir() else []
    while folders:
        below = folders.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_file(follow_symlinks=False):
                    found.append(name)
    return [Path(name) for name in sorted(found)]
