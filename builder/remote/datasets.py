"""Datasets: there is one for each content, it never changes, and it is ready before anything uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError, RemoteError, UserError, WaitError
from builder.remote import staging
from builder.remote.account import username
from builder.remote.answers import TRY_AGAIN, RefusedError, UnavailableError
from builder.remote.progress import Meter, Progress
from builder.remote.retry import Polling
from builder.remote.staging import Bundle

if TYPE_CHECKING:
    from builder.remote.client import Client

READY, FAILED, DELETED = "READY", "FAILED", "DELETED"
SILENCE_S = 180.0
ATTEMPTS = 4
MOST_PAGES = 200
# A fresh dataset can be ready before its file list is.
SETTLE_S = 60.0


@dataclass(frozen=True)
class Uploaded:
    """A dataset that is ready and holds what its folder holds.

    Attributes:
        slug: `owner/slug`.
        uploaded_bytes: Bytes that went over the network; 0 when it was there already.
        seconds: How long it took, waiting included.
        created: Whether this call made it.
    """

    slug: str
    uploaded_bytes: int
    seconds: float
    created: bool

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def status(client: Client, owner: str, slug: str) -> str | None:
    """`READY`, `FAILED`, `DELETED` or a stage of Kaggle's processing; None when there is none, or we may not see it."""
    try:
        return str(client.call("dataset_status", dataset=f"{owner}/{slug}"))
    except RefusedError as error:
        if error.absent:
            return None
        raise


def files(client: Client, owner: str, slug: str) -> dict[str, int]:
    """Name -> bytes of the newest version."""
    found = client.pages("dataset_files", "datasetFiles", dataset=f"{owner}/{slug}")
    return {file["name"]: int(file.get("totalBytes") or 0) for file in found}


def stored(client: Client) -> int:
    """Bytes of all our datasets."""
    sizes: dict[str, int] = {}
    for number in range(1, MOST_PAGES + 1):
        page = client.call("datasets_mine", page=number)
        new = {one["ref"]: int(one.get("totalBytes") or 0) for one in page if one["ref"] not in sizes}
        sizes.update(new)
        if not new:
            break
    return sum(sizes.values())


def ensure(
    client: Client,
    folder: Path,
    *,
    on_progress: Progress | None = None,
    ready_s: float = 1800.0,
    polling: Polling | None = None,
) -> Uploaded:
    """Make sure that the dataset of `folder` exists, is ready, and holds exactly the folder's files.

    Nothing is uploaded when it exists. An upload that was interrupted continues. The folder must agree with its manifest.

    Raises:
        UserError: The folder is wrong, or belongs to somebody else.
        GateError: The slug is taken by other content.
        RemoteError: Kaggle could not process it, or holds something else than was sent.
        WaitError: It was not ready after `ready_s` seconds.
    """
    start = client.clock()
    bundle = staging.read(folder)
    state = status(client, bundle.owner, bundle.slug)
    sent, created = 0, False
    if state in (None, DELETED):
        _check_owner(client, bundle)
        staging.check_content(bundle)
        sent = _create(client, bundle, on_progress)
        created = True
    _wait(client, bundle, ready_s, polling or Polling(), on_progress)
    _compare(client, bundle, created=created)
    return Uploaded(bundle.name, sent, client.clock() - start, created)


def _check_owner(client: Client, bundle: Bundle) -> None:
    me = username(client)
    if bundle.owner != me:
        raise UserError(
            "the dataset belongs to somebody else",
            file=bundle.folder / staging.METADATA,
            found=bundle.owner,
            expected=me,
            remedy="run `kkb bundle` again with these credentials, or use the owner's",
        )


def _create(client: Client, bundle: Bundle, on_progress: Progress | None) -> int:
    """Upload and create; the bytes sent. What an interruption leaves is continued by the next command."""
    meter = Meter(client, on_progress, bundle.bytes, bundle.name)
    with staging.stage(bundle, client.destination) as staged:
        try:
            _create_from(client, bundle, staged, meter)
        except RefusedError:
            staging.clear(staged)
            raise
        staging.clear(staged)
    return meter.bytes


def _create_from(client: Client, bundle: Bundle, staged: Path, meter: Meter) -> None:
    """A lost answer is read back before the next try, which continues the upload."""
    failures = 0
    while True:
        meter.next_call()
        try:
            answer = client.call(
                "dataset_create",
                timeout_s=SILENCE_S,
                on_bytes=meter,
                folder=str(staged / "files"),
                state=str(staged / "state"),
                names=sorted(bundle.files),
                public=bundle.public,
            )
        except UnavailableError as error:
            failures += 1
            if failures >= ATTEMPTS:
                raise
            client.pause(failures, error)
            answer = {}
        if _accepted(answer) or _there(client, bundle):
            return
        if answer:
            raise RemoteError(
                f"Kaggle did not create dataset '{bundle.name}'",
                found=answer.get("error") or f"status '{answer.get('status')}'",
                remedy="change what the message names; a slug of a deleted dataset may stay taken for a while",
            )


def _accepted(answer: dict[str, Any]) -> bool:
    return str(answer.get("status", "")).lower() == "ok" and not answer.get("error")


def _there(client: Client, bundle: Bundle) -> bool:
    return status(client, bundle.owner, bundle.slug) not in (None, DELETED)


def _wait(client: Client, bundle: Bundle, ready_s: float, polling: Polling, on_progress: Progress | None) -> None:
    start = client.clock()
    while True:
        state = status(client, bundle.owner, bundle.slug)
        waited = client.clock() - start
        if state == READY:
            return
        if state == FAILED:
            raise RemoteError(
                f"Kaggle could not process dataset '{bundle.name}'",
                found=state,
                remedy=f"delete it (`kaggle datasets delete {bundle.name}`) and run the same command again",
            )
        if waited >= ready_s:
            raise WaitError(
                f"dataset '{bundle.name}' is not ready",
                found=f"{state or 'no such dataset'} after {waited:.0f} s",
                expected=READY,
                remedy=TRY_AGAIN,
            )
        if on_progress:
            on_progress(waited, ready_s, f"{bundle.name}: {(state or 'not there yet').lower()}")
        client.sleep(polling.interval(waited, ready_s - waited))


def _compare(client: Client, bundle: Bundle, *, created: bool) -> None:
    """Raise when the dataset does not hold the folder's files."""
    patience = SETTLE_S if created else 0.0
    found = _until(client, patience, lambda: staging.difference(files(client, bundle.owner, bundle.slug), bundle.files))
    if not found:
        return
    if created:
        raise RemoteError(
            f"dataset '{bundle.name}' does not hold what was sent",
            found=found,
            expected="the files of manifest.json, by name and size",
            remedy=f"delete it (`kaggle datasets delete {bundle.name}`) and run the same command again",
        )
    raise GateError(
        f"the name '{bundle.name}' is taken by other content",
        found=found,
        expected="the files of manifest.json, by name and size",
        remedy="run `kkb bundle` again; it takes another name when this one is taken",
    )


def _until(client: Client, patience_s: float, look: Callable[[], str]) -> str:
    """The first empty answer of `look`, or its last one when patience runs out."""
    start = client.clock()
    while True:
        found = look()
        left = patience_s - (client.clock() - start)
        if not found or left <= 0:
            return found
        client.sleep(min(5.0, left))
