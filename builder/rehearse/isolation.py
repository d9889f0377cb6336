"""Three levels of isolation, the best that this host permits, and what each one does and does not enforce.

    bwrap      bubblewrap: own root, processes, network, all dying with us
    unshare    the same made by our own launcher (`enter.py`) from the kernel's namespaces, where bubblewrap is missing
    none       a guarded process tree: limits hold and nothing is left behind, but files and network are the host's

A level is chosen by trying it, once per process. KKB_SANDBOX=bwrap|unshare|none forces one.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.errors import UserError, did_you_mean
from builder.rehearse import cgroup, mounts
from builder.rehearse.mounts import Mount

LEVELS = BWRAP, UNSHARE, NONE = "bwrap", "unshare", "none"
VARIABLE = "KKB_SANDBOX"
SANDBOXED = ("no network", "read-only inputs", "hidden home and workspace", "private processes", "paths below /kaggle")
CORES_SEEN = "what os.cpu_count() says"
PROBE_LIMIT_S = 30
HERE = Path(__file__).resolve().parent
# What root in a container has, as on Kaggle: it reaches only what is inside (see enter.py).
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
_turn = itertools.count()
FLAGS = {"ro": "--ro-bind", "rw": "--bind", "dev": "--dev-bind"}


@dataclass(frozen=True)
class Level:
    """One level, as tried here.

    Attributes:
        name: `bwrap`, `unshare` or `none`.
        reason: Why it does not work here; empty when it does.
        refused: For `none`: why the better ones do not work.
    """

    name: str
    reason: str = ""
    refused: str = ""


def choose() -> Level:
    """The level to use. Raises UserError when KKB_SANDBOX asks for one that does not exist or does not work here."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted:
        if wanted not in LEVELS:
            raise UserError(
                f"{VARIABLE} names no sandbox", found=wanted, expected=", ".join(LEVELS), remedy=did_you_mean(wanted, LEVELS)
            )
        level = probe(wanted)
        if level.reason:
            remedy = f"unset {VARIABLE} to take the best that works here"
            raise UserError(
                f"{VARIABLE}={wanted} does not work here", found=level.reason, expected="a working sandbox", remedy=remedy
            )
        return level
    tried = [probe(name) for name in (BWRAP, UNSHARE)]
    for level in tried:
        if not level.reason:
            return level
    return Level(NONE, refused="; ".join(level.reason for level in tried))


@functools.cache
def probe(name: str) -> Level:
    """Try a level by starting this interpreter in it."""
    if name == NONE:
        return Level(NONE, refused=f"{VARIABLE}={NONE} was asked for")
    if sys.platform != "linux":
        return Level(name, reason=f"{name} needs Linux")
    if name == BWRAP and not shutil.which("bwrap"):
        return Level(name, reason="bubblewrap is not installed")
    with tempfile.TemporaryDirectory(prefix="kkb-probe-") as folder:
        root = Path(folder) / "root"
        mounts.fill_root(root)
        command = launch(name, root, mounts.of_system(), [sys.executable, "-I", "-S", "-c", ""], "/")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=False, env={})
        except (OSError, subprocess.TimeoutExpired) as error:
            return Level(name, reason=f"{name} does not work here ({error})")
    if done.returncode:
        return Level(name, reason=f"{name} does not work here ({(done.stderr.strip().splitlines() or ['no message'])[-1]})")
    return Level(name)


def launch(level: str, root: Path | None, listed: Sequence[Mount], command: Sequence[str], chdir: str) -> list[str]:
    """The command line that runs `command` at a level; the environment is the caller's to give."""
    if level == BWRAP:
        return [*_bwrap(root or Path("/"), listed), "--chdir", chdir, "--", *command]
    spec = {
        "parent": os.getpid(),
        "command": list(command),
        "chdir": chdir,
        "root": str(root) if level == UNSHARE else None,
        "mounts": [[mount.kind, mount.source, mount.target] for mount in listed],
    }
    return [sys.executable, "-I", "-S", str(HERE / "enter.py"), json.dumps(spec)]


def _bwrap(root: Path, listed: Sequence[Mount]) -> list[str]:
    program = shutil.which("bwrap") or "bwrap"
    line = [
        program,
        "--unshare-user-try",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    line += ["--die-with-parent", "--new-session", "--hostname", "kaggle", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        line += [part for name in CAPABILITIES for part in ("--cap-add", f"CAP_{name}")]
    line += ["--bind", str(root), "/"]
    for mount in listed:
        if mount.kind in FLAGS:
            line += [FLAGS[mount.kind], mount.source, mount.target]
        elif mount.kind == "symlink":
            line += ["--symlink", mount.source, mount.target]
        else:
            line += [{"tmpfs": "--tmpfs", "seal": "--remount-ro", "proc": "--proc", "devices": "--dev"}[mount.kind], mount.target]
    return line


def guarantees(level: Level, cores: int | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is enforced at a level and what is not, for a session that wants `cores` cores."""
    enforced = [
        "wall clock",
        f"memory of the process tree ({'control group' if cgroup.delegated() else 'proportional shares, 10 times a second'})",
        "number of processes",
        "size of /kaggle/working (polled)",
        "environment without the host's variables",
        "nothing outlives the run",
    ]
    missing = []
    if level.name == NONE:
        missing += [f"{what}: {level.refused}" for what in SANDBOXED]
        missing[-1] += "; the runtime follows KKB_KAGGLE, other code does not find /kaggle"
    else:
        enforced += SANDBOXED
    if importlib.util.find_spec("pip") is None:
        missing.append("pip in the notebook: this interpreter has none")
    here = available_cores()
    if not hasattr(os, "sched_setaffinity"):
        missing.append("CPU cores: this system has no CPU affinity")
    elif cores is not None and cores > here:
        missing.append(f"{cores} CPU cores: there are only {here} here")
    else:
        enforced.append("CPU cores" if cores is None else f"{cores} CPU core{'s' if cores > 1 else ''}")
        if level.name == NONE and cores != here:
            missing.append(f"{CORES_SEEN}: {level.refused}")
    return tuple(enforced), tuple(missing)


def needs_sandbox(missing: str) -> bool:
    """Whether a sandbox would enforce what `guarantees` says is missing; nothing here would if the host itself lacks it."""
    return missing.partition(":")[0] in {*SANDBOXED, CORES_SEEN}


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_cores(count: int) -> list[int]:
    """The cores of one session; empty when it may use all. Sessions at the same time get different ones, as far as there are."""
    if not hasattr(os, "sched_getaffinity") or count >= available_cores():
        return []
    mine = sorted(os.sched_getaffinity(0))
    start = next(_turn) * count % len(mine)
    return sorted((mine[start:] + mine[:start])[:count])
