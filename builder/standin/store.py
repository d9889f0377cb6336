"""The stand-in's state: one SQLite file in WAL mode, so that a kill at any moment loses at most the request that was under way.

The server and the functions of `control` write to it from several processes. Times are seconds since 1970 (UTC).
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.errors import UserError

VERSION = 4
BUSY_S = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS blobs (
    token TEXT PRIMARY KEY, upload TEXT NOT NULL UNIQUE, name TEXT NOT NULL, size INTEGER NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS datasets (
    id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, subtitle TEXT, description TEXT,
    license TEXT NOT NULL, private INTEGER NOT NULL, keywords TEXT NOT NULL, created REAL NOT NULL,
    collaborators TEXT NOT NULL DEFAULT '[]');
CREATE TABLE IF NOT EXISTS dataset_versions (
    dataset INTEGER NOT NULL REFERENCES datasets(id) ON DELETE CASCADE, number INTEGER NOT NULL, notes TEXT,
    bytes INTEGER NOT NULL, files INTEGER NOT NULL, created REAL NOT NULL, ready REAL NOT NULL, fate TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (dataset, number));
CREATE TABLE IF NOT EXISTS models (
    id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, subtitle TEXT, description TEXT,
    private INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS variations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE,
    framework TEXT NOT NULL, slug TEXT NOT NULL, body TEXT NOT NULL, created REAL NOT NULL, UNIQUE (model, framework, slug));
CREATE TABLE IF NOT EXISTS variation_versions (
    variation INTEGER NOT NULL REFERENCES variations(id) ON DELETE CASCADE, number INTEGER NOT NULL, notes TEXT,
    bytes INTEGER NOT NULL, created REAL NOT NULL, PRIMARY KEY (variation, number));
CREATE TABLE IF NOT EXISTS competitions (
    slug TEXT PRIMARY KEY, id INTEGER NOT NULL, title TEXT NOT NULL, metric TEXT NOT NULL, limit_s REAL NOT NULL,
    daily INTEGER NOT NULL, machine TEXT NOT NULL, submission_file TEXT NOT NULL, kind TEXT NOT NULL,
    digest TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS kernels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, title TEXT NOT NULL, kind TEXT NOT NULL,
    folder TEXT NOT NULL UNIQUE, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS kernel_versions (
    kernel INTEGER NOT NULL REFERENCES kernels(id) ON DELETE CASCADE, number INTEGER NOT NULL, request TEXT NOT NULL,
    sources TEXT NOT NULL, machine TEXT NOT NULL, gpu INTEGER NOT NULL, limit_s REAL NOT NULL, status TEXT NOT NULL,
    failure TEXT NOT NULL DEFAULT '', created REAL NOT NULL, started REAL, finished REAL, PRIMARY KEY (kernel, number));
CREATE TABLE IF NOT EXISTS submissions (
    ref INTEGER PRIMARY KEY AUTOINCREMENT, competition TEXT NOT NULL, kernel TEXT, version INTEGER, file_name TEXT NOT NULL,
    description TEXT NOT NULL, status TEXT NOT NULL, public TEXT NOT NULL DEFAULT '', private TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, finished REAL);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, lane TEXT NOT NULL, kernel INTEGER, version INTEGER, ref INTEGER,
    state TEXT NOT NULL DEFAULT 'queued', created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, kind TEXT NOT NULL, skip INTEGER NOT NULL, times INTEGER NOT NULL,
    options TEXT NOT NULL, created REAL NOT NULL);
"""

# What leads from one version to the next, for state that an older kkb made.
MIGRATIONS = {
    1: ("ALTER TABLE kernels ADD COLUMN folder TEXT NOT NULL DEFAULT ''", "UPDATE kernels SET folder = slug"),
    2: ("ALTER TABLE competitions ADD COLUMN kind TEXT NOT NULL DEFAULT 'notebook'",),
    3: ("ALTER TABLE datasets ADD COLUMN collaborators TEXT NOT NULL DEFAULT '[]'",),
}


class Store:
    """Connections to the state, one per thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._local = threading.local()
        with contextlib.closing(self._connect()) as connection:
            _prepare(connection, path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    @property
    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
        connection: sqlite3.Connection = self._local.connection
        return connection

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return list(self._connection.execute(sql, values).fetchall())

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def run(self, sql: str, *values: Any) -> int:
        """One statement in a transaction of its own; returns the number of rows it changed."""
        return self._connection.execute(sql, values).rowcount

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: everything or nothing, alone among all processes."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an older version up to date. Raises UserError when they are of a newer one."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")  # of two that come first, the second finds the work done
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        connection.execute("ROLLBACK")
        remedy = f"update kkb, or delete the folder {path.parent}"
        raise UserError("the stand-in's state was made by a newer kkb", file=path, found=found, expected=VERSION, remedy=remedy)
    steps = [step for version in range(found, VERSION) for step in MIGRATIONS.get(version, ())] if found else []
    for statement in [*SCHEMA.split(";"), *steps]:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")
