"""Uploading a folder and making something of it, once: a lost answer is read back before the next try, which continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import RemoteError, UserError
from builder.remote import staging
from builder.remote.account import username
from builder.remote.answers import RefusedError, UnavailableError
from builder.remote.progress import Meter, Progress
from builder.remote.staging import Bundle

if TYPE_CHECKING:
    from builder.remote.client import Client

SILENCE_S = 180.0
ATTEMPTS = 4


def check_owner(client: Client, bundle: Bundle) -> None:
    """Raises UserError when the credentials are not those of the bundle's owner."""
    me = username(client)
    if bundle.owner != me:
        raise UserError(
            "the dataset belongs to somebody else" if not bundle.variation else "the model belongs to somebody else",
            file=bundle.folder / bundle.metadata[0],
            found=bundle.owner,
            expected=me,
            remedy="run `kkb bundle` again with these credentials, or use the owner's",
        )


def deposit(
    client: Client,
    bundle: Bundle,
    method: str,
    *,
    accepted: Callable[[Mapping[str, Any]], bool],
    there: Callable[[], bool],
    on_progress: Progress | None = None,
    **arguments: Any,
) -> int:
    """Upload and create; the bytes sent. What an interruption leaves is continued by the next command.

    Args:
        client: The door.
        bundle: What to upload.
        method: Call that uploads a folder and creates something of it.
        accepted: Whether an answer says that it was created.
        there: Asks the server whether it is there.
        on_progress: Told the bytes.
        arguments: Further arguments of the call.
    """
    meter = Meter(client, on_progress, bundle.bytes, bundle.name)
    with staging.stage(bundle, client.destination) as staged:
        try:
            answer = once(client, lambda: _upload(client, bundle, method, staged, meter, arguments), there)
        except RefusedError:
            staging.clear(staged)
            raise
        if answer is not None and not accepted(answer) and not there():
            raise RemoteError(
                f"Kaggle did not create '{bundle.name}'",
                found=answer.get("error") or f"status '{answer.get('status')}'",
                remedy="change what the message names; a slug of a deleted one may stay taken for a while",
            )
        staging.clear(staged)
    return meter.bytes


def _upload(client: Client, bundle: Bundle, method: str, staged: Path, meter: Meter, arguments: Mapping[str, Any]) -> Any:
    meter.next_call()
    return client.call(
        method,
        timeout_s=SILENCE_S,
        on_bytes=meter,
        folder=str(staged / "files"),
        state=str(staged / "state"),
        names=sorted(bundle.files),
        **arguments,
    )


def once(client: Client, write: Callable[[], Any], done: Callable[[], bool]) -> Any:
    """The answer of a write; None when its answer was lost but reading back shows that it was done. Repeats it otherwise."""
    failures = 0
    while True:
        try:
            return write()
        except UnavailableError as error:
            failures += 1
            if failures >= ATTEMPTS:
                raise
            client.pause(failures, error)
            if done():
                return None
