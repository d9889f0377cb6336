"""A virtual environment that holds what a machine's image holds, as far as its list is known and the package index has it.

Expects: a machine; a folder for such environments; pip's own configuration of where packages come from.
Produces: an interpreter to rehearse with, made once for each list and Python, and what is different from the image, in words.
Never: takes a listed package in another version, unless nothing could be executed without it; leaves a half-made environment to
    be used.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.errors import RemoteError
from builder.machines import Machine
from builder.progress import Report, silent
from builder.rehearse import sandbox
from builder.workspace import digest_of, locked, short, write_json, write_text

RECORD, CONSTRAINTS, LOCK = "clean.json", "constraints.txt", ".lock"
# What executes notebooks; the image has it, too, in versions that nobody lists.
TOOLS = ("ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10", "pip")
PIP_LIMIT_S = 1800  # one package; torch is large
VENV_LIMIT_S = 120
PIP = ("--disable-pip-version-check", "--no-input", "--quiet")


@dataclass(frozen=True)
class Clean:
    """An environment: its interpreter, and how it differs from the image."""

    python: Path
    notes: tuple[str, ...]


def environment(machine: Machine, cache: Path, *, report: Report = silent) -> Clean:
    """The environment of `machine`, from `cache` or made there.

    Raises:
        RemoteError: The package index cannot be reached, or does not even have what executes notebooks.
        UserError: Another kkb makes it right now.
    """
    base, tag = interpreter(machine)
    key = digest_of({"packages": dict(sorted(machine.packages.items())), "python": tag, "base": str(base), "tools": TOOLS})
    folder = cache / short(key)
    with locked(cache / LOCK):
        if not (folder / RECORD).is_file():
            sandbox.remove(folder)
            missing = _make(folder, base, machine.packages, report)
            write_json(folder / RECORD, {"machine": machine.name, "python": tag, "missing": missing})
    missing = json.loads((folder / RECORD).read_text("utf-8"))["missing"]
    return Clean(folder / "bin" / "python", _notes(machine, tag, missing))


def interpreter(machine: Machine) -> tuple[Path, str]:
    """(a Python to build on, its `3.x`): the newest of the image's that is installed here, else ours."""
    for tag in sorted(machine.python, key=lambda tag: [int(part) for part in tag.split(".")], reverse=True):
        found = _working(shutil.which(f"python{tag}"))
        if found:
            return found, tag
    ours = Path(getattr(sys, "_base_executable", "") or sys.executable)
    return ours, f"{sys.version_info.major}.{sys.version_info.minor}"


def _working(program: str | None) -> Path | None:
    """The interpreter itself behind a name: version managers leave names that lead to nothing."""
    if program is None:
        return None
    try:
        ask = [program, "-I", "-c", "import sys, venv; print(sys.executable)"]
        done = subprocess.run(ask, capture_output=True, text=True, timeout=VENV_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 and done.stdout.strip() else None


def _notes(machine: Machine, tag: str, missing: dict[str, str]) -> tuple[str, ...]:
    notes = [f"the clean environment holds the {len(machine.packages)} packages that are known of the image, and what they need"]
    if tag not in machine.python:
        notes.append(f"the image's Python is {' or '.join(machine.python)}; {tag} was used, the only one here")
    notes += [f"{name} {machine.packages[name]} is not in it: {why}" for name, why in sorted(missing.items())]
    return tuple(notes)


def _make(folder: Path, base: Path, packages: dict[str, str], report: Report) -> dict[str, str]:
    """Build the environment; returns the packages that could not be had, with the reason."""
    total = len(packages) + 1
    report(0, total, f"clean environment: {base.name}")
    made = subprocess.run(
        [str(base), "-m", "venv", "--without-pip", str(folder)], capture_output=True, text=True, timeout=VENV_LIMIT_S, check=False
    )
    if made.returncode:
        raise RemoteError("no virtual environment can be made", file=folder, found=_last(made), remedy="rehearse without --clean")
    write_text(folder / CONSTRAINTS, "".join(f"{name}=={version}\n" for name, version in sorted(packages.items())))
    constrained = ("--constraint", str(folder / CONSTRAINTS))
    why = _install(folder, *constrained, *TOOLS) and _install(folder, *TOOLS)
    if why:
        raise RemoteError(
            "the clean environment cannot be made",
            file=folder,
            found=why,
            expected=f"a package index that has {', '.join(TOOLS)}",
            remedy="check the network and pip's configuration, or rehearse without --clean",
        )
    missing = {}
    for done, (name, version) in enumerate(packages.items(), start=1):
        report(done, total, f"clean environment: {name} {version}")
        wanted = f"{name}=={version}"
        # The image itself holds versions together that do not ask for each other.
        why = _install(folder, *constrained, wanted) and _install(folder, "--no-deps", wanted)
        if why:
            missing[name] = why
    report(total, total, "clean environment: done")
    return missing


def _install(folder: Path, *what: str) -> str:
    """Install into the environment; why it did not work, empty when it did."""
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", *PIP]
    command += ["--only-binary", ":all:", *what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"pip did not end within {PIP_LIMIT_S} s"
    return _last(done) if done.returncode else ""


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """The line that names the error."""
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1]).removeprefix("ERROR: ")[:300]
