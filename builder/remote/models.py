"""Kaggle Models as carriers of weights: one model for each content, one variation in it, and of that version 1, which is pinned.

A model never changes once it is there, like our datasets. Unlike them it has no state that could be waited for: it is taken for
ready when its files are listed, and the notebook checks every one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError, RemoteError, WaitError
from builder.remote import depositing, staging
from builder.remote.answers import TRY_AGAIN, RefusedError
from builder.remote.datasets import Uploaded
from builder.remote.progress import Progress
from builder.remote.retry import Polling
from builder.remote.staging import Bundle

if TYPE_CHECKING:
    from builder.remote.client import Client

VERSION = 1
TAKEN = 409


def files(client: Client, variation: str, version: int = VERSION) -> dict[str, int] | None:
    """Name -> bytes of that version of `owner/model/framework/variation`; None when there is none, or we may not see it."""
    try:
        found = list(client.pages("variation_files", "files", variation=variation, version=version))
    except RefusedError as error:
        if error.absent:
            return None
        raise
    return {file["name"]: int(file.get("size") or 0) for file in found}


def ensure(
    client: Client,
    folder: Path,
    *,
    on_progress: Progress | None = None,
    ready_s: float = 1800.0,
    polling: Polling | None = None,
) -> Uploaded:
    """Make sure that the model of `folder` exists and that its version 1 holds exactly the folder's files.

    Nothing is uploaded when it is there. The `slug` of the result is what `model_sources` names: version included.

    Raises:
        UserError: The folder is wrong, or belongs to somebody else.
        GateError: The name is taken by other content.
        RemoteError: Kaggle did not take it, or holds something else than was sent.
        WaitError: Its files were not listed after `ready_s` seconds.
    """
    start = client.clock()
    bundle = staging.read_model(folder)
    sent, created = 0, not exists(client, bundle.name)
    if created:
        depositing.check_owner(client, bundle)
        staging.check_content(bundle)
        _create_model(client, bundle)
        sent = depositing.deposit(
            client, bundle, "variation_create", accepted=_made, there=lambda: exists(client, bundle.name), on_progress=on_progress
        )
    _compare(client, bundle, ready_s, polling or Polling(), on_progress, created=created)
    return Uploaded(f"{bundle.name}/{VERSION}", sent, client.clock() - start, created)


def exists(client: Client, variation: str) -> bool:
    """Whether there is `owner/model/framework/variation`."""
    try:
        client.call("variation", variation=variation)
    except RefusedError as error:
        if error.absent:
            return False
        raise
    return True


def _made(answer: Mapping[str, Any]) -> bool:
    return bool(answer.get("id")) and not answer.get("error")


def _create_model(client: Client, bundle: Bundle) -> None:
    """The empty model. One that is there already, from an interrupted try, does as well: its name names the content."""
    answer = None
    for _ in range(2):  # the second time only after a lost answer: then either it is made, or it says that it was
        answer = depositing.once(client, lambda: client.call("model_create", folder=str(bundle.folder.resolve())), lambda: True)
        if answer is not None:
            break
    if answer is None or _made(answer) or answer.get("errorCode") == TAKEN:
        return
    raise RemoteError(
        f"Kaggle did not create model '{bundle.owner}/{bundle.slug}'",
        found=answer.get("error") or "no reason given",
        remedy="change what the message names",
    )


def _compare(
    client: Client, bundle: Bundle, ready_s: float, polling: Polling, on_progress: Progress | None, *, created: bool
) -> None:
    """Wait until the files are listed; raise when they are not the folder's."""
    start = client.clock()
    while True:
        found = files(client, bundle.name)
        compare = staging.difference if created else staging.unlike
        wrong = "not listed" if found is None else compare(found, bundle.files)
        waited = client.clock() - start
        if not wrong:
            return
        if waited >= ready_s or (found and not created):
            break
        if on_progress:
            on_progress(waited, ready_s, f"{bundle.name}: its files are not listed yet")
        client.sleep(polling.interval(waited, ready_s - waited))
    name, expected = f"{bundle.name}/{VERSION}", "the files of manifest.json, by name and size"
    if not found:
        raise WaitError(
            f"model '{name}' is not ready", found=f"no files after {waited:.0f} s", expected=expected, remedy=TRY_AGAIN
        )
    if created:
        remedy = f"delete the model '{bundle.owner}/{bundle.slug}' on its page and run the same command again"
        raise RemoteError(f"model '{name}' does not hold what was sent", found=wrong, expected=expected, remedy=remedy)
    remedy = f'[bundle] taken = ["{bundle.slug}"] in kernel.toml gives the content another name; then kkb bundle NAME'
    raise GateError(f"the name '{name}' is taken by other content", found=wrong, expected=expected, remedy=remedy)
