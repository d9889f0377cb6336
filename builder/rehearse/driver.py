"""Executes one notebook or script, inside the sandbox; started by file path, imports nothing of builder.

Expects: `driver.py NOTEBOOK CORES PROCESSES` (an .ipynb, or a .py that is run as plain Python; numbers of the cores to use
    with commas, or empty: all; processes at a time, 0 where those of others would be counted too), the working folder as current
    folder, the environment of the notebook.
Produces: one JSON object a line on the stdout that it was started with, for the engine:
    {"kind": "notebook", "notebook": {...}}             once, before anything runs
    {"kind": "begin", "place": "code cell 1 of 3: import ..."}  before each cell
    {"kind": "log", "stream": "stdout", "data": "..."}  as cells print; a failing cell's traceback on "stderr"
    {"kind": "cell", "index": 2, "cell": {...}}         each cell after it ran, with its outputs
    {"kind": "done", "left": [...], "bytes": n} or {"kind": "failed", "failure": "...", ...}   last, with the command lines of
        processes that are still there and the bytes of all outputs; when neither comes, this process was killed
Never: writes a file. What libraries write to the raw stdout and stderr goes to stderr, as it is.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
KEPT = 10 << 20  # bytes of output that the executed notebook keeps; a notebook that prints a gigabyte must not fill memory
MOST_LEFT = 10
THREADS = 4  # of each process, on average
OUTPUTS = ("stream", "display_data", "execute_result", "update_display_data")
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
        self._turn = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        line = json.dumps({"kind": kind, **fields}) + "\n"
        with self._turn:
            self._stream.write(line)
            self._stream.flush()


def plain(text: str) -> str:
    """The text without terminal colours."""
    return ANSI.sub("", text)


def preview(source: str) -> str:
    """The first lines of a cell, on one line."""
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    text = "; ".join(lines[:3])
    return text if len(text) <= PREVIEW and len(lines) <= 3 else text[:PREVIEW].rstrip() + " ..."


def be_considerate(cores: str, processes: int) -> None:
    """Use only these cores, leave no core dump among the outputs, and go first when the host runs out of memory.

    Whoever forks without end is counted and stopped from outside; a limit of our own only keeps the host alive until then. It
    counts threads, does not bind root, and counted the processes of the whole host before Linux 5.14.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        release = os.uname().release.split(".")
        if processes and (int(release[0]), int(re.sub(r"\D.*", "", release[1]))) >= (5, 14):
            resource.setrlimit(resource.RLIMIT_NPROC, (THREADS * processes, THREADS * processes))
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
    return f"exit code {code}" if code >= 0 else f"signal {name_of(-code)}"


def make_client(notebook: Any, channel: Channel) -> Any:
    """A notebook client that reports to the engine while it works."""
    from nbclient import NotebookClient  # what it brings along takes longest to import

    class Reporter(NotebookClient):
        at = 0  # index of the cell that runs
        died = ""
        made = 0  # bytes of all outputs

        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            content = msg["content"]
            if msg["msg_type"] == "stream":
                channel.send("log", stream=content["name"], data=content["text"])
            if msg["msg_type"] in OUTPUTS:
                self.made += _length(content.get("text", "")) + sum(map(_length, content.get("data", {}).values()))
                if self.made > KEPT:
                    return None
            return super().process_message(msg, cell, cell_index)

        async def async_execute_cell(self, cell: Any, cell_index: int, *rest: Any, **options: Any) -> Any:
            self.at = cell_index
            if cell.cell_type == "code" and cell.source.strip():
                channel.send("begin", place=place(self.nb, cell_index))
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


def _length(value: Any) -> int:
    """Bytes of one output, roughly: pictures and texts are strings, the rest is small."""
    return len(value) if isinstance(value, str) else len(json.dumps(value, default=str))


def place(notebook: Any, index: int) -> str:
    """Where cell `index` is, for a person: its number among the code cells and how it begins."""
    codes = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    return f"code cell {codes.index(index) + 1} of {len(codes)}: {preview(notebook.cells[index].source)}"


def execute(client: Any, notebook: Any, channel: Channel) -> str:
    """Run all cells up to the first that fails. Returns the failure, empty when there is none."""
    from nbclient.exceptions import CellExecutionError, DeadKernelError

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


def run_notebook(path: str, channel: Channel) -> tuple[str, int]:
    """(failure, bytes of all outputs) of a notebook."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 -- any damaged file
        return f"not a notebook: {type(error).__name__}: {str(error).splitlines()[0]}", 0
    channel.send("notebook", notebook=notebook)
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        return "the notebook names no kernel: its metadata has no kernelspec (expected python3)", 0
    client = make_client(notebook, channel)
    return execute(client, notebook, channel), client.made


def run_script(path: str, channel: Channel) -> str:
    """Run a script kernel as Kaggle does: plain Python. Returns the failure, empty when it exits with 0."""
    channel.send("begin", place="the script")
    process = subprocess.Popen([sys.executable, path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    last: list[str] = []

    def pass_on(stream: Any, name: str) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while chunk := stream.read1(1 << 16):
            text = decoder.decode(chunk)
            channel.send("log", stream=name, data=text)
            if name == "stderr":
                last[:] = [("".join(last) + text)[-4000:]]

    streams = ((process.stdout, "stdout"), (process.stderr, "stderr"))
    readers = [threading.Thread(target=pass_on, args=pair, daemon=True) for pair in streams]
    for reader in readers:
        reader.start()
    code = process.wait()
    for reader in readers:  # a process that it left behind may hold the pipes open
        reader.join(1.0)
    lines = "".join(last).strip().splitlines()
    if code > 0:
        return f"{lines[-1] if lines else 'the script failed without a message'} (exit code {code})"
    return f"the script was killed by signal {name_of(-code)}" if code else ""


def name_of(number: int) -> str:
    """A signal's name."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return str(number)


def still_there() -> list[str]:
    """Command lines of the processes that the notebook left behind: what our launcher has below it, besides us."""
    parents, found = {}, []
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else []:  # noqa: PTH112, PTH208
        with contextlib.suppress(OSError, ValueError, IndexError):
            if entry.isdigit():
                words = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if words[0] != "Z":
                    parents[int(entry)] = int(words[1])
    for pid in sorted(parents):
        above = pid
        while above in parents and above not in {os.getpid(), os.getppid()}:
            above = parents[above]
        if above == os.getppid() and pid != above:
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()[:PREVIEW])
    return found[:MOST_LEFT]


def main(path: str, cores: str, processes: str) -> None:
    channel = Channel(take_stdout())
    be_considerate(cores, int(processes))
    failure, made = (run_script(path, channel), 0) if path.endswith(".py") else run_notebook(path, channel)
    left = still_there()
    if failure:
        channel.send("failed", failure=failure, left=left, bytes=made)
    else:
        channel.send("done", left=left, bytes=made)


if __name__ == "__main__":
    main(*sys.argv[1:])
