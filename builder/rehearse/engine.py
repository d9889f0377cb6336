"""Runs one notebook as Kaggle would: a Session in, an Outcome out.

Expects: a Session (session.py). Its folder may hold an earlier run, which is replaced.
Produces: `working/`, `log.json`, `executed.ipynb` in that folder, whatever happens to the notebook.
Never: changes the notebook or an input; leaves a process, or a file outside the folder; lets a notebook's fault become an
    exception (those are Outcomes; exceptions are the caller's errors, or a sandbox that does not start).
"""

from __future__ import annotations

import codecs
import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from builder import workspace
from builder.errors import RunError
from builder.rehearse import isolation, sandbox, watch
from builder.rehearse.isolation import NONE, Level
from builder.rehearse.journal import Journal
from builder.rehearse.session import CANCELLED, COMPLETE, ERROR, TIMEOUT, Outcome, Session

LABEL_TIMEOUT, LABEL_EXCEPTION, LABEL_COMPUTE = (
    "Notebook Timeout",
    "Notebook Threw Exception",
    "Notebook Exceeded Allowed Compute",
)
TICK_S = 0.1
SAMPLE_S = 0.25
SHARE = 20  # looking at memory or disk may take one part in so many of our time
DRAIN_LIMIT_S = 10.0
MB = 1e6

OnLog = Callable[[dict[str, Any]], None]


