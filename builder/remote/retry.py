"""How long to wait: between tries of a read, and between looks at something that takes its time. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

RETRY_AFTER_CAP_S = 120.0


@dataclass(frozen=True)
class Retry:
    """How a read is repeated.

    Attributes:
        attempts: Tries in all.
        timeouts: Tries in all when each one runs into its timeout, which is the slowest way to fail.
        first_s: Wait after the first failure; it doubles with every further one.
        longest_s: Longest wait that we choose ourselves.
    """

    attempts: int = 5
    timeouts: int = 2
    first_s: float = 0.5
    longest_s: float = 20.0

    def delay(self, failures: int, retry_after: float | None, dice: float) -> float:
        """Seconds to wait after `failures` (>= 1) failures; `dice` in [0, 1) spreads clients that failed together.

        A server's Retry-After is obeyed: never less than it, and never more than it plus our own jitter.
        """
        own = min(self.longest_s, self.first_s * 2.0 ** (failures - 1)) * (0.5 + dice / 2.0)
        return own if retry_after is None else retry_after + min(own, 1.0)


@dataclass(frozen=True)
class Polling:
    """How often to look: quickly at first, then ever more rarely.

    Attributes:
        shortest_s: The first interval.
        longest_s: The last interval.
        share: Each interval is at least this share of the time already waited.
    """

    shortest_s: float = 1.0
    longest_s: float = 60.0
    share: float = 0.1

    def interval(self, waited_s: float, left_s: float) -> float:
        """Seconds until the next look, after `waited_s` seconds and with `left_s` seconds left."""
        wanted = min(self.longest_s, max(self.shortest_s, self.share * waited_s))
        return max(0.0, min(wanted, left_s))
