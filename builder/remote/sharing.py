"""Who may see a dataset of ours. A new one is invisible to team-mates, and their copies of the notebook run without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from builder.errors import RemoteError, UserError
from builder.remote import depositing
from builder.remote.answers import TRY_AGAIN

if TYPE_CHECKING:
    from builder.remote.client import Client

READER = "READER"
# The server takes all settings at once: what is not sent again is lost, private data sets become public.
KEPT = (
    *("title", "subtitle", "description", "isPrivate", "keywords", "licenses", "collaborators", "data"),
    *("expectedUpdateFrequency", "userSpecifiedSources"),
)


def collaborators(client: Client, owner: str, slug: str) -> tuple[str, ...]:
    """Users who may see the dataset, besides its owner."""
    return tuple(_names(client.call("dataset_metadata", owner=owner, slug=slug)))


def share(client: Client, owner: str, slug: str, names: Sequence[str]) -> tuple[str, ...]:
    """Let the users `names` see the dataset; those who could not before. Nobody loses anything, and nothing else changes.

    Raises:
        UserError: Kaggle does not take one of them.
        RemoteError: No usable answer, or they are not there afterwards.
    """
    info = client.call("dataset_metadata", owner=owner, slug=slug) if names else {}
    lacking = _lacking(info, owner, names)
    if not lacking:
        return ()
    settings = {key: info[key] for key in KEPT if info.get(key) is not None}
    new = [{"username": name, "role": READER} for name in lacking]
    settings["collaborators"] = [*(info.get("collaborators") or []), *new]

    def absent() -> list[str]:
        return _lacking(client.call("dataset_metadata", owner=owner, slug=slug), owner, lacking)

    errors = depositing.once(
        client, lambda: client.call("dataset_settings", owner=owner, slug=slug, settings=settings), lambda: not absent()
    )
    if errors:
        raise UserError(
            f"Kaggle does not share dataset '{owner}/{slug}' with {', '.join(lacking)}",
            found="; ".join(errors),
            expected="names of Kaggle users, as in the addresses of their pages",
            remedy="change [bundle] collaborators; the dataset itself is there",
        )
    if left := absent():
        raise RemoteError(
            f"dataset '{owner}/{slug}' is still not shared with {', '.join(left)}",
            found=f"collaborators: {', '.join(collaborators(client, owner, slug)) or 'none'}",
            remedy=TRY_AGAIN,
        )
    return tuple(lacking)


def _names(info: Mapping[str, Any]) -> list[str]:
    return [str(one.get("username") or "") for one in info.get("collaborators") or []]


def _lacking(info: Mapping[str, Any], owner: str, names: Sequence[str]) -> list[str]:
    there = {name.casefold() for name in (owner, *_names(info))}
    return [name for name in dict.fromkeys(names) if name.casefold() not in there]
