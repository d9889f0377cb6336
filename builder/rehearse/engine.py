"""Runs one notebook or script as Kaggle would: a Session in, an Outcome out.

Expects: a Session (session.py). Its folder may hold an earlier run, which is replaced.
Produces: `working/`, `log.json`, `timeline.json`, `executed.ipynb` in that folder, whatever happens to the notebook.
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
from builder.rehearse import cgroup, isolation, sandbox, watch
from builder.rehearse.cgroup import Group
from builder.rehearse.isolation import NONE, Level
from builder.rehearse.journal import Journal
from builder.rehearse.limits import COLUMNS, MB, Breach, Limits
from builder.rehearse.session import CANCELLED, COMPLETE, ERROR, TIMEOUT, Outcome, Session

LABEL_TIMEOUT, LABEL_EXCEPTION, LABEL_COMPUTE = (
    "Notebook Timeout",
    "Notebook Threw Exception",
    "Notebook Exceeded Allowed Compute",
)
TICK_S = 0.1
DRAIN_LIMIT_S = 10.0
NO_FORK = "BlockingIOError: [Errno 11]"  # from the limit that the driver sets
QUIET_S = 1.0  # from here on, silence is worth a word

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
    with sandbox.prepared(session, level) as box, cgroup.group(session.memory, session.processes) as group:
        journal = Journal(session.folder, on_log)
        # Started by this very thread, which stays until the end: the parent-death signal counts threads as parents.
        process = subprocess.Popen(
            group.wrap(box.command) if group else box.command,
            env=box.environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        attempt = _Attempt(session, level, journal, process, group)
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
    exceeded: str = ""


class _Attempt:
    """A started notebook: hears what the driver says, looks at memory, disk and clock."""

    def __init__(
        self, session: Session, level: Level, journal: Journal, process: subprocess.Popen[bytes], group: Group | None
    ) -> None:
        self._session = session
        self._level = level
        self._journal = journal
        self._process = process
        self._group = group
        self._started = self._ended = self._heard = started = journal.started
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=256)
        self._notebook: dict[str, Any] | None = None
        self._result: str | None = None  # empty: done; text: failed with it; None: the driver has not said
        self._last: dict[str, Any] = {}  # the driver's last message
        self._noise = ""  # what came on the raw stderr before the driver spoke
        self._place = ""  # the cell that runs
        self._limits = Limits(session, process.pid, started)
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
        if kind in ("noise", "log"):
            self._heard = time.monotonic()
        if kind == "noise":
            if not self._began():
                self._noise = (self._noise + value)[-4000:]
            self._journal.add("stderr", value)
        elif kind == "log":
            self._journal.add(value["stream"], value["data"])
        elif kind == "begin":
            self._place = value["place"]
        elif kind == "notebook":
            self._notebook = value["notebook"]
        elif kind == "cell" and self._notebook is not None:
            self._notebook["cells"][value["index"]] = value["cell"]
        elif kind in ("done", "failed"):
            self._result, self._last = value.get("failure", ""), value

    def _began(self) -> bool:
        return self._notebook is not None or bool(self._place)

    def _violation(self, stop: threading.Event | None) -> _Ending | None:
        if stop is not None and stop.is_set():
            return _Ending(CANCELLED, None, "the run was cancelled")
        breach = self._limits.look()
        return self._breached(breach) if breach else None

    def _breached(self, breach: Breach) -> _Ending:
        details = [f"in {self._place}"] if self._place else []
        if breach.what == "time" and self._quiet() >= QUIET_S:
            details.append(f"no output for {self._quiet():.0f} s")
        words = f"{breach.words} ({'; '.join(details)})" if details else breach.words
        if breach.what == "time":
            return _Ending(TIMEOUT, LABEL_TIMEOUT, words, breach.what)
        return _Ending(ERROR, LABEL_COMPUTE, words, breach.what)

    def _quiet(self) -> float:
        return max(0.0, time.monotonic() - self._heard)

    def finish(self) -> None:
        """End every process, hear the last words, write the log and the executed notebook."""
        try:
            watch.end(self._process, isolated=self._level.name != NONE)
        finally:
            self._ended = time.monotonic()
            self._limits.close()
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
            timeline = {"columns": COLUMNS, "rows": self._limits.rows()}
            workspace.write_text(self._session.folder / sandbox.TIMELINE, json.dumps(timeline) + "\n")
            if self._notebook is not None:
                text = json.dumps(self._notebook, indent=1, ensure_ascii=False) + "\n"
                workspace.write_text(self._session.folder / "executed.ipynb", text)

    def outcome(self, ending: _Ending | None) -> Outcome:
        """How it ended. Raises RunError when it did not even begin."""
        late = None if ending else self._limits.look_at_disk()
        ending = ending or (self._breached(late) if late else self._own_ending())
        enforced, missing = isolation.guarantees(self._level, self._session.cores)
        return Outcome(
            status=ending.status,
            label=ending.label,
            failure=ending.failure,
            seconds=round(self._ended - self._started, 3),
            peak_mb=round(self._limits.peak / MB, 1),
            disk_mb=round(watch.folder_size(self._working) / MB, 3),
            enforced=enforced,
            not_enforced=missing,
            place="" if ending.status == COMPLETE else self._place,
            quiet_s=round(max(0.0, self._ended - self._heard), 3),
            exceeded=ending.exceeded,
            left=tuple(self._last.get("left", ())),
            log_cut=self._journal.left_out,
            executed_mb=round(self._last.get("bytes", 0) / MB, 3),
        )

    def _own_ending(self) -> _Ending:
        if self._group and self._group.ran_out():
            words = f"the notebook used more memory than its machine has, {self._session.memory / MB:.0f} MB"
            return self._breached(Breach("memory", words))
        if self._result and self._result.startswith(NO_FORK):
            words = f"the notebook could not start another process, {self._limits.processes} were running"
            return self._breached(Breach("processes", words))
        if self._result == "":
            return _Ending(COMPLETE, None, "")
        if self._result is not None:
            return _Ending(ERROR, LABEL_EXCEPTION, self._result)
        if self._began():
            return _Ending(ERROR, LABEL_EXCEPTION, f"the notebook's process was killed (exit code {self._process.returncode})")
        raise RunError(
            f"the sandbox '{self._level.name}' did not start the notebook",
            found=self._noise.strip()[-1000:] or f"exit code {self._process.returncode} without a message",
            expected="ipykernel and nbclient beside its Python, and a working sandbox",
            remedy=f"try {isolation.VARIABLE}=none; pip install ipykernel nbclient nbformat",
        )


def _read_messages(stream: IO[bytes], events: queue.Queue[tuple[str, Any]]) -> None:
    """Pass on what the driver says, line by line, until it is gone."""
    for line in stream:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # cut off by a kill
            message = json.loads(line)
            events.put((message["kind"], message))


def _read_noise(stream: IO[bytes], events: queue.Queue[tuple[str, Any]]) -> None:
    """Pass on raw stderr as it comes."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := stream.read1(1 << 16):  # type: ignore[attr-defined]
        events.put(("noise", decoder.decode(chunk)))
