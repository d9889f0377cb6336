"""tests/mutants.md: how many changes were tried and noticed, and those that nobody noticed, each with its reason."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "mutants.md"
HEAD = """# Changes that no test notices

`make mutants` changes the source in one place at a time and runs the tests of that line. Tables are written by it; the reasons in
the last column are written by hand and kept. It fails when a reason is missing: write a test, or say why there can be none. A
file whose source has the digest of its row is not tried again.

| file | source | changes | tried | noticed | hung | survived |
|---|---|---:|---:|---:|---:|---:|
"""
COUNTS = re.compile(r"^\| (?P<file>builder/\S+) \| (?P<digest>[0-9a-f]+) \|(?P<counts>( \d+ \|){5})$", re.MULTILINE)
ROW = re.compile(r"^\| (?P<file>builder/\S+) \| (?P<key>.* -> .*) \| (?P<reason>[^|]*) \|$", re.MULTILINE)


def digest(source: str) -> str:
    """What tells whether a file is the one that was tried."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def tried() -> dict[str, dict]:
    """By file, as the page has it: `digest`, the numbers of `changes` and `tried`, and `kept`, its row."""
    found = {}
    for row in COUNTS.finditer(_text()):
        changes, count, *_ = map(int, row["counts"].replace("|", " ").split())
        found[row["file"]] = {"digest": row["digest"], "changes": changes, "tried": count, "kept": row[0]}
    return found


def write(known: dict) -> int:
    """Write the page, in which files that are not `known` keep what they have; whether a survivor has no reason, 0 or 1."""
    before = tried()
    reasons = {(row["file"], row["key"]): row["reason"].strip() for row in ROW.finditer(_text())}
    survivors = {place: reason for place, reason in reasons.items() if place[0] in before and place[0] not in known}
    rows = {name: told["kept"] for name, told in before.items()}
    for name, found in known.items():
        hows = list(found["outcomes"].values())
        counts = (found["changes"], len(hows), *(hows.count(how) for how in ("failed", "hung", "passed")))
        rows[name] = f"| {name} | {found['digest']} | {' | '.join(map(str, counts))} |"
        keys = [key.replace("|", "\\|") for key, how in found["outcomes"].items() if how == "passed"]
        survivors |= {(name, key): reasons.get((name, key), "") for key in keys}
    sums = [sum(map(int, column)) for column in zip(*(row.split("|")[3:8] for row in rows.values()), strict=True)]
    listed = "".join(f"| {name} | {key} | {reason} |\n" for (name, key), reason in sorted(survivors.items()))
    table = "".join(f"{rows[name]}\n" for name in sorted(rows)) + f"| all | | {' | '.join(map(str, sums))} |\n"
    PAGE.write_text(f"{HEAD}{table}\n| file | function: before -> after | reason |\n|---|---|---|\n{listed}", "utf-8")
    missing = [key for key, reason in survivors.items() if not reason]
    print(f"{sums[1]} changes tried, {sums[4]} survived, {len(missing)} without a reason in {PAGE.name}")
    return int(bool(missing))


def _text() -> str:
    return PAGE.read_text("utf-8") if PAGE.exists() else ""
