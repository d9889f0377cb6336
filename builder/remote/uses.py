"""What our kernels mount: every version of each, as only Kaggle knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.remote.answers import RefusedError
from builder.remote.runs import split

if TYPE_CHECKING:
    from builder.remote.client import Client

MOST_PAGES = 200


def versions(client: Client) -> dict[str, int]:
    """`owner/slug` of each of our kernels -> the number of its newest version."""
    found: dict[str, int] = {}
    for number in range(1, MOST_PAGES + 1):
        new = {one["ref"]: one for one in client.call("kernels_mine", page=number) if one["ref"] not in found}
        if not new:
            break
        found |= {ref: int(one.get("currentVersionNumber") or 0) or _newest(client, ref) for ref, one in new.items()}
    return found


def mounted(client: Client, kernel: str, version: int) -> list[str]:
    """Handles of the datasets and models that a version mounts: `owner/slug`, `owner/model/framework/variation/version`.

    None for a version that is not there: numbers of deleted ones stay free.
    """
    owner, slug = split(kernel)
    try:
        told = client.call("kernel", owner=owner, slug=slug, version=version).get("metadata") or {}
    except RefusedError as error:
        if error.absent:
            return []
        raise
    return [*(told.get("datasetDataSources") or []), *(told.get("modelDataSources") or [])]


def _newest(client: Client, kernel: str) -> int:
    """A list may leave the number out."""
    owner, slug = split(kernel)
    told = client.call("kernel", owner=owner, slug=slug, version=None).get("metadata") or {}
    return int(told.get("currentVersionNumber") or 0)
