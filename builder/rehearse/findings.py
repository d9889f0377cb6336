"""What a rehearsal says: findings, each with its remedy, and the evidence for the first of them.

Pure: outcomes, logs and file lists in, findings out. Severities: `must-fix` (it would fail), `should-fix` (it may), `note`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.rehearse.isolation import needs_sandbox
from builder.rehearse.session import Outcome

SCORED = "Scored"
MUST, SHOULD, NOTE = "must-fix", "should-fix", "note"
LAST_LINES, LINE = 80, 300  # a traceback through a few libraries must not hide what stands before it
OUTPUT_MB = 10.0
OUTPUT_FILES = 1000  # staff: a limit on what a dataset made of outputs may hold


@dataclass(frozen=True)
class Finding:
    """Something a person should know."""

    severity: str
    code: str
    message: str
    remedy: str
    file: str


@dataclass(frozen=True)
class Evidence:
    """Where a run failed.

    Attributes:
        run: `commit` or `rerun`.
        place: The cell that ran.
        exceeded: `time`, `memory`, `processes`, `working`, `scratch`; empty when nothing was.
        quiet_s: Seconds without output before the end.
        log: The last lines of the log.
    """

    run: str
    place: str
    exceeded: str
    quiet_s: float
    log: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        return asdict(self)


def unenforced(missing: Iterable[str], elsewhere: str) -> list[Finding]:
    """Notes on what did not hold here. `elsewhere`: what to do where the host is too small, which no sandbox mends."""
    sandbox = "rehearse on Linux with bubblewrap installed"
    return [
        Finding(NOTE, "not-enforced", f"not enforced here: {what}", sandbox if needs_sandbox(what) else elsewhere, "")
        for what in missing
    ]


# Pattern in the failure or the log, code, remedy; the first that is found wins, so the more particular ones come first.
CAUSES: tuple[tuple[str, str, str], ...] = (
    (r"StdinNotImplementedError|raw_input was called", "asks-for-input", "nobody is there to answer: set the value in the code"),
    (r"is not a supported wheel on this platform", "wheel-does-not-fit",
     "build or download the wheel for the Python of the image"),
    (r"--no-index|No matching distribution found|Could not find a version that satisfies", "wheel-missing",
     "there is no index to ask: put the wheel and what it needs into a dataset; pip install --no-index --find-links=DIR"),
    (r"name resolution|Name or service not known|Network is unreachable|Max retries exceeded|URLError|ConnectionError", "network",
     "there is no internet: put what is downloaded into a dataset"),
    (r"No module named 'kaggle_secrets'", "secrets", "secrets are asked from a server: a rerun has no network"),
    (r"No module named '", "module-missing", "add its wheel as a dataset and install it with pip --no-index"),
    (r"Read-only file system: '?/kaggle/input|PermissionError.*/kaggle/input|Read-only file system", "input-is-read-only",
     "copy what is changed to /kaggle/temp first"),
    (r"Found no NVIDIA driver|not compiled with CUDA|no CUDA-capable device|CUDA is not available|libcuda|CUDA driver", "no-gpu",
     "ask for a machine with a GPU, or choose the device with torch.cuda.is_available()"),
    (r"Is a directory|is a directory", "archive-unpacked",
     "Kaggle unpacks archives, .pt and .pth too: ship .onnx, .safetensors or .bin, or join the folder to a file again"),
    (r"No space left on device", "disk-full", "write less, or remove what is not needed any more"),
    (r"the table has no column|needs column '", "column-missing",
     "the table of this run lacks a column that the models read; train without it, or make it in hooks.py (`rows`)"),
    (r"MemoryError|Cannot allocate memory", "memory", "read the data in parts, and hold fewer models at a time"),
    (r"SystemExit", "exits", "a cell that ends the program counts as an error in a notebook: let the cell end"),
    (r"signal SIGKILL|signal SIGSEGV|kernel died|killed by signal", "killed", "look at native code and at memory in this cell"),
)  # fmt: skip
EXCEEDED = {
    "time": "do less per row, or stop in time and write what there is",
    "memory": "read the data in parts, hold fewer models at a time, and start fewer workers",
    "processes": "start fewer workers, and wait for those that ended",
    "working": "write scratch files to /kaggle/temp and remove what is not output",
    "scratch": "remove scratch files when they are not needed any more",
}
LABELS = {
    "Submission CSV Not Found": "write the file to /kaggle/working, in the commit run and in the rerun alike",
    "Submission Format Error": "start from the sample submission of the run at hand, and write with index=False",
    "Submission Scoring Error": "fill every value, with the type that the sample submission shows",
}
PATH = re.compile(r"(?:No such file or directory|not found|does not exist)[^'\n]*'?(/kaggle/input/[^'\"\s]*)")
MISSING = re.compile(r"No such file or directory: '?([^'\n]+)'?")


def cause(label: str, text: str, exceeded: str, mounted: Mapping[str, str]) -> tuple[str, str]:
    """(code, remedy) of a failure.

    Args:
        label: Kaggle's label.
        text: What failed, and the last lines of the log.
        exceeded: What was exceeded.
        mounted: Slug -> where its folder is mounted.
    """
    found = next(((code, remedy) for pattern, code, remedy in CAUSES if re.search(pattern, text)), None)
    if exceeded and not (exceeded == "time" and found and found[0] == "network"):  # who waits for the network waits to the end
        return f"too-much-{exceeded}", EXCEEDED[exceeded]
    if label in LABELS:
        return label.lower().replace(" ", "-"), LABELS[label]
    path, missing = PATH.search(text), MISSING.search(text)
    if path:
        return _about_input(path[1], mounted)
    if not found and missing:
        where = "the current folder is /kaggle/working, and nothing of your machine is there"
        found = "file-missing", f"{missing[1]}: {where}"
    return found or (label.lower().replace(" ", "-"), "mend the cell that failed; the log shows its last lines")


def _about_input(path: str, mounted: Mapping[str, str]) -> tuple[str, str]:
    parts = path.split("/")
    for slug, place in mounted.items():
        if slug in parts and not (path + "/").startswith(place + "/"):
            return "mount-path", f"{slug} is mounted at {place} here; which layout a run gets is Kaggle's choice: look at both"
        if slug in parts:
            return "input-missing", f"{place} is mounted, but has no such file; hidden data need not have what the visible has"
    return "input-not-attached", f"attach it; mounted are {', '.join(mounted.values())}"


def remarks(name: str, outcome: Outcome, files: int, most_files: int) -> list[Finding]:
    """What does not fail a run, but should be known."""
    found = []

    def add(severity: str, code: str, message: str, remedy: str) -> None:
        found.append(Finding(severity, code, f"{name}: {message}", remedy, ""))

    if outcome.log_cut:
        add(SHOULD, "log-flood", f"{outcome.log_cut / 1e6:.0f} MB of the log are beyond what Kaggle keeps", "print less")
    if outcome.executed_mb > OUTPUT_MB:
        add(SHOULD, "huge-output", f"the cells show {outcome.executed_mb:.0f} MB", "show less, and smaller pictures")
    if files > (most_files or OUTPUT_FILES):
        words = f"{files} files are left in /kaggle/working, Kaggle lists {most_files or OUTPUT_FILES}"
        add(SHOULD, "too-many-files", words, "write scratch files to /kaggle/temp, or one archive")
    if outcome.left:
        words = f"{len(outcome.left)} processes were still running at the end, first: {outcome.left[0]}"
        add(NOTE, "left-running", words, "wait for them: what they write after the last cell is lost")
    return found


def last_lines(folder: Path) -> tuple[str, ...]:
    """The last lines of the log in a session's folder."""
    try:
        entries = json.loads((folder / "log.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    text = "".join(str(entry["data"]) for entry in entries[-200:])
    return tuple(line[:LINE] for line in text.splitlines()[-LAST_LINES:])
