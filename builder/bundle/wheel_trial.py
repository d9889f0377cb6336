"""The install that the notebook will do, tried at home as far as home allows.

Expects: a lock whose wheels are in the cache.
Produces: one Trial per wheel and Python tag: installed and imported where a Python here takes the wheel, otherwise only checked
    by tags, metadata and the closure of its requirements against the image's list. The record says which of the two.
Never: uses the network; installs into an environment that is in use.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from builder.bundle.image import RIVALS, demands, listed, presumed
from builder.bundle.resolver import Target, fits
from builder.bundle.wheels import Lock, Wheel
from builder.errors import UserError
from builder.machines import Machine
from builder.workspace import sha256_file

LIMIT_S = 300
MODULES = (".py", ".so")
# Prints {"absent": packages of the image that are not here, "told": {import name: "" or what went wrong}}.
_IMPORT = """
import importlib, importlib.metadata, json, sys
folder, names, of_image = json.loads(sys.argv[1])
sys.path.insert(0, folder)
absent, told = [], {}
for name in of_image:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        absent.append(name)
for name in names:
    try:
        found = getattr(importlib.import_module(name), "__file__", None) or folder
        told[name] = "" if found.startswith(folder) else f"imported from {found}, not from the wheel"
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
sys.__stdout__.write("\\n" + json.dumps({"absent": absent, "told": told}) + "\\n")
"""
_VERSION = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True)
class Trial:
    """What is known of one wheel on one Python.

    Attributes:
        python: Python tag of the image, `3.12`.
        wheel: File name; empty for what concerns the kernel's own requirements.
        executed: True when it was installed and imported here, by `by`; False when it was only checked.
        by: Version of the Python that executed it.
        problems: Why the install or the import would fail on Kaggle; empty when nothing was found.
        notes: What could not be known here.
    """

    python: str
    wheel: str
    executed: bool = False
    by: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Read:
    """What a wheel says of itself."""

    name: str
    version: str
    python: SpecifierSet
    requires: tuple[str, ...]
    imports: tuple[str, ...]


def rehearse_install(lock: Lock, machine: Machine, cache: Path) -> list[Trial]:
    """Try every wheel of the lock. Raises UserError when one is not in the cache (`wheels.fetch` puts it there)."""
    return [trial for python, wheels in sorted(lock.wheels.items()) for trial in _of_tag(lock, python, wheels, machine, cache)]


def _of_tag(lock: Lock, python: str, wheels: Sequence[Wheel], machine: Machine, cache: Path) -> list[Trial]:
    target = Target(python, machine.glibc)
    read = {wheel: _read(wheel.path(cache)) for wheel in wheels}
    trials = {wheel.name: _checked(wheel, read[wheel], target, cache) for wheel in wheels}
    for name, problem, note in _closure(lock, python, read, machine):
        before = trials.get(name, Trial(python, name))
        trials[name] = replace(
            before, problems=(*before.problems, *filter(None, [problem])), notes=(*before.notes, *filter(None, [note]))
        )
    whole = {wheel: read[wheel] for wheel in wheels if not trials[wheel.name].problems}
    for trial in _executed(python, whole, trials, cache, _of_image(lock, python, read, machine)):
        trials[trial.wheel] = trial
    return list(trials.values())


def _read(path: Path) -> _Read:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            info = next(name for name in names if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
            metadata = HeaderParser().parsestr(archive.read(info).decode("utf-8"))
    except FileNotFoundError:
        raise UserError("a wheel is missing", file=path, expected="what wheels.json names", remedy="kkb bundle NAME") from None
    except (zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        raise UserError("not a wheel", file=path, found=repr(error), remedy="remove the file, then kkb bundle NAME") from None
    packages = {name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith("/__init__.py")}
    modules = {name.split(".")[0] for name in names if "/" not in name and name.endswith(MODULES)}
    return _Read(
        name=canonicalize_name(metadata["Name"] or ""),
        version=metadata["Version"] or "",
        python=SpecifierSet(metadata["Requires-Python"] or ""),
        requires=tuple(metadata.get_all("Requires-Dist") or ()),
        imports=tuple(sorted(packages | modules)),
    )


def _checked(wheel: Wheel, read: _Read, target: Target, cache: Path) -> Trial:
    """What name, tags, digest and metadata tell."""
    problems = []
    if sha256_file(wheel.path(cache)) != wheel.sha256:
        problems.append(f"its bytes are not those of the lock (sha256 {wheel.sha256})")
    if not fits(wheel.name, target):
        problems.append(f"its tags do not fit {target}")
    if not read.python.contains(f"{target.python}.0"):
        problems.append(f"it asks for Python {read.python}, the image has {target.python}")
    if (read.name, read.version) != (wheel.package, wheel.version):
        problems.append(f"it says that it is {read.name} {read.version}")
    if not read.imports:
        problems.append("it has nothing to import at its top, so the notebook can't see whether the image has it")
    return Trial(target.python, wheel.name, problems=tuple(problems))


def _closure(lock: Lock, python: str, read: Mapping[Wheel, _Read], machine: Machine) -> list[tuple[str, str, str]]:
    """(wheel, problem, note) for each requirement, direct or not, that is not known to be met."""
    carried = {one.name: (wheel, one) for wheel, one in read.items()}
    image = listed(machine)
    found = []
    for demand in demands(lock.requirements, {n: one.requires for n, (_, one) in carried.items()}, python, lambda n: n in image):
        wheel = carried[demand.by][0].name if demand.by in carried else ""
        here = carried[demand.name][1].version if demand.name in carried else image.get(demand.name)
        if here is not None:
            if not demand.requirement.specifier.contains(here, prereleases=True):
                found.append((wheel, f"{demand.requirement} is needed, {demand.name} {here} is there", ""))
        elif demand.name == RIVALS["cuda"] and RIVALS["cpu"] in carried:
            found.append((wheel, "", f"{demand.requirement} is met by {RIVALS['cpu']}"))
        elif presumed(demand.name, machine):
            found.append((wheel, "", f"{demand.requirement} is presumed in the image, whose list does not name it"))
        else:
            found.append((wheel, f"{demand.requirement} is needed, and neither in the image's list nor among the wheels", ""))
    return list(dict.fromkeys(found))


def _of_image(lock: Lock, python: str, read: Mapping[Wheel, _Read], machine: Machine) -> list[str]:
    """Packages of the image that the wheels need."""
    image = listed(machine)
    requires = {one.name: one.requires for one in read.values()}
    needed = {demand.name for demand in demands(lock.requirements, requires, python, lambda name: name in image)}
    return sorted(name for name in needed if name in image or presumed(name, machine))


def _executed(
    python: str, read: Mapping[Wheel, _Read], trials: Mapping[str, Trial], cache: Path, of_image: Sequence[str]
) -> list[Trial]:
    """Install and import the wheels that a Python of this machine takes; nothing for the others."""
    runner = _python_for(python)
    if runner is None:  # this Python is another one; wheels that are not bound to a Python can still be tried in it
        mine = set(sys_tags())
        read = {wheel: one for wheel, one in read.items() if mine & parse_wheel_filename(wheel.name)[3]}
    if not read:
        return []
    command = runner or sys.executable
    by = python if runner else ".".join(map(str, sys.version_info[:2]))
    with tempfile.TemporaryDirectory(prefix="kkb-install-") as name:
        folder = Path(name).resolve()
        problem = _install(command, [wheel.path(cache) for wheel in read], sorted({one.name for one in read.values()}), folder)
        if problem:
            return [replace(trials[w.name], executed=True, by=by, problems=(*trials[w.name].problems, problem)) for w in read]
        absent, told = _import(command, [name for one in read.values() for name in one.imports], of_image, folder)
    return [_imported(trials[wheel.name], one, by, absent, told) for wheel, one in read.items()]


def _python_for(python: str) -> str | None:
    """A Python of that version: this one, or one on PATH that starts and is what its name says."""
    if python == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    found = shutil.which(f"python{python}") if sys.platform == "linux" else None
    told, problem = _run([found, "-I", "-c", _VERSION]) if found else ("", "none")
    return found if not problem and told.strip() == python else None


def _install(command: str, wheels: Sequence[Path], names: Sequence[str], folder: Path) -> str:
    """As the notebook does it, but into `folder`; what went wrong, or nothing."""
    links = [part for wheel in wheels for part in ("--find-links", str(wheel.parent))]
    options = [
        "--isolated",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        "--no-compile",
        "--target",
        str(folder),
    ]
    other = [] if command == sys.executable else ["--python", command]
    return _run([sys.executable, "-P", "-m", "pip", *other, "install", *options, *links, *names])[1]


def _import(command: str, names: Sequence[str], of_image: Sequence[str], folder: Path) -> tuple[list[str], Mapping[str, str]]:
    """Packages of the image that are not here, and import name -> what went wrong, or nothing."""
    output, problem = _run([command, "-B", "-c", _IMPORT, json.dumps([str(folder), list(names), list(of_image)])])
    if problem:  # the interpreter itself died, which no `except` sees
        return [], dict.fromkeys(names, problem)
    answer = json.loads(output.strip().splitlines()[-1])
    return list(answer["absent"]), dict(answer["told"])


def _run(command: Sequence[str]) -> tuple[str, str]:
    """Output, and what went wrong or nothing."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False, cwd=tempfile.gettempdir()
        )
    except subprocess.TimeoutExpired:
        return "", f"still running after {LIMIT_S} s"
    lines = [line for line in ran.stderr.splitlines() if line.strip()]
    return ran.stdout, "" if ran.returncode == 0 else f"exit code {ran.returncode}: {' / '.join(lines[-2:])}"


def _imported(trial: Trial, read: _Read, by: str, absent: Sequence[str], told: Mapping[str, str]) -> Trial:
    """A failed import says nothing of the wheel where packages of the image are missing."""
    failed = tuple(f"import {name}: {told[name]}" for name in read.imports if told[name])
    if failed and absent:
        note = f"installed by Python {by}, but not imported: {', '.join(absent)} of the image not here ({'; '.join(failed)})"
        return replace(trial, notes=(*trial.notes, note))
    return replace(trial, executed=True, by=by, problems=(*trial.problems, *failed))
