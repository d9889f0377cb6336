"""Kernels, from the folder to what their run leaves behind: pushing.py saves, watching.py waits, runs.py fetches."""

from builder.remote.pushing import Pushed, push
from builder.remote.runs import (
    Latest,
    Output,
    Status,
    failed,
    find,
    latest,
    logs,
    output,
    output_file,
    output_names,
    parse_log,
    split,
    status,
)
from builder.remote.watching import wait

__all__ = [
    "Latest",
    "Output",
    "Pushed",
    "Status",
    "failed",
    "find",
    "latest",
    "logs",
    "output",
    "output_file",
    "output_names",
    "parse_log",
    "push",
    "split",
    "status",
    "wait",
]
