"""What a run looked like while it went on, from what the engine and the notebook's log left behind.

Expects: a session's folder after its run.
Produces: points over time; nothing where nothing was written.
Never: runs anything.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "timeline.json"
# As the runtime's supervisor tells it: "   12.3 s  1.50 of 4 units per sample, ...".
PROGRESS = re.compile(r"^\s*\d+\.\d s {2}(\d+\.\d+) of \d+ units per sample", re.MULTILINE)
STAGES = ("prepare", "mount", "probe", "predict", "finalise")

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Timeline:
    """Points are (seconds since the start of the run, value).

    Attributes:
        memory: MB of the process tree.
        cores: Processor cores in use, on average since the point before.
        units: Units per row that were done.
        stages: (name, begin, end) in order; what the notebook does before and after its own stages is `start` and `end`.
    """

    memory: Points
    cores: Points
    units: Points
    stages: tuple[tuple[str, float, float], ...]


def read(folder: Path, record: Mapping[str, Any], seconds: float, shift: float) -> Timeline:
    """The timeline of the session in `folder`.

    Args:
        record: Its run.json; empty for none.
        seconds: Its wall clock.
        shift: Seconds by which the session was said to be older than it was.
    """
    table = _json(folder / FILE, {})
    rows = [dict(zip(table.get("columns", ()), row, strict=False)) for row in table.get("rows", ())]
    memory = tuple((row["seconds"], row["memory_mb"]) for row in rows)
    stages = _stages(record, seconds, shift)
    return Timeline(memory, _cores(rows), _units(folder, record, stages), stages)


def _json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return default


def _cores(rows: list[dict[str, float]]) -> Points:
    """Processor seconds grow; an ended process takes its own away, which is no negative work."""
    return tuple(
        (after["seconds"], round(max(0.0, after["cpu_s"] - before["cpu_s"]) / (after["seconds"] - before["seconds"]), 3))
        for before, after in itertools.pairwise(rows)
        if after["seconds"] > before["seconds"]
    )


def _stages(record: Mapping[str, Any], seconds: float, shift: float) -> tuple[tuple[str, float, float], ...]:
    """Stages run one after the other and end when run.json is written."""
    took = [(name, float(record["stages"][name])) for name in STAGES if name in record.get("stages", {})]
    if not took:
        return (("run", 0.0, seconds),)
    end = min(seconds, max(0.0, float(record["clock"]["spent_s"]) - shift))
    at = max(0.0, end - sum(spent for _, spent in took))
    found = [("start", 0.0, at)]
    for name, spent in took:
        found.append((name, at, min(seconds, at + spent)))
        at = found[-1][2]
    return (*found, ("end", at, seconds))


def _units(folder: Path, record: Mapping[str, Any], stages: tuple[tuple[str, float, float], ...]) -> Points:
    """From nothing at the begin of `predict` to what there was at its end, by way of what the log told."""
    predict = next(((begin, end) for name, begin, end in stages if name == "predict"), None)
    prefixes = {int(length): count for length, count in record.get("samples_per_prefix", {}).items()}
    if predict is None or not prefixes:
        return ()
    mean = sum(length * count for length, count in prefixes.items()) / max(1, sum(prefixes.values()))
    told = []
    for entry in _json(folder / "log.json", []):
        found = PROGRESS.findall(str(entry.get("data", "")))
        told += [(float(entry["time"]), float(value)) for value in found]
    inside = [point for point in told if predict[0] < point[0] < predict[1]]
    return ((predict[0], 0.0), *inside, (predict[1], round(mean, 3)))
