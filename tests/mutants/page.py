"""tests/mutants.md: how many changes were tried and noticed, and those that nobody noticed, each with its reason."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "mutants.md"
HEAD = """# Changes that no test notices

`make mutants` changes the source in one place at a time and runs the tests of that line. Tables are written by it; the reasons in
the last column are written by hand and kept. It fails when a reason is missing: write a test, or say why there can be none.

| file | changes | tried | noticed | hung | survived |
|---|---:|---:|---:|---:|---:|
"""
ROW = re.compile(r"^\| (?P<file>builder/\S+) \| (?P<key>.*) \| (?P<reason>[^|]*) \|$", re.MULTILINE)


def write(known: dict) -> int:
    """Write the page; how many survivors have no reason, at most 1 (an exit code)."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    reasons = {(row["file"], row["key"]): row["reason"].strip() for row in ROW.finditer(text)}
    counts, survivors = [], []
    for name, found in sorted(known.items()):
        hows = list(found["outcomes"].values())
        counts.append((name, found["changes"], len(hows), hows.count("failed"), hows.count("hung"), hows.count("passed")))
        keys = [key.replace("|", "\\|") for key, how in found["outcomes"].items() if how == "passed"]
        survivors += [(name, key, reasons.get((name, key), "")) for key in keys]
    total = ("all", *(sum(row[place] for row in counts) for place in range(1, 6)))
    rows = "".join(f"| {' | '.join(map(str, row))} |\n" for row in (*counts, total))
    listed = "".join(f"| {name} | {key} | {reason} |\n" for name, key, reason in survivors)
    PAGE.write_text(f"{HEAD}{rows}\n| file | function: before -> after | reason |\n|---|---|---|\n{listed}", "utf-8")
    missing = [key for _, key, reason in survivors if not reason]
    print(f"{total[2]} changes tried, {total[5]} survived, {len(missing)} without a reason in {PAGE.name}")
    return int(bool(missing))
