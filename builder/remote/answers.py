"""What the child process answers when a call failed, and the typed error that it becomes.

A failure is data: {"kind", "message", "status", "retry_after", "sent"}. Kinds:

    credentials   there are none, or the server refused them            CredentialError   exit 2
    refused       the server says no to this request (4xx)              RefusedError           exit 2
    argument      the official client rejects the arguments             UserError         exit 2
    unavailable   429, 5xx, no connection, timeout, an unreadable answer UnavailableError      exit 4
    client        the official client lacks what we use                 KkbError          exit 1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from builder.errors import CredentialError, KkbError, RemoteError, UserError

CREDENTIALS, REFUSED, ARGUMENT, UNAVAILABLE, CLIENT = "credentials", "refused", "argument", "unavailable", "client"
CREDENTIAL_REMEDY = (
    "make a token at https://www.kaggle.com/settings/api and put it in KAGGLE_API_TOKEN, or set KAGGLE_USERNAME and KAGGLE_KEY"
)
TRY_AGAIN = "run the same command again; it continues where this one stopped"


class RefusedError(UserError):
    """Raised when the server says no to one request and would say no again.

    Attributes:
        status: The HTTP status, 400 to 499, or 501. Kaggle answers 403 where others answer 404.
    """

    def __init__(self, what: str, *, status: int, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.status = status

    @property
    def absent(self) -> bool:
        """Whether the thing that was asked for does not exist, or is not ours to see: the server does not tell which."""
        return self.status in (403, 404, 501)


class UnavailableError(RemoteError):
    """Raised when there is no answer, or none that means anything. The same call may work later.

    Attributes:
        status: The HTTP status, None when there was none.
        retry_after: Seconds that the server asked us to wait, None when it did not.
        sent: False only when the server surely did not act on the request: it refused it for its rate, or was never reached.
        timeout: True when our own timeout ended the call.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        sent: bool = True,
        timeout: bool = False,
        **parts: Any,
    ) -> None:
        super().__init__(what, **parts)
        self.status = status
        self.retry_after = retry_after
        self.sent = sent
        self.timeout = timeout


def error_of(call: str, failure: Mapping[str, Any]) -> KkbError:
    """The typed error for the `failure` of `call`."""
    kind, message = failure["kind"], failure["message"]
    if kind == CREDENTIALS:
        return CredentialError("Kaggle needs credentials that it accepts", found=message, remedy=CREDENTIAL_REMEDY)
    if kind == REFUSED:
        status = int(failure["status"])
        return RefusedError(f"Kaggle refused '{call}'", status=status, found=f"HTTP {status}: {message}", remedy=_advice(status))
    if kind == ARGUMENT:
        return UserError(f"the official client refused '{call}'", found=message)
    if kind == UNAVAILABLE:
        return UnavailableError(
            f"no usable answer to '{call}'",
            status=failure.get("status"),
            retry_after=failure.get("retry_after"),
            sent=failure.get("sent", True),
            found=message,
            remedy=_later(failure.get("retry_after")),
        )
    return KkbError(
        f"'{call}' failed inside the official client", found=message, remedy="report this, with the output of `pip freeze`"
    )


def _advice(status: int) -> str:
    if status in (403, 404):
        return "check the name and its owner, and that these credentials may see it"
    return "change what the message names"


def _later(retry_after: float | None) -> str:
    return TRY_AGAIN if retry_after is None else f"{TRY_AGAIN}; Kaggle asks to wait {retry_after:.0f} s first"
