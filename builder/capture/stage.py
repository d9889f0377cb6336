"""kkb machine capture: push the probe, wait, and write what it saw as a machine of the workspace.

Expects: a machine that is known, whose shape is asked for and whose limits are kept: a session cannot see those.
Produces: `machines/<name>.toml` in the workspace, found before the built-in one and meant to be committed.
Never: overwrites it with a half-seen machine; takes the stand-in, which is this computer, for a machine of Kaggle's.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import machines
from builder.bundle import folders
from builder.bundle.record import Content, Dataset
from builder.capture import probe, seen
from builder.config import Bundle
from builder.errors import RunError, UserError
from builder.machines import Machine, writing
from builder.progress import Report, silent
from builder.rehearse import labour
from builder.render.stage import literal
from builder.workspace import Workspace, pretty_json, read_json, replacing_folder, sha256_file, write_text

if TYPE_CHECKING:
    from builder.remote.client import Client
    from builder.remote.retry import Polling

RUN_S = 900.0
NOTEBOOK, METADATA = "notebook.ipynb", "kernel-metadata.json"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
STANDIN = "standin"


@dataclass(frozen=True)
class Captured:
    """A machine that was written.

    Attributes:
        machine: As it is now.
        kernel: `owner/slug` of the probe.
        version: Its version.
        changes: What differs from what was known, in words.
    """

    machine: Machine
    kernel: str
    version: int
    changes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "machine": self.machine.name,
            "file": self.machine.file,
            "kernel": self.kernel,
            "kernel_version": self.version,
            "docker_image": self.machine.docker_image,
            "python": list(self.machine.python),
            "packages": len(self.machine.packages),
            "changes": list(self.changes),
        }


def capture(
    client: Client,
    workspace: Workspace,
    name: str,
    owner: str,
    *,
    wait_s: float,
    standin: bool = False,
    report: Report = silent,
    polling: Polling | None = None,
) -> Captured:
    """Run the probe on machine `name` and write what it saw.

    Args:
        client: The door.
        workspace: Where the machine is written, and where the probe's folders lie.
        name: A machine that is known.
        owner: Whose kernel it will be.
        wait_s: Longest wait for the run, the queue included.
        standin: Whether the client talks to the stand-in; then the machine is called `standin`.
        report: Told what goes on.
        polling: How often to look.

    Raises:
        UserError: There is no such machine.
        RunError: The probe failed, or left nothing behind.
        WaitError: It took too long; the run goes on, and the same command takes it up.
    """
    from builder.remote import datasets, kernels

    base = machines.load(name, workspace.root)
    dataset = _dataset(workspace, owner)
    uploaded = datasets.ensure(client, dataset, on_progress=report, polling=polling)
    folder = _kernel(workspace, base, owner, uploaded.slug)
    pushed = kernels.push(client, folder, again=True)
    end = kernels.wait(
        client, pushed.kernel, pushed.version, limit_s=wait_s, run_limit_s=RUN_S, on_progress=report, polling=polling
    )
    if not end.ok:
        raise kernels.failed(pushed.kernel, pushed.version, end)
    output = workspace.private / "runs" / folder.name
    kernels.output(client, pushed.kernel, pushed.version, output, on_progress=report)
    found = _read(output)
    newest = kernels.latest(client, pushed.kernel)
    if newest is None or newest.version != pushed.version:
        raise RunError(
            "another version of the probe was saved meanwhile",
            found=newest and newest.version,
            expected=pushed.version,
            remedy="run the same command again",
        )
    origin = "the stand-in, which is this computer" if standin else f"kernel {pushed.kernel} version {pushed.version}"
    day = dt.datetime.fromtimestamp((output / probe.FILE).stat().st_mtime, dt.UTC).date()
    raw = seen.tables(found, base, newest.image, f"{day}; {origin}", dataset.name, strict=not standin)
    machine = _write(workspace, STANDIN if standin else name, raw, origin)
    return Captured(machine, pushed.kernel, pushed.version, seen.changes(base, machine))


def _dataset(workspace: Workspace, owner: str) -> Path:
    """A dataset of one small file: where it is mounted tells the layout."""
    note = workspace.cache / "probe" / "about.txt"
    write_text(note, "Mounted by `kkb machine capture`, to see where datasets are mounted.\n")
    file = Content(note.name, note, note.stat().st_size, sha256_file(note))
    [made] = folders.write([Dataset("probe", "kkb-probe", "kkb machine probe", (file,))], workspace, owner, Bundle())
    return Path(made.path)


def _kernel(workspace: Workspace, base: Machine, owner: str, dataset: str) -> Path:
    """The probe's folder, as `kaggle kernels push -p` takes it."""
    slug = f"kkb-machine-{base.name}"
    source = Path(probe.__file__).read_text("utf-8")
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    sources = {"labour": _labour(), "probe": source}
    cells = [{**cell, "id": name, "source": text.splitlines(keepends=True)} for name, text in sources.items()]
    notebook = {"cells": cells, "metadata": {"kernelspec": KERNELSPEC}, "nbformat": 4, "nbformat_minor": 5}
    metadata: dict[str, Any] = {
        "id": f"{owner}/{slug}",
        "title": slug,
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": base.accelerator == "cuda",
        "enable_internet": False,
        "dataset_sources": [dataset],
    }
    if base.shape:
        metadata["machine_shape"] = base.shape
    folder = workspace.private / "capture" / slug
    with replacing_folder(folder) as temporary:
        write_text(temporary / NOTEBOOK, pretty_json(notebook))
        write_text(temporary / METADATA, pretty_json(metadata))
    return folder


def _labour() -> str:
    """The cell that puts the program by which machines are compared where the probe looks for it."""
    program = literal(Path(labour.__file__).read_text("utf-8"))
    place = f"Path(tempfile.gettempdir(), {probe.LABOUR!r})"
    return f"import tempfile\nfrom pathlib import Path\n\nPROGRAM = {program}\n{place}.write_text(PROGRAM, 'utf-8')\n"


def _read(output: Path) -> Mapping[str, Any]:
    """What the probe wrote. Raises RunError when it is not all there."""
    try:
        found = read_json(output / probe.FILE, remedy="")
    except UserError as error:
        raise RunError(
            f"the probe left no {probe.FILE}", file=output, found=error.what, remedy="run the same command again"
        ) from None
    lacking = sorted({"python", "glibc", "packages", "cores", "memory", "gpus", "disks", "mounts"} - set(found or ()))
    if lacking:
        raise RunError("the probe saw too little", file=output / probe.FILE, found=f"no {', '.join(lacking)}")
    return dict(found)


def _write(workspace: Workspace, name: str, raw: Mapping[str, Any], origin: str) -> Machine:
    """Write the machine's file, after reading it back from its text."""
    path = workspace.root / machines.FOLDER / f"{name}.toml"
    comment = f"Captured from {origin}.\nCommit it: kernels are planned, bundled and rendered for what it says."
    text = writing.dump(raw, comment)
    machines.parse(name, tomllib.loads(text), path)
    write_text(path, text)
    return machines.load(name, workspace.root)
