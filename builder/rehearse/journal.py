"""A session's log, in Kaggle's form: a JSON array of {"stream_name", "time", "data"}, at most 10 MB.

While the run goes on, entries are appended to `log.jsonl`, one a line, so that a kill of everything leaves them; `close` turns
them into `log.json`. A log that grows too long keeps its beginning and its end: the end tells why it failed.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builder import workspace

CAP = 10 << 20  # Kaggle's own limit
TAIL = 1 << 20
LONGEST = 256 << 10  # one entry; longer ones are split


class Journal:
    """Collects entries; `clock` is monotonic, and the session starts now."""

    def __init__(
        self,
        folder: Path,
        listener: Callable[[dict[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self.started = clock()
        self._listener = listener
        self._stream = (folder / "log.jsonl").open("w", encoding="utf-8")
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self.left_out = 0  # bytes that found no room
        self._headroom = CAP - TAIL - 1024

    def add(self, stream: str, data: str) -> None:
        """Append text that was printed on `stream`."""
        for start in range(0, len(data), LONGEST):
            self._add(
                {"stream_name": stream, "time": round(self._clock() - self.started, 3), "data": data[start : start + LONGEST]}
            )

    def _add(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry)
        if not self._tail and self._head_size + len(line) + 2 <= self._headroom:
            self._head.append(line)
            self._head_size += len(line) + 2
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            self._tail.append(line)
            self._tail_size += len(line) + 2
            while self._tail_size > TAIL and len(self._tail) > 1:
                dropped = len(self._tail.popleft()) + 2
                self._tail_size -= dropped
                self.left_out += dropped
        if self._listener is not None:
            self._listener(entry)

    def close(self) -> None:
        """Write `log.json` by atomic rename and drop the running file."""
        lines = [*self._head]
        if self.left_out:
            text = f"[{self.left_out} bytes left out: Kaggle's log holds {CAP} bytes]\n"
            lines.append(json.dumps({"stream_name": "stderr", "time": json.loads(self._tail[0])["time"], "data": text}))
        lines += self._tail
        self._stream.close()
        workspace.write_text(self._folder / "log.json", "[" + ",\n".join(lines) + "]\n")
        (self._folder / "log.jsonl").unlink(missing_ok=True)
