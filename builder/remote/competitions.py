"""Competitions: what they are, their data, and how many submissions are left."""

from __future__ import annotations

import datetime as dt
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import CredentialError, KkbError, RemoteError, UserError
from builder.remote.answers import TRY_AGAIN, RefusedError
from builder.remote.archives import unpack
from builder.remote.progress import Meter, Progress
from builder.workspace import read_json, replacing_folder, write_json

if TYPE_CHECKING:
    from builder.remote.client import Client

SITE = "https://www.kaggle.com"
SILENCE_S = 300.0


@dataclass(frozen=True)
class RemoteFile:
    """One file as the server lists it. Its size is in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Fetched:
    """The data of a competition in a folder.

    Attributes:
        competition: Its slug.
        folder: Where the files are.
        files: Their names relative to it, sorted.
        downloaded_bytes: Bytes that went over the network; 0 when nothing had changed.
        changed: False when an earlier fetch was still up to date.
    """

    competition: str
    folder: Path
    files: tuple[str, ...]
    downloaded_bytes: int
    changed: bool

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "folder": str(self.folder), "files": list(self.files)}


@dataclass(frozen=True)
class Limits:
    """Submissions of our team.

    Attributes:
        today: Made today.
        total: Made ever.
        left: Allowed now.
        limited_by_total: Whether the limit is on the whole competition, so that tomorrow brings none.
    """

    today: int
    total: int
    left: int
    limited_by_total: bool

    @property
    def entered(self) -> bool:
        """False when the server counts nothing at all: it answers that to those who have not joined."""
        return bool(self.today or self.total or self.left)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Competition:
    """What the API tells about a competition. It does not tell the time limit of a kernel.

    Attributes:
        slug: Its name.
        title: Its title.
        metric: Its evaluation metric in Kaggle's words; empty when not told.
        deadline: Naive UTC in ISO form; None when not told.
        daily: Submissions a day.
        kernels_only: Whether it takes notebooks only.
        entered: Whether we have joined.
        closed: Whether it takes no submissions.
    """

    slug: str
    title: str
    metric: str
    deadline: str | None
    daily: int
    kernels_only: bool
    entered: bool
    closed: bool

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def describe(client: Client, slug: str) -> Competition:
    """What the API tells about competition `slug`."""
    try:
        answer = client.call("competition", slug=slug)
    except RefusedError as error:
        if error.status == 403:
            raise refused(slug, error) from None
        answer = _searched(client, slug)
    return Competition(
        slug=slug,
        title=answer.get("title") or slug,
        metric=answer.get("evaluationMetric") or "",
        deadline=answer.get("deadline"),
        daily=answer.get("maxDailySubmissions") or 0,
        kernels_only=bool(answer.get("isKernelsSubmissionsOnly")),
        entered=bool(answer.get("userHasEntered")),
        closed=bool(answer.get("submissionsDisabled")),
    )


def over(client: Client, slug: str, now: dt.datetime | None = None) -> bool:
    """Whether competition `slug` has closed, at `now` (naive UTC; default: the time). False when Kaggle tells no deadline."""
    deadline = describe(client, slug).deadline
    if not deadline:
        return False
    ends = dt.datetime.fromisoformat(deadline)
    ends = ends.astimezone(dt.UTC).replace(tzinfo=None) if ends.tzinfo else ends
    return ends < (now or dt.datetime.now(dt.UTC).replace(tzinfo=None))


def _searched(client: Client, slug: str) -> dict[str, Any]:
    """The same from the list of competitions, whose refs are addresses; what its data let us conclude when it is not listed."""
    try:
        found = client.call("competition_search", slug=slug)
    except RefusedError:
        found = []
    for one in found:
        if str(one.get("ref") or "").rstrip("/").rpartition("/")[2] == slug:
            return dict(one)
    check_access(client, slug)
    return {"userHasEntered": True}


def files(client: Client, slug: str) -> list[RemoteFile]:
    """The data files of competition `slug`, sorted by name. Raises CredentialError when its rules are not accepted."""
    try:
        found = list(client.pages("competition_files", "files", slug=slug))
    except RefusedError as error:
        raise refused(slug, error) from None
    return sorted((RemoteFile(file["name"], int(file.get("totalBytes") or 0)) for file in found), key=lambda file: file.name)


def check_access(client: Client, slug: str) -> None:
    """Raise CredentialError when the data of competition `slug` are closed to us, UserError when there is none. One request."""
    try:
        client.call("competition_files", slug=slug, page_token=None)
    except RefusedError as error:
        raise refused(slug, error) from None


def limits(client: Client, slug: str) -> Limits:
    """How many submissions are left for competition `slug`."""
    try:
        answer = client.call("limits", slug=slug)
    except RefusedError as error:
        raise refused(slug, error) from None
    return Limits(
        int(answer.get("numToday") or 0),
        int(answer.get("numTotal") or 0),
        int(answer.get("numAllowedNow") or 0),
        bool(answer.get("limitedByTotal")),
    )


def fetch(client: Client, slug: str, into: Path, *, on_progress: Progress | None = None) -> Fetched:
    """Bring the data of competition `slug` into the folder `into`, whole or not at all.

    Nothing is downloaded when the server's file list and the folder are those of the last fetch; a record beside `into` says so.
    """
    listed = [asdict(file) for file in files(client, slug)]
    note = into.with_name(f"{into.name}.fetched.json")
    if note.is_file():
        before = read_json(note, remedy=f"delete {note}")
        if before.get("remote") == listed and into.is_dir() and before.get("local") == _local(into):
            return Fetched(slug, into, tuple(before["local"]), 0, changed=False)
    into.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    meter = Meter(client, on_progress, None, f"data of {slug}")
    with replacing_folder(into) as folder:
        _download(client, slug, folder, meter)
    local = _local(into)
    write_json(note, {"competition": slug, "remote": listed, "local": local})
    return Fetched(slug, into, tuple(local), meter.bytes, changed=True)


def _download(client: Client, slug: str, folder: Path, meter: Meter) -> None:
    """Download and unpack into `folder`, which ends up holding the data and nothing else."""
    archives = folder / ".download"
    archives.mkdir()
    try:
        paths = client.call(
            "competition_download", slug=slug, folder=str(archives.resolve()), timeout_s=SILENCE_S, on_bytes=meter
        )
    except RefusedError as error:
        raise refused(slug, error) from None
    if len(paths) != 1 or not zipfile.is_zipfile(paths[0]):
        raise RemoteError("the download of the data is no archive", found=paths, expected="one zip", remedy=TRY_AGAIN)
    unpack(Path(paths[0]), folder)
    shutil.rmtree(archives)


def _local(folder: Path) -> dict[str, int]:
    """Files below `folder` with their sizes, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return dict(sorted((path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths))


def refused(slug: str, error: RefusedError) -> KkbError:
    """403 nearly always means that the rules were not accepted; 404 that there is no such competition."""
    if error.status == 403:
        return CredentialError(
            f"Kaggle does not let you into competition '{slug}'",
            found=error.found,
            expected="an account that has accepted the rules",
            remedy=f"accept the rules at {SITE}/competitions/{slug}/rules with this account, and check the slug",
        )
    if error.status == 404:
        return UserError(
            f"there is no competition '{slug}'",
            found=error.found,
            remedy=f"take the slug from its address, {SITE}/competitions/<slug>; on a stand-in: `kkb standin add-competition`",
        )
    return error
