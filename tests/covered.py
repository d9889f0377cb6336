"""`python -m tests.covered`, the end of `make coverage`: lines and branches that ran, by room; fails when too few lines did."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

LEAST = {"builder": 90.0, "runtime": 95.0}  # per cent of the lines, which an issue asks for


def main(*options):
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", *options, "-o", str(told)], check=True)
        files = json.loads(told.read_text("utf-8"))["files"]
    rooms = {"builder": Counter()}
    for name, file in files.items():
        inside = Path(name).parts[1:]
        for room in ("builder", inside[0] if len(inside) > 1 else "(files)"):
            rooms.setdefault(room, Counter()).update(
                {key: value for key, value in file["summary"].items() if isinstance(value, int)}
            )
    for room, sums in sorted(rooms.items()):
        lines, branches = share(sums, "covered_lines", "num_statements"), share(sums, "covered_branches", "num_branches")
        print(
            f"{room:12} {lines:6.1f} % of {sums['num_statements']:5} lines {branches:6.1f} % of {sums['num_branches']:5} branches"
        )
    low = [room for room, least in LEAST.items() if share(rooms[room], "covered_lines", "num_statements") < least]
    return f"too few lines of {', '.join(low)} ran, expected {LEAST}" if low else 0


def share(sums, part, whole):
    return 100 * sums[part] / max(1, sums[whole])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
