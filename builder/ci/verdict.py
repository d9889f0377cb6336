"""Whose fault it is: an exit code as a verdict, and the result of one command as a few lines of Markdown. Pure text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PASSED, YOURS, OURS, INFRASTRUCTURE, STOPPED = "passed", "yours", "ours", "infrastructure", "stopped"
VERDICTS = {0: PASSED, 1: OURS, 2: YOURS, 3: YOURS, 4: INFRASTRUCTURE, 5: YOURS, 6: INFRASTRUCTURE, 130: STOPPED}
MEANINGS = {
    PASSED: "done",
    YOURS: "something in this repository, its settings or its notebook has to change",
    OURS: "a bug in kkb: please report it",
    INFRASTRUCTURE: "Kaggle, the network or the queue: run this job again later",
    STOPPED: "it was interrupted",
}
LONGEST = 2000  # characters of one value
MOST_ROWS = 20


def verdict(code: int) -> str:
    """Whose turn it is after an exit code of kkb's; what the system killed (out of memory, time) is infrastructure."""
    return VERDICTS.get(code, INFRASTRUCTURE)


def summary(command: Sequence[str], code: int, record: Mapping[str, Any]) -> str:
    """One command's result as Markdown: the verdict first, then what to do, then the record's plain values and lists."""
    found = verdict(code)
    lines = [f"### `kkb {' '.join(command)}`: {found}", "", f"Exit code {code}: {MEANINGS[found]}.", ""]
    for key in ("file", "message", "found", "expected", "remedy"):
        if record.get(key):
            name = "to do" if key == "remedy" else key
            lines += [f"**{name}**: {_shown(record[key])}", ""]
    for key, value in record.items():
        if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            lines += [f"**{key}**", "", *_table(value), ""]
    return "\n".join(lines).rstrip() + "\n"


def annotation(command: Sequence[str], code: int, record: Mapping[str, Any]) -> str:
    """The line that a workflow shows beside the change; empty when there is nothing to say."""
    if not code:
        return ""
    told = [str(record[key]) for key in ("message", "found", "remedy") if record.get(key)]
    told = told or _urgent(record) or [f"exit code {code}"]
    text = "; ".join(told).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    title = f"kkb {command[0] if command else ''}: {verdict(code)}".replace(",", " ").replace(":", "%3A")
    return f"::error title={title}::{text[:LONGEST]}"


def _urgent(record: Mapping[str, Any]) -> list[str]:
    """What must be fixed, of a command that answers with findings."""
    findings = [one for one in record.get("findings") or () if isinstance(one, Mapping) and one.get("severity") == "must-fix"]
    return [f"{one.get('code')}: {one.get('message')} (to do: {one.get('remedy')})" for one in findings]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = [key for key, value in rows[0].items() if not isinstance(value, Mapping | list)]
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in columns) + " |" for row in rows[:MOST_ROWS]]
    return lines + ([f"... and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else [])


def _cell(value: Any) -> str:
    return "" if value is None else _shown(value).replace("\n", " ").replace("|", "\\|")[:200]


def _shown(value: Any) -> str:
    """Text from a log is shown as it is: no tag and no image in it takes effect."""
    return str(value)[:LONGEST].replace("&", "&amp;").replace("<", "&lt;").replace("![", "!\\[")
