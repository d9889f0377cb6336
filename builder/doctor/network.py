"""The server that the credentials lead to: whether it answers, whether it accepts them, and whether our clocks agree."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from builder.doctor.credentials import MAKE
from builder.doctor.record import MUST, SHOULD, Finding, fine
from builder.errors import CredentialError, KkbError, RemoteError
from builder.remote import account
from builder.remote.retry import Retry

if TYPE_CHECKING:
    from builder.remote.client import Client

ONCE = Retry(attempts=2, timeouts=1)
SILENCE_S = 15.0
SKEW_S = 60.0


def network(client: Client, server: str) -> Iterator[Finding]:
    """Ask who we are, and for a page of our kernels: the first proves a token, the second a key.

    Args:
        client: One that gives up soon (ONCE, SILENCE_S).
        server: What a person calls the server.
    """
    try:
        me = account.account(client)
        client.call("kernels_mine", page=1)
    except CredentialError as error:
        remedy = f"unset what is refused, and {MAKE}"
        yield Finding(MUST, "refused", f"{server} does not take the credentials: {error.found}", "nothing can be pushed", remedy)
        return
    except RemoteError as error:
        meaning = "fetch, push, status and submit fail; everything else works"
        where = "kkb standin up" if server != "kaggle.com" else "curl -sSI https://www.kaggle.com | head -1"
        yield Finding(MUST, "unreachable", f"{server} does not answer: {error.found}", meaning, where)
        return
    except KkbError as error:
        yield Finding(MUST, "refused", f"{server}: {error.what}: {error.found}", "nothing can be pushed", error.remedy or MAKE)
        return
    yield fine("network", f"{server} answers {me.username} ({me.method.lower().replace('_', ' ')})")
    with contextlib.suppress(KkbError):  # it answered the calls that matter
        yield from clock(client.call("server_time")["ahead_s"])


def clock(ahead_s: float | None) -> Iterator[Finding]:
    """How far the clock here is ahead of the server's, in seconds; None when its answers have no date."""
    if ahead_s is None:
        return
    if abs(ahead_s) <= SKEW_S:
        yield fine("clock", f"the clock is within {SKEW_S:.0f} s of the server's")
        return
    way = "ahead of" if ahead_s > 0 else "behind"
    meaning = "tokens and signed addresses look expired, or not yet valid; submissions are counted on another day"
    remedy = "sudo timedatectl set-ntp true"
    yield Finding(SHOULD, "clock", f"the clock is {abs(ahead_s):.0f} s {way} the server's", meaning, remedy)
