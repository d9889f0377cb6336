"""The log: Kaggle's form, in order, whole after a kill, within Kaggle's limit."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from builder.rehearse import journal
from builder.rehearse.journal import Journal


def entries(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "log.json").read_text())


def test_entries_keep_their_order_and_form(tmp_path: Path) -> None:
    ticks = itertools.count()
    log = Journal(tmp_path, clock=lambda: next(ticks) * 1.12345)
    log.add("stdout", "one\n")
    log.add("stderr", 'zwei "ü"\n')
    log.close()
    assert entries(tmp_path) == [
        {"stream_name": "stdout", "time": 1.123, "data": "one\n"},
        {"stream_name": "stderr", "time": 2.247, "data": 'zwei "ü"\n'},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.json"]


def test_empty_log_is_an_empty_array(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    assert entries(tmp_path) == []


def test_running_log_is_on_disk_at_once(tmp_path: Path) -> None:
    log = Journal(tmp_path)
    log.add("stdout", "now")
    assert json.loads((tmp_path / "log.jsonl").read_text())["data"] == "now"
    log.close()


def test_long_log_keeps_beginning_and_end(tmp_path: Path) -> None:
    heard: list[dict[str, object]] = []
    log = Journal(tmp_path, heard.append)
    log.add("stdout", "the beginning\n")
    for _ in range(30):
        log.add("stdout", "x" * (1 << 20))
    log.add("stderr", "the end\n")
    log.close()
    assert (tmp_path / "log.json").stat().st_size <= journal.CAP
    found = entries(tmp_path)
    assert (found[0]["data"], found[-1]["data"]) == ("the beginning\n", "the end\n")
    assert sum("bytes left out" in str(entry["data"]) for entry in found) == 1
    assert sum(len(str(entry["data"])) for entry in heard) > 30 << 20
