"""From a log or an error label to what it means and what to look at. Pure text; knows nothing of the network.

The causes of the labels are Kaggle's own (code-competition debugging page, 2026); those of log lines are what these messages of
Python, Jupyter, CUDA and Linux mean in a session without internet and with limited memory, disk and time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CELL = re.compile(r"executing the following cell:\s*\n-{10,}\n(?P<source>.*?)\n-{10,}", re.DOTALL)
RAISED = re.compile(
    r"^(?P<line>(?:[\w.]+\.)?(?:\w+(?:Error|Exception|Exit|Interrupt)|Killed|StopIteration|StdinNotImplementedError)\b.*)$",
    re.MULTILINE,
)
TAIL_LINES = 25


@dataclass(frozen=True)
class Diagnosis:
    """What a failed run or submission means.

    Attributes:
        error: The line that names the failure; empty when there is none.
        cell: Source of the failing cell; empty when the log does not say.
        tail: The last lines of the log.
        meaning: What it means.
        remedy: What to look at or change.
    """

    error: str
    cell: str
    tail: str
    meaning: str
    remedy: str

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


# Pattern in the log, meaning, remedy; the first that is found wins, so the more particular ones come first.
LOG_CAUSES: tuple[tuple[str, str, str], ...] = (
    (r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|Failed to allocate memory for requested buffer", "the GPU ran out of memory",
     "use smaller batches or fewer models at a time"),
    (r"no kernel image is available|CUDA driver version is insufficient|libcu\w+\.so[.\d]*: cannot open",
     "the code was built for another CUDA or GPU", "bundle the builds that fit this machine (`kkb machine show`)"),
    (r"Found no NVIDIA driver|no CUDA-capable device|CUDA is not available|CUDAExecutionProvider.*not available",
     "the code needs a GPU and the session has none", "set [competition] machine to one with a GPU, or a CPU backend"),
    (r"No module named '(?P<name>[\w.]+)'", "a package is not in the image", "add it to [bundle] requirements"),
    (r"No matching distribution|Could not find a version that satisfies|is not a supported wheel on this platform",
     "a wheel is missing, or does not fit the Python of the image", "check [bundle] requirements and the image's Python tag"),
    (r"Temporary failure in name resolution|Name or service not known|Network is unreachable|Max retries exceeded",
     "the code wants the internet, which is off", "bundle what it downloads"),
    (r"No space left on device|Disk quota exceeded", "the disk is full",
     "write less to /kaggle/working; use scratch space for what is not output"),
    (r"No such file or directory: '?(?P<name>/kaggle/input[^'\s]*)", "an input is not where the code looks for it",
     "check that the dataset is attached, and the mount layout"),
    (r"the table has no column (?P<name>'[^']*')", "the table of this run lacks a column that the models read",
     "train without it, or make it in hooks.py (`rows`); rehearse with it missing (`kkb rehearse --all`)"),
    (r"sample.*differ|probe rows? .*differ", "this machine computes something else than the one that exported",
     "compare versions of the packages, precision and preprocessing"),
    (r"MemoryError|Cannot allocate memory|DeadKernelError|Kernel died|\bKilled\b|OOM", "the session ran out of memory",
     "load fewer models at a time, use smaller batches, or read the data in parts"),
    (r"CellTimeoutError|timed? ?out|exceeded.*(?:time|limit)", "the session ran into its time limit",
     "use fewer models or views or the work per sample"),
    (r"No kernel name found|No such kernel|kernelspec", "the notebook names no Jupyter kernel", "run `kkb render` again"),
    (r"SystemExit", "a cell ended the program, which counts as an error in a notebook", "raise an error, or let the cell end"),
)  # fmt: skip

LABELS: dict[str, tuple[str, str]] = {
    "Notebook Timeout": (
        "the rerun took longer than the competition allows; the hidden data can be much larger than the visible",
        "use fewer models or views, and rehearse with as many rows as the hidden test has",
    ),
    "Notebook Threw Exception": (
        "an error in the rerun that the visible data did not provoke",
        "rehearse on hidden sets (`kkb rehearse --rows`): missing, corrupt or unseen values, other ids, an empty test",
    ),
    "Notebook Exceeded Allowed Compute": (
        "the rerun used more memory or disk than there is; this label is not about time",
        "rehearse with the machine's memory; load fewer models at a time; write scratch files outside /kaggle/working",
    ),
    "Notebook Inference Server Error": (
        "the gateway called an endpoint that failed, was not registered, or was too slow",
        "rehearse with the competition's gateway",
    ),
    "Notebook Inference Server Never Started": (
        "this competition calls a server in the notebook, and none answered in time",
        "a notebook that only writes a file ends like this: `kaggle_evaluation` competitions cannot be served yet",
    ),
    "Submission CSV Not Found": (
        "the rerun ended without the submission file, often because an error was swallowed before",
        "check [competition] file, and that nothing in the notebook hides an exception",
    ),
    "Submission Scoring Error": (
        "the file was read but could not be scored: wrong rows or columns, empty or invalid values",
        "rehearse on a hidden set, and compare the file with sample_submission",
    ),
    "Submission Format Error": (
        "the file does not have the form that this competition wants",
        "compare its columns, ids and types with sample_submission",
    ),
    "Kaggle Error": ("a failure on Kaggle's side", "submit the same version once more (`kkb submit --again`)"),
}
UNKNOWN = ("the log does not show why", "read the whole log (`kkb logs`), and rehearse the same notebook (`kkb rehearse`)")


def of_log(entries: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """What the log of a failed run means."""
    text = ANSI.sub("", "".join(str(entry.get("data", "")) for entry in entries))
    raised = [match["line"].strip() for match in RAISED.finditer(text)]
    cells = [match["source"].strip() for match in CELL.finditer(text)]
    tail = "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
    meaning, remedy = _cause(raised[-1] if raised else "") or _cause(tail) or _cause(text) or _plain(raised)
    return Diagnosis(raised[-1] if raised else "", cells[-1] if cells else "", tail, meaning, remedy)


def of_submission(error: str) -> Diagnosis:
    """What the error text of a submission means. There is no log of a rerun."""
    for label, (meaning, remedy) in LABELS.items():
        if label.lower() in error.lower():
            return Diagnosis(error, "", "", meaning, remedy)
    return Diagnosis(error, "", "", "Kaggle says no more than this", "rehearse the same version on hidden sets (`kkb rehearse`)")


def _cause(text: str) -> tuple[str, str] | None:
    for pattern, meaning, remedy in LOG_CAUSES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            name = match.groupdict().get("name")
            return (f"{meaning}: {name}" if name else meaning), remedy
    return None


def _plain(raised: list[str]) -> tuple[str, str]:
    if raised:
        return "the notebook raised an error", "mend what the error names, then rehearse (`kkb rehearse`) before pushing again"
    return UNKNOWN
