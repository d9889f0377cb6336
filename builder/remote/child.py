"""The process in which the official client runs, because it prints, exits, waits for ever and acts on being imported.

Expects on stdin, one JSON value a line: first {"path": [...]} (the caller's sys.path), then requests {"id", "call", "arguments"}.
Produces on the stdout it was started with, one JSON value a line, each with the request's id: any number of {"progress": bytes},
then {"value": ...} or {"failure": {...}}, both with "bytes" moved and "notes": what the client
printed that a person should read.
Never: lets the client read our stdin, write to our stdout, or show a secret; outlives its caller (end of stdin ends it at once,
whatever the client is waiting for).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import sys
import threading
import time
from typing import IO, Any

WARNINGS = ("Warning:", "warning:")
PROGRESS_S = 0.1


def main() -> None:
    """Serve requests until stdin ends."""
    channel, requests = _take_stdio()
    sys.path[:] = requests.get()["path"]
    from builder.remote.calls import Session

    answers = _Answers(channel)
    session = Session(report=answers.progress)
    while True:
        request = requests.get()
        answers.start(request["id"])
        answer = _serve(session, request)
        answers.send({**answer, "bytes": answers.bytes})


def _serve(session: Any, request: dict[str, Any]) -> dict[str, Any]:
    """One request, as its answer. SystemExit and every exception become data."""
    from builder.remote.environment import scrub
    from builder.remote.faults import failure_of

    printed = io.StringIO()
    answer: dict[str, Any]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            answer = {"value": session.run(request["call"], request["arguments"])}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the caller gets every failure as data
            answer = {"failure": failure_of(error)}
    secrets = session.secrets()
    if "failure" in answer:
        answer["failure"]["message"] = scrub(answer["failure"]["message"], secrets)
    lines = [line.strip() for line in printed.getvalue().splitlines() if line.startswith(WARNINGS)]
    answer["notes"] = [scrub(line, secrets) for line in [*session.take_notes(), *lines]]
    return answer


class _Answers:
    """The way back. Bytes are counted by whoever moves them and told by a thread, at most ten times a second."""

    def __init__(self, channel: IO[str]) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._moved = threading.Event()
        self._request = 0
        self.bytes = 0
        threading.Thread(target=self._tell, daemon=True).start()

    def start(self, request: int) -> None:
        self._request, self.bytes = request, 0

    def send(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._channel.write(json.dumps({"id": self._request, **answer}) + "\n")
            self._channel.flush()

    def progress(self, size: int) -> None:
        """Count `size` more bytes."""
        self.bytes += size
        self._moved.set()

    def _tell(self) -> None:
        while self._moved.wait():
            self._moved.clear()
            self.send({"progress": self.bytes})
            time.sleep(PROGRESS_S)


def _take_stdio() -> tuple[IO[str], queue.Queue[dict[str, Any]]]:
    """Keep the caller's pipes for ourselves and leave the null device in their place."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    source = os.fdopen(os.dup(0), "r", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(source, requests), daemon=True).start()
    return channel, requests


def _read(source: IO[str], requests: queue.Queue[dict[str, Any]]) -> None:
    for line in source:
        requests.put(json.loads(line))
    os._exit(0)


if __name__ == "__main__":
    main()
