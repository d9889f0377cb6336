"""How fast a machine is: the same small work everywhere (labour.py), on one core and on all of them, in about two seconds.

Expects: numpy beside this interpreter.
Produces: a Speed, remembered for a day per machine.
Never: tells anything of GPUs.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.errors import RunError
from builder.rehearse import labour
from builder.workspace import digest_of, short, write_json

DAY_S = 86_400.0


@dataclass(frozen=True)
class Speed:
    """`single`: one process alone; `every`: the sum over `cores` processes that run at the same time."""

    single: float
    every: float
    cores: int


def here(cache: Path, cores: int) -> Speed:
    """The speed of so many cores of this machine, measured at most once a day."""
    name = digest_of([platform.node(), platform.machine(), os.cpu_count(), cores])
    path = cache / f"speed-{short(name)}.json"
    try:
        known = json.loads(path.read_text("utf-8"))
        if 0 <= time.time() - known.pop("at") < DAY_S:
            return Speed(**known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    speed = measure(cores)
    write_json(path, {**asdict(speed), "at": int(time.time())})
    return speed


def measure(cores: int) -> Speed:
    """Measure: first one process, then `cores` of them at once. Raises RunError when they do not answer."""
    single = _together(1)
    return Speed(round(single, 3), round(_together(cores) if cores > 1 else single, 3), cores)


def _together(count: int) -> float:
    command = [sys.executable, "-P", labour.__file__, str(count)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=2 * labour.LIMIT_S, check=True).stdout
        return float(told)
    except (ValueError, OSError, subprocess.SubprocessError) as error:
        raise RunError(
            "this machine's speed could not be measured",
            found=error,
            expected="a number",
            remedy="try again when it is less busy",
        ) from None
