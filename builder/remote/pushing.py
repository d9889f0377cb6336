"""Saving a kernel, once. Every save starts a run, so a lost answer is looked up and never simply repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError, KkbError, RemoteError, RunError, UserError
from builder.remote import competitions, datasets, kernel_folder, models, runs
from builder.remote.account import username
from builder.remote.answers import TRY_AGAIN, RefusedError, UnavailableError
from builder.remote.kernel_folder import KernelFolder
from builder.remote.runs import Latest

if TYPE_CHECKING:
    from builder.remote.client import Client

ATTEMPTS = 4
READ_BACKS_S = (1.0, 3.0, 6.0)
SILENCE_S = 120.0
INVALID = {
    "invalidDatasetSources": "dataset",
    "invalidCompetitionSources": "competition",
    "invalidKernelSources": "kernel",
    "invalidModelSources": "model",
}


@dataclass(frozen=True)
class Pushed:
    """A kernel version.

    Attributes:
        kernel: `owner/slug`.
        version: Its number.
        url: Its page.
        created: False when it was there already, pushed earlier or from elsewhere.
        notes: What Kaggle did not take but can do without, for example unknown tags.
    """

    kernel: str
    version: int
    url: str
    created: bool
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def push(
    client: Client, folder: Path, *, timeout_s: float | None = None, digest: str | None = None, again: bool = False
) -> Pushed:
    """Save the kernel in `folder`, which starts its run.

    Args:
        client: The door.
        folder: Holds kernel-metadata.json and the notebook.
        timeout_s: Limit of the run, below the competition's own.
        digest: A text that the notebook carries. When the newest version carries it too, that one is returned and nothing saved.
        again: Save even then.

    Raises:
        UserError: The folder is wrong, belongs to somebody else, or names something that does not exist.
        GateError: A dataset is not ready.
        RunError: Kaggle refused it.
        RemoteError: No usable answer, and no such version there. The same command looks again before it saves.
    """
    local = kernel_folder.read(folder)
    _check_owner(client, local)
    before = runs.latest(client, local.name)
    if before and before.version and digest and digest in before.source and not again:
        return _found(local, before, created=False)
    _check_sources(client, local)
    failures = 0
    while True:
        try:
            answer = client.call(
                "kernel_push",
                timeout_s=SILENCE_S,
                folder=str(folder.resolve()),
                timeout=None if timeout_s is None else int(timeout_s),
            )
            return _read(local, answer)
        except RefusedError as error:
            raise _no(local, error) from None
        except UnavailableError as error:
            found = _read_back(client, local, before) if error.sent else None
            if found:
                return found
            failures += 1
            if error.sent or failures >= ATTEMPTS:
                raise _lost(local, error) from None
            client.pause(failures, error)


def _read(local: KernelFolder, answer: Mapping[str, Any]) -> Pushed:
    """The answer, as a version or as the error that the official client would only print."""
    if answer.get("error"):
        raise _refused(local, answer["error"])
    version = int(answer.get("versionNumber") or 0)
    invalid = [f"{kind} {name}" for key, kind in INVALID.items() for name in answer.get(key) or []]
    if invalid:
        raise UserError(
            f"Kaggle dropped sources of '{local.name}' and started version {version} without them",
            file=local.folder / kernel_folder.METADATA,
            found=", ".join(invalid),
            expected="sources that exist and that you may use",
            remedy=f"stop version {version} on its page, mend the sources and push again",
        )
    notes = tuple(f"Kaggle does not know the tag '{tag}'" for tag in answer.get("invalidTags") or [])
    kernel = _name(answer.get("ref") or answer.get("url") or "") or local.name
    return Pushed(kernel, version, answer.get("url") or _url(kernel), created=True, notes=notes)


def _refused(local: KernelFolder, text: str) -> KkbError:
    lower = text.lower()
    file = local.folder / kernel_folder.METADATA
    if "maximum batch" in lower or "session count" in lower:
        return RemoteError(
            "all your sessions of this kind are in use", found=text, remedy="wait until one ends, then run the same command again"
        )
    if "not found" in lower:
        return UserError(
            f"Kaggle knows no notebook '{local.name}' of yours",
            file=file,
            found=text,
            remedy="check the owner in the id, and that the notebook was not deleted",
        )
    return RunError(f"Kaggle refused to save '{local.name}'", file=file, found=text, remedy="mend what the message names")


def _no(local: KernelFolder, error: RefusedError) -> UserError:
    """409 is a name that a dataset has."""
    remedy = "rename the kernel: one of your datasets has this name" if error.status == 409 else "mend what the message names"
    file = local.folder / kernel_folder.METADATA
    return UserError(f"Kaggle refused to save '{local.name}'", file=file, found=error.found, remedy=remedy)


def _read_back(client: Client, local: KernelFolder, before: Latest | None) -> Pushed | None:
    """The version that was saved though its answer was lost; None when there is none after a while."""
    for pause in READ_BACKS_S:
        client.sleep(pause)
        newest = runs.latest(client, local.name)
        if newest and newest.version > (before.version if before else 0) and kernel_folder.same(newest.source, local.source):
            return _found(local, newest, created=True)
    return None


def _found(local: KernelFolder, version: Latest, *, created: bool) -> Pushed:
    return Pushed(local.name, version.version, _url(local.name), created)


def _lost(local: KernelFolder, error: UnavailableError) -> RemoteError:
    return RemoteError(
        f"no usable answer to saving '{local.name}', and no new version is there",
        found=error.found,
        remedy=f"{TRY_AGAIN}: it first looks whether the version has appeared",
    )


def _check_owner(client: Client, local: KernelFolder) -> None:
    me = username(client)
    if local.owner != me:
        raise UserError(
            "the kernel belongs to somebody else",
            file=local.folder / kernel_folder.METADATA,
            found=local.owner,
            expected=me,
            remedy="run `kkb render` again with these credentials, or use the owner's",
        )


def _check_sources(client: Client, local: KernelFolder) -> None:
    """A source that is missing would be dropped by Kaggle, and the run started without it."""
    if datasets.status(client, local.owner, local.slug) not in (None, datasets.DELETED):
        raise UserError(
            "one of your datasets has the name of this kernel, and Kaggle allows only one of them",
            file=local.folder / kernel_folder.METADATA,
            found=local.name,
            remedy="rename the kernel",
        )
    for source in local.datasets:
        owner, slug = source.split("/")[:2]
        state = datasets.status(client, owner, slug)
        if state != datasets.READY:
            raise GateError(
                f"dataset '{source}' is not ready",
                file=local.folder / kernel_folder.METADATA,
                found=state or "no such dataset",
                expected=datasets.READY,
                remedy="run `kkb push` again; it uploads the datasets and waits for them",
            )
    for source in local.models:
        _check_model(client, local, source)
    for slug in local.competitions:
        competitions.check_access(client, slug)


def _check_model(client: Client, local: KernelFolder, source: str) -> None:
    """The official client refuses a model without its version, and Kaggle drops one that is not there without a word."""
    variation, _, version = source.rpartition("/")
    pinned = variation.count("/") == 3 and version.isdigit()
    if not pinned or models.files(client, variation, int(version)) is None:
        raise GateError(
            f"model '{source}' is not there",
            file=local.folder / kernel_folder.METADATA,
            found="no such version" if pinned else "no version",
            expected="owner/model/framework/variation/version of a model that you may see",
            remedy="run `kkb push` again; it uploads the models and waits for them",
        )


def _name(address: str) -> str | None:
    """`owner/slug` at the end of an address, or None."""
    parts = [part for part in address.split("?", maxsplit=1)[0].split("/") if part]
    return "/".join(parts[-2:]) if len(parts) >= 2 else None


def _url(kernel: str) -> str:
    return f"{competitions.SITE}/code/{kernel}"
