"""Executes one notebook, inside the sandbox; started by file path, imports nothing of builder.

Expects: `driver.py NOTEBOOK CORES` (numbers of the cores to use, commas between; empty: all), the working folder as current
    folder, the notebook's environment.
Produces: one JSON object a line on the stdout that it was started with, for the engine:
    {"kind": "notebook", "notebook": {...}}             once, before anything runs
    {"kind": "log", "stream": "stdout", "data": "..."}  as cells print; a failing cell's traceback on "stderr"
    {"kind": "cell", "index": 2, "cell": {...}}         each cell after it ran, with its outputs
    {"kind": "done"} or {"kind": "failed", "failure": "..."}   last; when neither comes, this process was killed
Never: writes a file. What libraries write to the raw stdout and stderr goes to stderr, as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
KEPT = 10 << 20  # bytes of printed text that the executed notebook keeps; a notebook that prints a gigabyte must not fill memory
PREVIEW = 100
LONGEST_ADDRESS = 90  # of a socket file; the kernel allows 107 bytes, and Jupyter appends a number


def take_stdout() -> int:
    """A private descriptor of the channel to the engine; descriptor 1 is stderr from now on."""
    channel = os.dup(1)  # not inheritable: neither the kernel nor what it starts can write to it
    os.dup2(2, 1)
    return channel


class Channel:
    """The way back to the engine."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def send(self, kind: str, **fields: Any) -> None:
        self._stream.write(json.dumps({"kind": kind, **fields}) + "\n")
        self._stream.flush()


def plain(text: str) -> str:
    """The text without terminal colours."""
    return ANSI.sub("", text)


def preview(source: str) -> str:
    """The first lines of a cell, on one line."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    text = "; ".join(lines[:3])
    return text if len(text) <= PREVIEW and len(lines) <= 3 else text[:PREVIEW].rstrip() + " ..."


def be_considerate(cores: str) -> None:
    """Use only these cores, leave no core dump among the outputs, and go first when the host runs out of memory."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if cores:
        os.sched_setaffinity(0, map(int, cores.split(",")))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def how_it_died(client: Any) -> str:
    """Exit code or signal of the kernel's process, as far as it is known."""
    process = getattr(getattr(client.km, "provisioner", None), "process", None)
    code = process.poll() if process is not None else None
    if code is None:
        return "its process is gone"
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def make_client(notebook: Any, channel: Channel) -> Any:
    """A notebook client that reports to the engine while it works."""
    from nbclient import NotebookClient  # what it brings along takes longest to import

    class Reporter(NotebookClient):
        at = 0  # index of the cell that runs
        died = ""
        _kept = 0

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "stream":
                text = msg["content"]["text"]
                channel.send("log", stream=msg["content"]["name"], data=text)
                self._kept += len(text)
                if self._kept > KEPT:
                    return None
            return super().process_message(msg, cell, cell_index)

        async def async_execute_cell(self, cell: Any, cell_index: int, *rest: Any, **options: Any) -> Any:
            self.at = cell_index
            try:
                return await super().async_execute_cell(cell, cell_index, *rest, **options)
            finally:
                channel.send("cell", index=cell_index, cell=cell)

        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            address = os.path.join(os.environ["TMPDIR"], "kernel")  # noqa: PTH118
            if len(address) <= LONGEST_ADDRESS:  # a socket file takes no port, which the notebook may want, and nobody can listen
                manager.transport, manager.ip = "ipc", address
            return manager

        async def _async_cleanup_kernel(self) -> None:
            self.died = how_it_died(self)  # afterwards nobody knows any more
            await super()._async_cleanup_kernel()

    quiet = ["--IPKernelApp.log_level=40"]  # its warnings about its own sockets are no part of a notebook's log
    return Reporter(notebook, timeout=None, startup_timeout=600, record_timing=False, extra_arguments=quiet)


def place(notebook: Any, index: int) -> str:
    """Where cell `index` is, for a person: its number among the code cells and how it begins."""
    codes = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    return f"code cell {codes.index(index) + 1} of {len(codes)}: {preview(notebook.cells[index].source)}"


def execute(notebook: Any, channel: Channel) -> str:
    """Run all cells up to the first that fails. Returns the failure, empty when there is none."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    client = make_client(notebook, channel)
    try:
        client.execute()
    except CellExecutionError as error:
        channel.send("log", stream="stderr", data=plain(error.traceback).rstrip() + "\n")
        return f"{error.ename}: {plain(error.evalue)} ({place(notebook, client.at)})"
    except DeadKernelError:
        return f"the kernel died, {client.died} ({place(notebook, client.at)})"
    except Exception as error:  # noqa: BLE001 -- whatever Jupyter raises, the run failed and says why
        return f"the notebook could not be run: {type(error).__name__}: {plain(str(error))}"
    return ""


def main(path: str, cores: str) -> None:
    channel = Channel(take_stdout())
    be_considerate(cores)
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 -- any damaged file
        channel.send("failed", failure=f"not a notebook: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    channel.send("notebook", notebook=notebook)
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        channel.send("failed", failure="the notebook names no kernel: its metadata has no kernelspec (expected python3)")
        return
    failure = execute(notebook, channel)
    if failure:
        channel.send("failed", failure=failure)
    else:
        channel.send("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
