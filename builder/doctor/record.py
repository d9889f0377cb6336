"""What the doctor says about one thing: what was found, what that means for the work, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

MUST, SHOULD, NOTE, FINE = "must-fix", "should-fix", "note", "fine"
SEVERITIES = (MUST, SHOULD, NOTE, FINE)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        severity: `must-fix`, `should-fix`, `note`, or `fine` for what is as it should be.
        code: Its name, stable.
        message: What was found.
        meaning: What that means for the user; empty when it is fine.
        remedy: The command that mends it; empty when nothing can or need be done.
        file: Where the fault lies; None when it is not in a file.
    """

    severity: str
    code: str
    message: str
    meaning: str = ""
    remedy: str = ""
    file: str | None = None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def fine(code: str, message: str) -> Finding:
    """Something that is as it should be."""
    return Finding(FINE, code, message)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first; within a severity in the order in which they were found."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
