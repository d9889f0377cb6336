"""`python -m tests.mutants [FILE ...]`: changes that no test notices, and the page that lists them with their reasons.

Of clock.py and combine.py every change is tried, of each file of plan/ a sample that stays the same while its source does. A
file that the page has is not tried again until it is edited, or named, or more changes of it are asked for; nor is a change that
was noticed. Ends with 1 when a survivor has no reason in the page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from pathlib import Path

from tests.mutants import changes, page, running

ALL = (Path("builder/runtime/clock.py"), Path("builder/runtime/combine.py"))
SAMPLED = tuple(sorted(Path("builder/plan").glob("*.py")))
TESTS = {
    "plan": ["tests/plan"],
    "runtime": [f"tests/runtime/test_{name}.py" for name in ("clock", "combine", "combine_edges", "heads", "decide")],
}
KNOWN, LINES = Path(".venv/mutants.json"), Path(".venv/mutants-lines.json")
SEED = "2026"
SLOWEST_S = 20  # a test that takes longer judges nothing here: it would be repeated thousands of times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="these, whatever the page has (default: all)")
    parser.add_argument("--each", type=int, default=16, help="changes tried of each file of plan/ (default: %(default)s)")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    asked = parser.parse_args()
    known = json.loads(KNOWN.read_text("utf-8")) if KNOWN.exists() else {}
    before = page.tried()
    files = asked.files or [path for path in (*ALL, *SAMPLED) if not settled(path, before.get(str(path)), asked.each)]
    if not asked.page:
        running.preload()
        for room in sorted({path.parent.name for path in files}):
            check_room([path for path in files if path.parent.name == room], TESTS[room], asked.each, known)
    sys.exit(page.write({str(path): known[str(path)] for path in files if tried_as_it_is(path, known)}))


def settled(path: Path, told: dict | None, each: int) -> bool:
    """Whether the page has enough of that very source."""
    if told is None:
        return not changes.mutants(path.read_text("utf-8"))
    enough = told["changes"] if path in ALL else min(each, told["changes"])
    return told["digest"] == page.digest(path.read_text("utf-8")) and told["tried"] >= enough


def tried_as_it_is(path: Path, known: dict) -> bool:
    return known.get(str(path), {}).get("digest") == page.digest(path.read_text("utf-8"))


def check_room(files: list[Path], folders: list[str], each: int, known: dict) -> None:
    tests = lines(files[0].parent, folders)
    for path in files:
        source = path.read_text("utf-8")
        digest = page.digest(source)
        found = changes.mutants(source)
        chosen = found if path in ALL else sample(found, path, each)
        before = known[str(path)]["outcomes"] if tried_as_it_is(path, known) else {}
        outcomes = {key: how for key, how in before.items() if how != "passed"}
        for mutant in chosen:
            if mutant.key not in outcomes:
                outcomes[mutant.key] = judged(path, source, mutant, tests)
                if outcomes[mutant.key] == "passed":
                    print(f"{path}:{mutant.line} {mutant.key}", flush=True)
            known[str(path)] = {"digest": digest, "changes": len(found), "outcomes": outcomes}
            KNOWN.write_text(json.dumps(known, indent=1), "utf-8")
        print(f"{path}: {len(chosen)} of {len(found)} changes tried", flush=True)


def lines(room: Path, folders: list[str]) -> dict[str, dict]:
    """Which lines of a room each test runs; asked again when a source or a test has changed."""
    sources = sorted(room.glob("*.py"))
    tests = [path for name in folders for path in sorted(Path(name).rglob("*.py") if Path(name).is_dir() else [Path(name)])]
    state = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, *tests])).hexdigest()
    known = json.loads(LINES.read_text("utf-8")) if LINES.exists() else {}
    if known.get(room.name, {}).get("state") != state:
        known[room.name] = {"state": state, "tests": running.lines_of(sources, folders)}
        LINES.write_text(json.dumps(known), "utf-8")
    return known[room.name]["tests"]


def sample(found: list[changes.Mutant], path: Path, each: int) -> list[changes.Mutant]:
    return sorted(found, key=lambda mutant: random.Random(f"{SEED} {path} {mutant.key}").random())[:each]


def judged(path: Path, source: str, mutant: changes.Mutant, tests: dict[str, dict]) -> str:
    """`passed`: the change survives. The quickest of the tests that run its line come first.

    A change at import is for all tests that run anything of the file, and for those that run nothing and only look at constants.
    """
    quick = {test: told for test, told in tests.items() if told["seconds"] < SLOWEST_S}
    own = {test: told["lines"].get(str(path), ()) for test, told in quick.items()}
    chosen = [test for test, those in own.items() if (mutant.line in those if mutant.line else those or not quick[test]["lines"])]
    here = [(quick[test]["seconds"], test) for test in chosen]
    if not here:
        return "passed"
    limit_s = 20 + int(5 * sum(seconds for seconds, _ in here))
    return running.outcome(path, changes.mutated(source, mutant), [test for _, test in sorted(here)], limit_s)


if __name__ == "__main__":
    main()
