"""Submissions: each costs one of a few a day, so each is looked for before it is made and after an answer was lost."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import CredentialError, GateError, KkbError, RemoteError, UserError
from builder.remote import competitions, forms, runs
from builder.remote.answers import TRY_AGAIN, RefusedError, UnavailableError
from builder.remote.scores import COMPLETE, ERROR, PENDING, Scored, get, listing, wait
from builder.workspace import short

if TYPE_CHECKING:
    from builder.remote.client import Client

__all__ = [
    "COMPLETE",
    "ERROR",
    "PENDING",
    "Scored",
    "Submitted",
    "check_limits",
    "get",
    "listing",
    "submit",
    "wait",
]
ATTEMPTS = 4
READ_BACKS_S = (1.0, 3.0, 6.0)


@dataclass(frozen=True)
class Submitted:
    """A submission that is there.

    Attributes:
        ref: Its number.
        status: `PENDING`, `COMPLETE` or `ERROR`.
        created: False when it was there before and nothing was submitted.
    """

    ref: int
    status: str
    created: bool

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def submit(  # noqa: PLR0913 - every one is named at the call, and none can be guessed
    client: Client,
    *,
    competition: str,
    kernel: str,
    version: int,
    file: str,
    message: str,
    digest: str,
    again: bool = False,
    reserve: int = 0,
    sample: Path | None = None,
) -> Submitted:
    """Submit the output `file` of `version` of `kernel`, once.

    Args:
        client: The door.
        competition: Its slug.
        kernel: `owner/slug`.
        version: Its number.
        file: Name of the output file.
        message: What the list of submissions shows; the first 12 digits of `digest` are put at its end.
        digest: Digest of the notebook.
        again: Submit even when a submission with these digits is there.
        reserve: Submissions of today that must be left afterwards.
        sample: The competition's sample_submission.csv; when given, the file of the commit run must have its columns and ids.

    Raises:
        GateError: Nothing is left for today, or the run is not over.
        RunError: The run failed, has no such file, or the file does not fit `sample`.
        CredentialError: The rules are not accepted.
        UserError: Kaggle refused it.
        RemoteError: No usable answer, and no such submission there. The same command looks again before it submits.
    """
    known = [one for one in listing(client, competition) if one.description.endswith(short(digest))]
    if known and not again:
        return Submitted(known[0].ref, known[0].status, created=False)
    check_limits(client, competition, reserve)
    _check_output(client, kernel, version, file, sample)
    request = {
        "competition": competition,
        "kernel": kernel,
        "version": version,
        "file": file,
        "message": f"{message} {short(digest)}",
    }
    return _create(client, request, {one.ref for one in known}, short(digest))


def check_limits(client: Client, competition: str, reserve: int = 0) -> competitions.Limits:
    """The limits, when they leave more than `reserve` submissions. Raises GateError when they do not."""
    limits = competitions.limits(client, competition)
    if not limits.entered:
        raise CredentialError(
            f"you have not joined competition '{competition}'",
            found="no submissions made and none allowed",
            remedy=f"join it and accept the rules at {competitions.SITE}/competitions/{competition}/rules",
        )
    if limits.left > reserve:
        return limits
    kept = f", of which {reserve} are kept in reserve" if reserve else ""
    later = "this competition allows no more" if limits.limited_by_total else "the day ends at 00:00 UTC; run it again then"
    raise GateError(
        f"no submission to '{competition}' is left",
        found=f"{limits.today} made today, {limits.left} left{kept}",
        expected=f"more than {reserve} left",
        remedy=later,
    )


def _create(client: Client, request: Mapping[str, Any], known: set[int], digits: str) -> Submitted:
    failures = 0
    while True:
        try:
            answer = client.call("submit_code", **request)
            ref = int(answer.get("ref") or 0)
            if ref:
                return Submitted(ref, PENDING, created=True)
            lost = UnavailableError("Kaggle's answer has no number", found=answer.get("message"))
        except RefusedError as error:
            raise _refused(request, error) from None
        except UnavailableError as error:
            lost = error
        found = _read_back(client, request["competition"], known, digits) if lost.sent else None
        if found:
            return found
        failures += 1
        if lost.sent or failures >= ATTEMPTS:
            raise RemoteError(
                f"no usable answer to the submission to '{request['competition']}', and it is not in the list",
                found=lost.found,
                remedy=f"{TRY_AGAIN}: it first looks whether the submission has appeared",
            )
        client.pause(failures, lost)


def _read_back(client: Client, competition: str, known: set[int], digits: str) -> Submitted | None:
    for pause in READ_BACKS_S:
        client.sleep(pause)
        for one in listing(client, competition):
            if one.ref not in known and one.description.endswith(digits):
                return Submitted(one.ref, one.status, created=True)
    return None


def _check_output(client: Client, kernel: str, version: int, file: str, sample: Path | None) -> None:
    now = runs.status(client, kernel, version)
    if not now.over:
        raise GateError(
            f"version {version} of '{kernel}' is still at work",
            found=now.state,
            expected=runs.COMPLETE,
            remedy="wait for it (`kkb push --wait`), then submit",
        )
    if not now.ok:
        raise runs.failed(kernel, version, now)
    if sample is not None and file.endswith(".csv"):
        with tempfile.TemporaryDirectory(prefix="kkb-") as folder:
            forms.check(runs.output_file(client, kernel, version, file, Path(folder)), sample)
        return
    names = runs.output_names(client, kernel, version)
    if file not in names:
        raise runs.no_file(kernel, version, file, names)


def _refused(request: Mapping[str, Any], error: RefusedError) -> KkbError:
    text = (error.found or "").lower()
    competition = request["competition"]
    if "limit" in text or "remaining" in text or "per day" in text:
        return GateError(f"Kaggle takes no more submissions to '{competition}' now", found=error.found, remedy="see the message")
    if error.status == 404:
        return UserError(
            f"Kaggle knows no competition '{competition}', or no version {request['version']} of '{request['kernel']}'",
            found=error.found,
            remedy="check both names; a competition that takes no notebooks is not known here either",
        )
    if error.status == 403:
        return competitions.refused(competition, error)
    return UserError(f"Kaggle refused the submission to '{competition}'", found=error.found, remedy="mend what the message names")
