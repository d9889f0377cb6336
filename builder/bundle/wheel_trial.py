"""The install that the notebook will do, tried at home as far as home allows.

Expects: a lock whose wheels are in the cache.
Produces: one Trial per wheel and Python tag: installed and imported where a Python here takes the wheel, otherwise only checked
    by tags, metadata and the closure of its requirements against the image's list. The record says which of the two.
Never: installs into an environment that is in use; needs the network (with it, packages of the image are tried along).
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from builder.bundle import clean, resolver
from builder.bundle.image import RIVALS, demands, forbidden, listed, presumed
from builder.bundle.resolver import Pin, Target, fits
from builder.bundle.wheels import Lock, Wheel, obtain
from builder.errors import KkbError, UserError
from builder.machines import Machine
from builder.progress import Report, silent
from builder.workspace import sha256_file

MODULES = (".py", ".so")
NO_LIBRARY = "cannot open shared object file"  # of CUDA, mostly
GLIBC = "2.28"  # of whoever tries: any Linux of the last years takes wheels for it


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


def tried(lock: Lock, machine: Machine, cache: Path, report: Report = silent) -> list[str]:
    """Rehearse the install of a new lock; what a person should know about it.

    Raises:
        UserError: The install, or the first import, would fail on Kaggle.
    """
    trials = rehearse_install(lock, machine, cache, report)
    failed = [(one, problem) for one in trials for problem in one.problems]
    if failed:
        raise UserError(
            f"the wheels would not install or import on '{machine.name}'",
            found="; ".join(f"{one.wheel or 'the requirements'} (Python {one.python}): {text}" for one, text in failed[:5]),
            expected="wheels that fit the image and need nothing beyond it",
            remedy="change [bundle] requirements",
        )
    return [note for python in lock.wheels for note in _summary(python, [one for one in trials if one.python == python])]


def _summary(python: str, trials: Sequence[Trial]) -> list[str]:
    """Which wheels were really installed and imported, and which only checked."""
    by = {one.by for one in trials if one.executed}
    checked = [one.wheel for one in trials if one.wheel and not one.executed]
    if not checked:
        return [f"wheels for Python {python}: installed and imported by Python {', '.join(sorted(by))}"] if by else []
    text = f"wheels for Python {python}: {', '.join(checked)} not executed here; tags, metadata and requirements fit the image"
    return [text, *(f"{one.wheel}: {note}" for one in trials for note in one.notes if not one.executed)]


def rehearse_install(lock: Lock, machine: Machine, cache: Path, report: Report = silent) -> list[Trial]:
    """Try every wheel of the lock. Raises UserError when one is not in the cache (`wheels.fetch` puts it there)."""
    trials = []
    for number, (python, wheels) in enumerate(sorted(lock.wheels.items())):
        report(number, len(lock.wheels), f"trying the wheels for Python {python}")
        trials += _of_tag(lock, python, wheels, machine, cache)
    report(len(lock.wheels), len(lock.wheels), "trying the wheels")
    return trials


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


def _of_image(lock: Lock, python: str, read: Mapping[Wheel, _Read], machine: Machine) -> dict[str, str]:
    """Packages of the image that the wheels need, with their versions; empty where the list does not tell it."""
    image = listed(machine)
    requires = {one.name: one.requires for one in read.values()}
    needed = {demand.name for demand in demands(lock.requirements, requires, python, lambda name: name in image)}
    return {name: image.get(name, "") for name in sorted(needed) if name in image or presumed(name, machine)}


def _executed(
    python: str, read: Mapping[Wheel, _Read], trials: Mapping[str, Trial], cache: Path, of_image: Mapping[str, str]
) -> list[Trial]:
    """Install and import the wheels that a Python of this machine takes; nothing for the others."""
    runner = clean.interpreter(python)
    if runner is None:  # this Python is another one; wheels that are not bound to a Python can still be tried in it
        mine = set(sys_tags())
        read = {wheel: one for wheel, one in read.items() if mine & parse_wheel_filename(wheel.name)[3]}
    if not read:
        return []
    by = python if runner else ".".join(map(str, sys.version_info[:2]))
    with clean.environment(runner or sys.executable) as made:
        if made is None:
            return []
        problem = made.install([wheel.path(cache) for wheel in read], sorted({one.name for one in read.values()}))
        if problem:
            return [replace(trials[w.name], executed=True, by=by, problems=(*trials[w.name].problems, problem)) for w in read]
        _add_image(made, by, of_image, cache)
        absent, told = made.imports([name for one in read.values() for name in one.imports], list(of_image))
    return [_imported(trials[wheel.name], one, by, absent, told) for wheel, one in read.items()]


def _add_image(made: clean.Clean, python: str, of_image: Mapping[str, str], cache: Path) -> None:
    """Put the image's own packages, in its versions, beside the wheels.

    None of them without an index, or where one brings torch along: the import then says which packages it missed.
    """
    target = Target(python, GLIBC)
    pins = [f"{name}=={version}" if version else name for name, version in of_image.items()]
    try:
        picked = resolver.pick(pins, target, {}) if pins else []
        if any(forbidden(one.name) for one in picked):
            return
        found = obtain([Pin(one.name, one.version, one.sha256) for one in picked], target, cache)
    except KkbError:
        return
    made.install([wheel.path(cache) for wheel in found], [one.name for one in picked])


def _imported(trial: Trial, read: _Read, by: str, absent: Sequence[str], told: Mapping[str, str]) -> Trial:
    """A failed import says nothing of the wheel where packages or system libraries of the image are missing."""
    failed = tuple(f"import {name}: {told[name]}" for name in read.imports if told[name])
    lacking = f"{', '.join(absent)} of the image" if absent else "a system library" if NO_LIBRARY in " ".join(failed) else ""
    if failed and lacking:
        note = f"installed by Python {by}, but not imported: {lacking} not here ({'; '.join(failed)})"
        return replace(trial, notes=(*trial.notes, note))
    return replace(trial, executed=True, by=by, problems=(*trial.problems, *failed))
