"""Datasets: there is one for each content, it never changes, and it is ready before anything uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError, RemoteError, WaitError
from builder.remote import depositing, sharing, staging
from builder.remote.account import username
from builder.remote.answers import TRY_AGAIN, RefusedError
from builder.remote.progress import Progress
from builder.remote.retry import Polling
from builder.remote.staging import Bundle

if TYPE_CHECKING:
    from builder.remote.client import Client

READY, FAILED, DELETED = "READY", "FAILED", "DELETED"
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


@dataclass(frozen=True)
class Owned:
    """One dataset of ours, with the bytes of its newest version."""

    slug: str
    title: str
    bytes: int

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def list_own(client: Client) -> list[Owned]:
    """All datasets that we own, newest first; those that others share with us are not among them."""
    me, found = username(client).lower(), dict[str, Owned]()
    for number in range(1, MOST_PAGES + 1):
        page = client.call("datasets_mine", page=number)
        refs = {one["ref"]: one for one in page if one["ref"] not in found}
        found |= {
            ref: Owned(ref.rpartition("/")[2], one.get("title") or "", int(one.get("totalBytes") or 0))
            for ref, one in refs.items()
        }
        if not refs:
            break
    return [one for ref, one in found.items() if ref.partition("/")[0].lower() == me]


def stored(client: Client) -> int:
    """Bytes of all our datasets."""
    return sum(one.bytes for one in list_own(client))


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
        depositing.check_owner(client, bundle)
        staging.check_content(bundle)
        sent = depositing.deposit(
            client,
            bundle,
            "dataset_create",
            accepted=_accepted,
            there=lambda: _there(client, bundle.owner, bundle.slug),
            on_progress=on_progress,
            public=bundle.public,
        )
        created = True
    _wait(client, bundle, ready_s, polling or Polling(), on_progress)
    _compare(client, bundle, created=created)
    sharing.share(client, bundle.owner, bundle.slug, bundle.collaborators)
    return Uploaded(bundle.name, sent, client.clock() - start, created)


def delete(client: Client, owner: str, slug: str) -> None:
    """Delete a dataset. Raises UserError when there is none of ours by that name, RemoteError when Kaggle keeps it."""
    refused = depositing.once(
        client,
        lambda: client.call("dataset_delete", owner=owner, slug=slug),
        lambda: not _there(client, owner, slug),
    )
    if refused and _there(client, owner, slug):
        remedy = "a dataset that something still uses can't be deleted; see the message"
        raise RemoteError(f"Kaggle did not delete dataset '{owner}/{slug}'", found=refused, remedy=remedy)


def _accepted(answer: Mapping[str, Any]) -> bool:
    return str(answer.get("status", "")).lower() == "ok" and not answer.get("error")


def _there(client: Client, owner: str, slug: str) -> bool:
    return status(client, owner, slug) not in (None, DELETED)


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
    compare = staging.difference if created else staging.unlike
    found = _until(client, patience, lambda: compare(files(client, bundle.owner, bundle.slug), bundle.files))
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
        remedy=f'[bundle] taken = ["{bundle.slug}"] in kernel.toml gives the content another name; then kkb bundle NAME',
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
