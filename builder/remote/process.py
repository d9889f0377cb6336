"""The child process and the pipe to it (caller side): one question, then lines until its answer or too long a silence."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from builder.errors import KkbError
from builder.remote.answers import TRY_AGAIN, UnavailableError
from builder.remote.environment import scrub, secrets

CHILD = Path(__file__).with_name("child.py")
PATIENCE_S = 5.0
# Even bytes that keep trickling come to an end: half a day is 200 GB at 5 MB/s.
LONGEST_S = 12 * 3600.0


def _path() -> list[str]:
    """Where we import from, without the current folder, which may be anybody's; our own root comes last."""
    root = str(CHILD.parents[2])
    return [entry for entry in sys.path if entry not in {"", str(Path.cwd()), root}] + [root]


class Process:
    """One child process. It has no credential in its arguments, and dies with us."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._secrets = secrets(environment)
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in close()
        # -P: a kaggle.py in the current folder must not be imported. A session of its own: Ctrl-C is ours to handle.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-X", "utf8", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
            start_new_session=True,
            encoding="utf-8",
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._request = 0
        self._write({"path": _path()})

    def ask(
        self, call: str, arguments: Mapping[str, Any], timeout_s: float, on_bytes: Callable[[int], None] | None
    ) -> dict[str, Any]:
        """The answer to one call: {"value" or "failure", "bytes", "notes"}.

        Raises:
            UnavailableError: Nothing came for `timeout_s` seconds, or no answer for LONGEST_S, or the process ended. It cannot be
                asked again.
        """
        deadline = time.monotonic() + LONGEST_S
        self._request += 1
        self._write({"id": self._request, "call": call, "arguments": dict(arguments)})
        while True:
            try:
                line = self._answers.get(timeout=max(0.0, min(timeout_s, deadline - time.monotonic())))
            except queue.Empty:
                raise UnavailableError(
                    f"no answer to '{call}'", timeout=True, found=f"silence for {timeout_s:.0f} s", remedy=TRY_AGAIN
                ) from None
            if line is None:
                raise self._died(call)
            message = json.loads(line)
            if message["id"] != self._request:
                continue  # progress of the call before, told after its end
            if "progress" not in message:
                if on_bytes and message["bytes"]:
                    on_bytes(message["bytes"])
                return dict(message)
            if on_bytes:
                on_bytes(message["progress"])

    def close(self) -> None:
        """Kill the process, whatever it does, and wait until it is gone."""
        with contextlib.suppress(OSError):
            self._child.kill()
        self._child.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _write(self, message: Mapping[str, Any]) -> None:
        if self._child.stdin is None:
            raise KkbError("the client process has no input")
        try:
            self._child.stdin.write(json.dumps(message) + "\n")
            self._child.stdin.flush()
        except OSError:
            raise self._died("start") from None

    def _read(self) -> None:
        if self._child.stdout is not None:
            with contextlib.suppress(ValueError, OSError):
                for line in self._child.stdout:
                    self._answers.put(line)
        self._answers.put(None)

    def _died(self, call: str) -> KkbError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE_S)
        self._errors.seek(0)
        tail = scrub(self._errors.read(), self._secrets).strip().splitlines()[-1:]
        found = f"exit status {self._child.returncode}" + (f": {tail[0]}" if tail else "")
        if self._child.returncode is not None and self._child.returncode > 0:
            return KkbError(
                "the client process failed",
                found=found,
                remedy="check the installation of the `kaggle` package, and that HOME can be written",
            )
        return UnavailableError(f"the client process ended during '{call}'", found=found, remedy=TRY_AGAIN)
