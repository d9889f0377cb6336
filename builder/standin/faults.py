"""Faults on request: what goes wrong, where, after how many good calls and how often.

A fault waits in the state until its target comes by. Targets are the methods of the API (`CreateDataset`, `SaveKernel`, ...),
`upload` (the PUT of a blob), `download` (a storage address), `logs` (the log stream), `*` for all of these, and the things
`dataset`, `kernel` and `submission`, whose next one then ends in the given way.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

from builder.errors import UserError, did_you_mean
from builder.standin.store import Store

FOREVER = -1
REQUEST_KINDS = {
    "429": "Too many requests, with Retry-After",
    "500": "an internal error as JSON",
    "503": "unavailable, as JSON",
    "html": "a 502 with an HTML page instead of JSON",
    "error": "a refusal with a status and a message",
    "refusal": "status 200 with an error field, as Kaggle refuses a push",
    "drop-before": "the connection drops before anything was done",
    "drop-after": "the work is done, the connection drops before the answer",
    "slow": "the answer comes late",
    "cut": "the connection drops in the middle of the body",
}
FATES = {"dataset": ("failed", "stuck"), "kernel": ("stuck", "error"), "submission": ("stuck", "error")}


@dataclass(frozen=True)
class Fault:
    """One fault that strikes now.

    Attributes:
        kind: One of REQUEST_KINDS or FATES.
        options: `retry_after` and `seconds` (s), `code`, `message`, `bytes` (after which a body is cut).
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        return str(self.options.get("message", "A fault was asked for"))


def add(store: Store, target: str, kind: str, *, times: int = 1, skip: int = 0, **options: Any) -> int:
    """Ask for a fault; returns its number. Raises UserError when target and kind don't fit each other."""
    kinds = FATES.get(target, tuple(REQUEST_KINDS))
    if kind not in kinds:
        raise UserError(f"'{target}' cannot have the fault '{kind}'", expected=", ".join(kinds), remedy=did_you_mean(kind, kinds))
    if not (isinstance(times, int) and isinstance(skip, int)) or times == 0 or times < FOREVER or skip < 0:
        raise UserError(
            "wrong count", found=f"times={times}, skip={skip}", expected="times of 1 or more (-1: always), skip of 0 or more"
        )
    known = {"retry_after", "seconds", "code", "message", "bytes"}
    for name in options:
        if name not in known:
            raise UserError(f"unknown option '{name}' of a fault", remedy=did_you_mean(name, known))
    given = json.dumps({name: value for name, value in options.items() if value is not None})
    with store.write() as db:
        sql = "INSERT INTO faults (target, kind, skip, times, options, created) VALUES (?, ?, ?, ?, ?, ?)"
        return int(db.execute(sql, (target, kind, skip, times, given, time.time())).lastrowid or 0)


def clear(store: Store) -> int:
    """Forget all faults; returns how many there were."""
    return store.run("DELETE FROM faults")


def waiting(store: Store) -> list[dict[str, Any]]:
    """The faults that have not struck for the last time."""
    return [{**dict(row), "options": json.loads(row["options"])} for row in store.all("SELECT * FROM faults ORDER BY id")]


def take(store: Store, target: str) -> Fault | None:
    """The fault that strikes this call of `target`, counted off; None for most calls."""
    if store.one("SELECT 1 FROM faults WHERE target IN (?, '*')", target) is None:
        return None
    with store.write() as db:
        return _take(db, target, "*")


def fate(db: sqlite3.Connection, target: str) -> str:
    """How a new dataset, kernel run or submission will end, inside the transaction that makes it; empty for most."""
    fault = _take(db, target, target)
    return "" if fault is None else fault.kind


def _take(db: sqlite3.Connection, target: str, other: str) -> Fault | None:
    sql = "SELECT * FROM faults WHERE target IN (?, ?) ORDER BY id LIMIT 1"
    row = db.execute(sql, (target, other)).fetchone()
    if row is None:
        return None
    if row["skip"] > 0:
        db.execute("UPDATE faults SET skip = skip - 1 WHERE id = ?", (row["id"],))
        return None
    if row["times"] == 1:
        db.execute("DELETE FROM faults WHERE id = ?", (row["id"],))
    elif row["times"] > 1:
        db.execute("UPDATE faults SET times = times - 1 WHERE id = ?", (row["id"],))
    return Fault(row["kind"], json.loads(row["options"]))
