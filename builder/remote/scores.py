"""What came of submissions: one, all of them, and waiting for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import UserError, WaitError
from builder.remote import competitions
from builder.remote.answers import TRY_AGAIN, RefusedError
from builder.remote.progress import Progress
from builder.remote.retry import Polling

if TYPE_CHECKING:
    from builder.remote.client import Client

PENDING, COMPLETE, ERROR = "PENDING", "COMPLETE", "ERROR"
MOST_PAGES = 50
SMALLEST_PAGE = 20
# A submission that was just made may not be visible yet.
APPEAR_S = 120.0


@dataclass(frozen=True)
class Scored:
    """A submission, and what came of it so far.

    Attributes:
        ref: Its number.
        status: `PENDING`, `COMPLETE` or `ERROR`.
        public: Score on the public part; None when there is none.
        private: Score on the private part; None until the competition is over.
        error: What Kaggle says about an error; empty when it says nothing.
        description: Its message, which ends in 12 digits of the notebook's digest when it is ours.
        file: Name of the file that was submitted.
        date: When it was made, naive UTC in ISO form.
    """

    ref: int
    status: str
    public: float | None
    private: float | None
    error: str
    description: str
    file: str
    date: str | None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status != PENDING

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def wait(
    client: Client,
    competition: str,
    ref: int,
    *,
    limit_s: float,
    on_progress: Progress | None = None,
    polling: Polling | None = None,
) -> Scored:
    """Wait until submission `ref` is scored, or failed.

    Raises:
        WaitError: It was neither after `limit_s` seconds.
        UserError: There is no such submission.
    """
    start = client.clock()
    polling = polling or Polling()
    while True:
        found = get(client, competition, ref)
        waited = client.clock() - start
        if found is not None and found.over:
            return found
        if found is None and waited >= min(limit_s, APPEAR_S):
            raise UserError(f"'{competition}' has no submission {ref} of yours", remedy="check the number and the credentials")
        if waited >= limit_s:
            raise WaitError(
                f"submission {ref} is not scored",
                found=f"{found.status if found else PENDING} after {waited:.0f} s",
                expected=f"a score within {limit_s:.0f} s",
                remedy=f"{TRY_AGAIN}; the submission itself goes on",
            )
        if on_progress:
            on_progress(waited, None, f"submission {ref}: pending")
        client.sleep(polling.interval(waited, limit_s - waited))


def get(client: Client, competition: str, ref: int) -> Scored | None:
    """Submission `ref`, or None when the server does not know it (yet)."""
    try:
        return _scored(client.call("submission", ref=ref))
    except RefusedError as error:
        if not error.absent:
            raise
    return next((one for one in listing(client, competition) if one.ref == ref), None)


def listing(client: Client, competition: str) -> list[Scored]:
    """All submissions of our team, the newest first."""
    found: dict[int, Scored] = {}
    for number in range(1, MOST_PAGES + 1):
        try:
            page = [_scored(one) for one in client.call("submissions", slug=competition, page=number)]
        except RefusedError as error:
            raise competitions.refused(competition, error) from None
        new = [one for one in page if one.ref not in found]
        found.update((one.ref, one) for one in new)
        # A server may send shorter pages than we ask for; one that ignores the page number sends the first one for ever.
        if len(page) < SMALLEST_PAGE or not new:
            break
    return list(found.values())


def _scored(answer: Mapping[str, Any]) -> Scored:
    return Scored(
        ref=int(answer.get("ref") or 0),
        status=str(answer.get("status") or PENDING).upper(),
        public=_number(answer.get("publicScore")),
        private=_number(answer.get("privateScore")),
        error=answer.get("errorDescription") or "",
        description=answer.get("description") or "",
        file=answer.get("fileName") or "",
        date=answer.get("date"),
    )


def _number(text: Any) -> float | None:
    """Scores come as text, and as no text where there is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
