"""The ledger: one row per run of a stage, per pushed kernel version, per submission, each with its digests.

Expects: the path of the file; it is made when missing, and its schema brought up to date (`user_version`).
Produces: rows, read back as dictionaries.
Never: is the only record of something: whatever it says about Kaggle can be asked there again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from builder.errors import UserError

MIGRATIONS = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, kernel TEXT NOT NULL, stage TEXT NOT NULL,
        digest TEXT NOT NULL, seconds REAL NOT NULL, record TEXT NOT NULL
    );
    CREATE TABLE pushes (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, server TEXT NOT NULL, kernel TEXT NOT NULL, version INTEGER NOT NULL,
        digest TEXT NOT NULL, datasets TEXT NOT NULL, cv REAL, UNIQUE (server, kernel, version)
    );
    CREATE TABLE submissions (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, server TEXT NOT NULL, competition TEXT NOT NULL, ref INTEGER NOT NULL,
        kernel TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, status TEXT NOT NULL,
        public REAL, private REAL, error TEXT NOT NULL, cv REAL, UNIQUE (server, competition, ref)
    );
    """,
)


class Ledger:
    """An open ledger. Use it in a `with` block; every method is one transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path, timeout=30.0, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._migrate(path)
        except sqlite3.DatabaseError as error:
            raise UserError(
                "the ledger cannot be opened", file=path, found=error, remedy=f"move {path.name} away; it is made anew"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add_run(self, kernel: str, stage: str, digest: str, seconds: float, record: Mapping[str, Any]) -> None:
        """A stage was run. `digest` names its result, `record` is what `--json` prints."""
        row = (_now(), kernel, stage, digest, seconds, json.dumps(record))
        self._write("INSERT INTO runs (at, kernel, stage, digest, seconds, record) VALUES (?, ?, ?, ?, ?, ?)", row)

    def add_push(self, server: str, kernel: str, version: int, digest: str, datasets: list[str], cv: float | None) -> None:
        """A kernel version was saved on `server`. Saying it twice changes nothing; a server made anew begins again at 1."""
        self._write(
            "INSERT INTO pushes (at, server, kernel, version, digest, datasets, cv) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (server, kernel, version) DO UPDATE SET at = excluded.at, digest = excluded.digest,"
            " datasets = excluded.datasets, cv = excluded.cv WHERE digest <> excluded.digest",
            (_now(), server, kernel, version, digest, json.dumps(datasets), cv),
        )

    def add_submission(
        self, server: str, competition: str, ref: int, kernel: str, version: int, digest: str, cv: float | None
    ) -> None:
        """A version was submitted; saying it twice changes nothing."""
        self._write(
            "INSERT INTO submissions (at, server, competition, ref, kernel, version, digest, status, error, cv)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'PENDING', '', ?)"
            " ON CONFLICT (server, competition, ref) DO UPDATE SET at = excluded.at, kernel = excluded.kernel,"
            " version = excluded.version, digest = excluded.digest, status = 'PENDING', public = NULL, private = NULL,"
            " error = '', cv = excluded.cv WHERE digest <> excluded.digest",
            (_now(), server, competition, ref, kernel, version, digest, cv),
        )

    def set_score(
        self, server: str, competition: str, ref: int, status: str, *, public: float | None, private: float | None, error: str
    ) -> None:
        """A submission was scored, or failed."""
        self._write(
            "UPDATE submissions SET status = ?, public = ?, private = ?, error = ?"
            " WHERE server = ? AND competition = ? AND ref = ?",
            (status, public, private, error, server, competition, ref),
        )

    def runs(self, kernel: str) -> list[dict[str, Any]]:
        """Runs of the stages of a kernel, newest first."""
        return self._read("SELECT * FROM runs WHERE kernel = ? ORDER BY id DESC", (kernel,))

    def pushes(self, server: str, kernel: str | None = None) -> list[dict[str, Any]]:
        """Saved versions of `owner/slug`, or of every kernel, newest first."""
        return self._read(
            "SELECT * FROM pushes WHERE server = ? AND kernel = coalesce(?, kernel) ORDER BY version DESC", (server, kernel)
        )

    def submissions(self, server: str, competition: str | None = None) -> list[dict[str, Any]]:
        """Submissions to a competition, or to all, newest first."""
        return self._read(
            "SELECT * FROM submissions WHERE server = ? AND competition = coalesce(?, competition) ORDER BY ref DESC",
            (server, competition),
        )

    def _read(self, query: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        return [dict(row) for row in self._base.execute(query, values)]

    def _write(self, query: str, values: tuple[Any, ...]) -> None:
        with self._transaction():
            self._base.execute(query, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def _migrate(self, path: Path) -> None:
        with self._transaction():
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                raise UserError(
                    "the ledger was written by a newer kkb",
                    file=path,
                    found=f"schema {version}",
                    expected=f"schema {len(MIGRATIONS)}",
                    remedy="upgrade kkb",
                )
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    if statement.strip():
                        self._base.execute(statement)
            self._base.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _now() -> str:
    """UTC, to the second: the ledger's dates are for people; no duration is computed from them."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
