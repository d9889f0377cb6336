"""Live logs (child side): each stream is read by a thread of its own, and looked at whenever somebody asks.

The server sends a run's log from its beginning at every connection, as server-sent events until END_OF_LOG, or as one JSON array
when the run is over. So a broken stream is opened again, and what was told already is skipped.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from builder.remote.versions import open_log_stream

END = "END_OF_LOG"


class LogStream:
    """The log of one version so far."""

    def __init__(self, api: Any, owner: str, slug: str, version: int) -> None:
        self.entries: list[dict[str, Any]] = []
        self.ended = False
        self.failed = False
        self.refused = False
        self.thread = threading.Thread(target=self._read, args=(api, owner, slug, version), daemon=True)
        self.thread.start()

    def _read(self, api: Any, owner: str, slug: str, version: int) -> None:
        import requests

        try:
            with contextlib.closing(open_log_stream(api, owner, slug, version)) as response:
                response.raise_for_status()
                for entry in events(response):
                    self.entries.append(entry)
                self.ended = True
        except requests.HTTPError as error:
            self.refused = error.response is not None and error.response.status_code < 500
            self.failed = not self.refused
        except (requests.RequestException, OSError, ValueError):
            self.failed = True


def events(response: Any) -> Iterator[dict[str, Any]]:
    """The entries of an answer.

    Raises:
        ConnectionError: A live stream ended without saying that it was the end.
    """
    if "text/event-stream" not in (response.headers.get("Content-Type") or "").lower():
        found = json.loads(response.text or "[]")
        yield from (entry for entry in found if isinstance(entry, dict))
        return
    for line in response.iter_lines(decode_unicode=True):
        text = line.removeprefix("data:").strip() if line and line.startswith("data:") else ""
        if text == END:
            return
        if text:
            yield _entry(text)
    raise ConnectionError("the log stream broke off")


def _entry(text: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {"stream_name": "stdout", "time": 0.0, "data": text + "\n"}


class LogStreams:
    """All streams of this process."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str, int], LogStream] = {}

    def after(self, api: Any, owner: str, slug: str, version: int, seen: int) -> dict[str, Any]:
        """What came after the first `seen` entries: {"entries", "ended", "refused"}. Opens the stream, again if it broke."""
        key = (owner, slug, version)
        stream = self._streams.get(key)
        if stream is None or (stream.failed and not stream.thread.is_alive()):
            stream = self._streams[key] = LogStream(api, owner, slug, version)
        return {"entries": stream.entries[seen:], "ended": stream.ended, "refused": stream.refused}
