"""Runs of kernels: how they are doing, their logs, and their output, brought home whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import RunError, UserError
from builder.remote.answers import RefusedError
from builder.remote.archives import inside
from builder.remote.progress import Meter, Progress
from builder.workspace import pretty_json, replacing_folder

if TYPE_CHECKING:
    from builder.remote.client import Client

COMPLETE, ERROR, CANCELLED, RUNNING, UNRUN = "COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED", "RUNNING", "NEW_SCRIPT"
OVER = (COMPLETE, ERROR, CANCELLED, UNRUN)
SILENCE_S = 300.0
LogEntry = dict[str, Any]


@dataclass(frozen=True)
class Latest:
    """The newest version of a kernel.

    Attributes:
        version: Its number.
        source: Its source.
        kind: `notebook` or `script`; empty when not told.
        image: The image it ran on, by digest; empty when not told.
    """

    version: int
    source: str
    kind: str = ""
    image: str = ""


@dataclass(frozen=True)
class Status:
    """How a run is doing.

    Attributes:
        state: `QUEUED`, `RUNNING`, `COMPLETE`, `ERROR`, `CANCEL_REQUESTED`, `CANCEL_ACKNOWLEDGED`, or `NEW_SCRIPT` for a version
            that was saved and not run.
        failure: What Kaggle says about a failure; empty when it says nothing.
    """

    state: str
    failure: str

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER

    @property
    def ok(self) -> bool:
        """Whether the run completed."""
        return self.state == COMPLETE

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Output:
    """What a run left behind.

    Attributes:
        folder: Where it is now.
        files: Names of its files relative to it, sorted, without the log.
        log: Its log.
        bytes: Size of the files.
    """

    folder: Path
    files: tuple[str, ...]
    log: tuple[LogEntry, ...]
    bytes: int

    def record(self) -> dict[str, Any]:
        """As JSON, without the log, which is a file of its own."""
        return {"folder": str(self.folder), "files": list(self.files), "bytes": self.bytes}


def split(kernel: str) -> tuple[str, str]:
    """`owner/slug` as its two parts. Raises UserError when it has others."""
    parts = kernel.split("/")
    if len(parts) != 2 or not all(parts):
        raise UserError("not the name of a kernel", found=kernel, expected="owner/slug")
    return parts[0], parts[1]


def latest(client: Client, kernel: str) -> Latest | None:
    """The newest version, or None when there is no such kernel, or we may not see it."""
    owner, slug = split(kernel)
    try:
        answer = client.call("kernel", owner=owner, slug=slug, version=None)
    except RefusedError as error:
        if error.absent:
            return None
        raise
    metadata, blob = answer.get("metadata") or {}, answer.get("blob") or {}
    return Latest(
        version=int(metadata.get("currentVersionNumber") or 0),
        source=blob.get("source") or "",
        kind=str(metadata.get("kernelType") or "").lower(),
        image=metadata.get("dockerImage") or "",
    )


def find(client: Client, kernel: str, digest: str) -> int | None:
    """The newest version's number when its source carries the text `digest`, else None."""
    newest = latest(client, kernel)
    return newest.version or None if newest and digest in newest.source else None


def status(client: Client, kernel: str, version: int | None) -> Status:
    """How `version` is doing; None means the newest one.

    Raises:
        UserError: There is no such kernel or version, or it is not ours to see.
    """
    owner, slug = split(kernel)
    try:
        answer = client.call("kernel_status", owner=owner, slug=slug, version=version)
    except RefusedError as error:
        raise _missing(kernel, version, error) from None
    return Status(str(answer.get("status") or "QUEUED"), answer.get("failureMessage") or "")


def logs(client: Client, kernel: str, version: int | None) -> list[LogEntry]:
    """The log as Kaggle keeps it: {stream_name, time (seconds since the start), data}, in order."""
    owner, slug = split(kernel)
    try:
        page = client.call("kernel_output", owner=owner, slug=slug, version=version, page_token=None)
    except RefusedError as error:
        raise _missing(kernel, version, error) from None
    return parse_log(page.get("log") or "")


def output_names(client: Client, kernel: str, version: int | None) -> list[str]:
    """The names of the output files, sorted; nothing is downloaded."""
    owner, slug = split(kernel)
    try:
        found = list(client.pages("kernel_output", "files", owner=owner, slug=slug, version=version))
    except RefusedError as error:
        raise _missing(kernel, version, error) from None
    return sorted(file["fileName"] for file in found)


def output(client: Client, kernel: str, version: int | None, into: Path, *, on_progress: Progress | None = None) -> Output:
    """Bring all output files and the log (`<slug>.log`, a JSON array) into the folder `into`, whole or not at all."""
    owner, slug = split(kernel)
    meter = Meter(client, on_progress, None, f"output of {kernel}")
    names: list[str] = []
    log: list[LogEntry] = []
    with replacing_folder(into) as folder:
        try:
            for page in client.whole_pages("kernel_output", owner=owner, slug=slug, version=version):
                log = log or parse_log(page.get("log") or "")
                for file in page.get("files") or []:
                    _download(client, file, folder, meter)
                    names.append(file["fileName"])
        except RefusedError as error:
            raise _missing(kernel, version, error) from None
        (folder / f"{slug}.log").write_text(pretty_json(log), "utf-8")
    return Output(into, tuple(sorted(names)), tuple(log), meter.bytes)


def output_file(client: Client, kernel: str, version: int | None, name: str, into: Path) -> Path:
    """Bring one output file into the folder `into`. Raises RunError when the run left no such file."""
    owner, slug = split(kernel)
    meter = Meter(client, None, None, name)
    for file in client.pages("kernel_output", "files", owner=owner, slug=slug, version=version):
        if file["fileName"] == name:
            _download(client, file, into, meter)
            return inside(into, name)
    raise no_file(kernel, version, name, output_names(client, kernel, version))


def parse_log(text: str) -> list[LogEntry]:
    """A log as entries: Kaggle's JSON array, or any other text line by line."""
    try:
        entries = json.loads(text)
    except ValueError:
        entries = None
    if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
        return entries
    return [{"stream_name": "stdout", "time": 0.0, "data": line} for line in text.splitlines(keepends=True)]


def _download(client: Client, file: dict[str, Any], folder: Path, meter: Meter) -> None:
    target = inside(folder, file["fileName"])
    target.parent.mkdir(parents=True, exist_ok=True)
    meter.next_call()
    client.call("download", url=file["url"], path=str(target.resolve()), timeout_s=SILENCE_S, on_bytes=meter)


def _missing(kernel: str, version: int | None, error: RefusedError) -> UserError:
    if not error.absent:
        return error
    what = f"version {version} of kernel '{kernel}'" if version is not None else f"kernel '{kernel}'"
    return UserError(
        f"there is no {what} that these credentials may see",
        found=error.found,
        remedy="check the owner and the name; a deleted kernel must be pushed again",
    )


def no_file(kernel: str, version: int | None, file: str, names: Sequence[str]) -> RunError:
    """The error for a run that did not leave `file`."""
    return RunError(
        f"version {version} of '{kernel}' has no output file '{file}'",
        found=", ".join(names[:12]) or "no output",
        expected=file,
        remedy="set [competition] file to the name that the notebook writes",
    )


def failed(kernel: str, version: int, end: Status) -> RunError:
    """The error for a run that ended in another way than COMPLETE."""
    return RunError(
        f"version {version} of '{kernel}' did not complete",
        found=f"{end.state}: {end.failure}" if end.failure else end.state,
        expected=COMPLETE,
        remedy="read the end of its log (`kkb logs`)",
    )