def run(session: Session, *, on_log: OnLog | None = None, stop: threading.Event | None = None) -> Outcome:
    """Execute a session's notebook and say how it ended. Blocks at most `limit_s` and a few seconds.

    Args:
        session: What to run, on what, under which limits.
        on_log: Called in this thread with each log entry as it comes.
        stop: Set by another thread to cancel the run.

    Raises:
        UserError: The session names a missing file, an impossible path or limit, or KKB_SANDBOX a level that does not work.
        RunError: The sandbox itself did not start.
    """
    level = isolation.choose()
    with sandbox.prepared(session, level) as box:
        started = time.monotonic()
        journal = Journal(session.folder, lambda: time.monotonic() - started, on_log)
        # Started by this very thread, which stays until the end: the parent-death signal counts threads as parents.
        process = subprocess.Popen(
            box.command,
            env=box.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        attempt = _Attempt(session, level, journal, process, started)
        try:
            ending = attempt.follow(stop)
        finally:
            attempt.finish()
        return attempt.outcome(ending)


def capabilities() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a session on this host would enforce, and what not, with reasons."""
    return isolation.guarantees(isolation.choose())


@dataclass(frozen=True)
class _Ending:
    status: str
    label: str | None
    failure: str


class _Attempt:
    """A started notebook: hears what the driver says, looks at memory, disk and clock."""

    def __init__(
        self, session: Session, level: Level, journal: Journal, process: subprocess.Popen[bytes], started: float
    ) -> None:
        self._session = session
        self._level = level
        self._journal = journal
        self._process = process
        self._started = started
        self._ended = started
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=256)
        self._notebook: dict[str, Any] | None = None
        self._result: str | None = None  # empty: done; text: failed with it; None: the driver has not said
        self._noise = ""  # what came on the raw stderr before the driver spoke
        self._peak = self._disk = 0
        self._next_memory = self._next_disk = 0.0
        self._working = session.folder.resolve() / "working"
        pairs = ((_read_messages, process.stdout), (_read_noise, process.stderr))
        self._readers = [threading.Thread(target=read, args=(stream, self._events), daemon=True) for read, stream in pairs]
        for reader in self._readers:
            reader.start()

    def follow(self, stop: threading.Event | None) -> _Ending | None:
        """Until the notebook ends (None) or has to be ended."""
        while True:
            self._listen(TICK_S)
            ending = self._violation(stop)
            if ending is not None:
                return ending
            if self._process.poll() is not None and not self._reading() and self._events.empty():
                return None

    def _reading(self) -> bool:
        return any(reader.is_alive() for reader in self._readers)

    def _listen(self, timeout: float) -> None:
        """Take in what was said so far, but look at the clock in between."""
        with contextlib.suppress(queue.Empty):
            kind, value = self._events.get(timeout=timeout)
            self._hear(kind, value)
            for _ in range(100):
                kind, value = self._events.get_nowait()
                self._hear(kind, value)

    def _hear(self, kind: str, value: Any) -> None:
        if kind == "noise":
            if self._notebook is None:
                self._noise = (self._noise + value)[-4000:]
            self._journal.add("stderr", value)
        elif kind == "log":
            self._journal.add(value["stream"], value["data"])
        elif kind == "notebook":
            self._notebook = value["notebook"]
        elif kind == "cell" and self._notebook is not None:
            self._notebook["cells"][value["index"]] = value["cell"]
        elif kind in ("done", "failed"):
            self._result = value.get("failure", "")

    def _violation(self, stop: threading.Event | None) -> _Ending | None:
        now = time.monotonic()
        if stop is not None and stop.is_set():
            return _Ending(CANCELLED, None, "the run was cancelled")
        if now - self._started >= self._session.limit_s:
            return _Ending(TIMEOUT, LABEL_TIMEOUT, f"the notebook did not end within {self._session.limit_s:g} s")
        if now >= self._next_memory:
            used = watch.tree_memory(self._process.pid)
            self._next_memory = _later(now, SAMPLE_S)
            self._peak = max(self._peak, used)
            if used > self._session.memory:
                return _Ending(ERROR, LABEL_COMPUTE, _exceeded("memory", used, self._session.memory))
        if now >= self._next_disk:
            self._next_disk = _later(now, SAMPLE_S)
            return self._disk_violation()
        return None

    def _disk_violation(self) -> _Ending | None:
        before = time.monotonic()
        self._disk = watch.folder_size(self._working)
        self._next_disk = max(self._next_disk, _later(before, SAMPLE_S))
        if self._disk > self._session.working:
            return _Ending(ERROR, LABEL_COMPUTE, _exceeded("space in /kaggle/working", self._disk, self._session.working))
        return None

    def finish(self) -> None:
        """End every process, hear the last words, write the log and the executed notebook."""
        try:
            watch.end(self._process, isolated=self._level.name != NONE)
        finally:
            self._ended = time.monotonic()
            while self._reading() and time.monotonic() - self._ended < DRAIN_LIMIT_S:
                self._listen(TICK_S)
            while not self._events.empty():
                self._listen(TICK_S)
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None and not self._reading():
                    stream.close()
            for name, what in sandbox.drop_links(self._working).items():
                self._journal.add("stderr", f"[kkb] {name} is {what}: it is not kept\n")
            self._journal.close()
            if self._notebook is not None:
                text = json.dumps(self._notebook, indent=1, ensure_ascii=False) + "\n"
                workspace.write_text(self._session.folder / "executed.ipynb", text)

    def outcome(self, ending: _Ending | None) -> Outcome:
        """How it ended. Raises RunError when it did not even begin."""
        ending = ending or self._disk_violation() or self._own_ending()
        self._disk = watch.folder_size(self._working)
        enforced, missing = isolation.guarantees(self._level, self._session.cores)
        return Outcome(
            status=ending.status,
            label=ending.label,
            failure=ending.failure,
            seconds=round(self._ended - self._started, 3),
            peak_mb=round(self._peak / MB, 1),
            disk_mb=round(self._disk / MB, 3),
            enforced=enforced,
            not_enforced=missing,
        )

    def _own_ending(self) -> _Ending:
        if self._result == "":
            return _Ending(COMPLETE, None, "")
        if self._result is not None:
            return _Ending(ERROR, LABEL_EXCEPTION, self._result)
        if self._notebook is not None:
            return _Ending(ERROR, LABEL_EXCEPTION, f"the notebook's process was killed (exit code {self._process.returncode})")
        raise RunError(
            f"the sandbox '{self._level.name}' did not start the notebook",
            found=self._noise.strip()[-1000:] or f"exit code {self._process.returncode} without a message",
            expected="ipykernel and nbclient beside this Python, and a working sandbox",
            remedy=f"try {isolation.VARIABLE}=none; pip install ipykernel nbclient nbformat",
        )


def _later(before: float, interval: float) -> float:
    """When to look again: after the interval, or later when looking is expensive."""
    now = time.monotonic()
    return now + max(interval, SHARE * (now - before))


def _exceeded(what: str, used: int, allowed: int) -> str:
    return f"the notebook used {used / MB:.0f} MB of {what}, its machine has {allowed / MB:.0f} MB"


def _read_messages(stream: IO[bytes], events: queue.Queue[tuple[str, Any]]) -> None:
    """Pass on what the driver says, line by line, until it is gone."""
    for line in stream:
        try:
            message = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        events.put((message["kind"], message))


def _read_noise(stream: IO[bytes], events: queue.Queue[tuple[str, Any]]) -> None:
    """Pass on raw stderr as it comes."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
        events.put(("noise", decoder.decode(chunk)))
