"""Every way in which kkb says no.

    KkbError                     exit 1   our bug, when nothing more precise was raised
     ├─ UserError                exit 2   the input is wrong: a file, a key, an argument
     │   ├─ ConfigError                   ... in kernel.toml
     │   └─ CredentialError               ... credentials, or rules that were not accepted
     ├─ GateError                exit 3   refused by a gate: parity, preflight, daily limit, score
     ├─ RemoteError              exit 4   Kaggle or the network failed; the same command may work later
     ├─ RunError                 exit 5   the kernel, the rehearsal or the submission failed
     └─ WaitError                exit 6   waited too long

A message has four parts: what went wrong, what was found, what was expected, what to do. Library code
raises; only `builder/cli` prints and exits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class KkbError(Exception):
    """Base of all errors that a person should read.

    Args:
        what: One sentence that names the thing that is wrong.
        found: What was there.
        expected: What should have been there.
        remedy: What to type or change.
        file: The file in which the fault lies; printed first.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        found: object = None,
        expected: object = None,
        remedy: str | None = None,
        file: Path | str | None = None,
    ) -> None:
        self.what = what
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.remedy = remedy
        self.file = None if file is None else str(file)
        super().__init__(self.text())

    def text(self) -> str:
        """The whole message, one part a line."""
        first = f"{self.file}: {self.what}" if self.file else self.what
        parts = (("found", self.found), ("expected", self.expected), ("to do", self.remedy))
        return "\n".join([first, *(f"  {name}: {value}" for name, value in parts if value)])

    def record(self) -> dict[str, object]:
        """The same for `--json`."""
        return {
            "error": type(self).__name__,
            "message": self.what,
            "found": self.found,
            "expected": self.expected,
            "remedy": self.remedy,
            "file": self.file,
            "exit_code": self.exit_code,
        }


class UserError(KkbError):
    """Raised when the user's input is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """Raised when kernel.toml is wrong."""


class CredentialError(UserError):
    """Raised when credentials are missing or refused, or a competition's rules were not accepted."""


class GateError(KkbError):
    """Raised when a gate refuses to go on."""

    exit_code = 3


class RemoteError(KkbError):
    """Raised when Kaggle or the network failed."""

    exit_code = 4


class RunError(KkbError):
    """Raised when a kernel run, a rehearsal or a submission failed."""

    exit_code = 5


class WaitError(KkbError):
    """Raised when a bounded wait ran out."""

    exit_code = 6


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, or None."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy that suggests the nearest known word, and lists them all when there is none."""
    names = sorted(known)
    match = nearest(word, names)
    return f"did you mean '{match}'?" if match else f"use one of: {', '.join(names)}"
