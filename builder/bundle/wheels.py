"""The wheels that a kernel needs and the image lacks: resolved once for each Python the image may have, locked, fetched by hash.

Expects: requirements (`image.requirements`) and a machine.
Produces: `kernels/<name>/wheels.json`, the lock, which is committed: another machine comes to the same dataset slugs without
    network; the wheels in `<cache>/wheels/<first digits of sha256>/`; one dataset per Python tag.
Never: ships a package that the image has, torch or what is built against it, or a source distribution; records an address.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from builder.bundle import resolver
from builder.bundle.image import BACKENDS, RIVALS, demands, forbidden, listed, presumed, requirements
from builder.bundle.record import MOST_FILES, Content, Dataset
from builder.bundle.resolver import Picked, Pin, Target
from builder.errors import UserError
from builder.machines import Machine
from builder.progress import Report, silent
from builder.workspace import digest_of, read_json, sha256_file, short, write_json

__all__ = ["FILE", "Lock", "Wheel", "current", "datasets", "fetch", "load", "obtain", "requirements", "resolve"]

FILE = "wheels.json"
KEY = "wheels-"
RESOLVE_AGAIN = f"remove {FILE}, then kkb bundle NAME"
_NAME = re.compile(r"[A-Za-z0-9_.+!]+(?:-[A-Za-z0-9_.+!]+){4,5}\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Wheel:
    """One file of a lock."""

    name: str
    bytes: int
    sha256: str

    def path(self, cache: Path) -> Path:
        """Where it lies at home."""
        return cache / "wheels" / short(self.sha256) / self.name

    @property
    def package(self) -> str:
        """Canonical name."""
        return resolver.name_and_version(self.name)[0]

    @property
    def version(self) -> str:
        return resolver.name_and_version(self.name)[1]


@dataclass(frozen=True)
class Lock:
    """Which wheels travel.

    Attributes:
        requirements: What the kernel asks for beyond the image.
        machine: The machine's name.
        image: Digest of what was known of its image; another image means another resolution.
        wheels: Python tag (`3.12`) -> its wheels, sorted by name.
    """

    requirements: tuple[str, ...]
    machine: str
    image: str
    wheels: Mapping[str, tuple[Wheel, ...]]

    def record(self) -> dict[str, Any]:
        return {
            "requirements": list(self.requirements),
            "machine": self.machine,
            "image": self.image,
            "wheels": {python: [asdict(wheel) for wheel in wheels] for python, wheels in self.wheels.items()},
        }

    def write(self, path: Path) -> None:
        """Write the lock; the same lock is the same bytes."""
        write_json(path, self.record())


def load(path: Path) -> Lock:
    """The lock in `path`. Raises UserError when it is missing or not a lock."""
    raw = read_json(path, remedy="kkb bundle NAME")
    try:
        return Lock(
            requirements=tuple(str(Requirement(one)) for one in raw["requirements"]),
            machine=str(raw["machine"]),
            image=str(raw["image"]),
            wheels={str(python): tuple(_wheel(one) for one in wheels) for python, wheels in raw["wheels"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValueError, InvalidRequirement) as error:
        raise UserError("not a lock of wheels", file=path, found=repr(error), expected=FILE, remedy=RESOLVE_AGAIN) from None


def _wheel(raw: Mapping[str, Any]) -> Wheel:
    wheel = Wheel(str(raw["name"]), int(raw["bytes"]), str(raw["sha256"]))
    if not _NAME.fullmatch(wheel.name) or not _SHA256.fullmatch(wheel.sha256):
        raise ValueError(f"not a wheel with its sha256: {wheel}")
    return wheel


def current(lock: Lock, wanted: Sequence[str], machine: Machine) -> bool:
    """True when `lock` answers these requirements on this machine, so that nothing needs to be resolved."""
    same_image = (lock.machine, lock.image) == (machine.name, _image_of(machine)) and set(lock.wheels) == set(machine.python)
    # Parsed, as versions of `packaging` may spell the same requirement differently.
    return same_image and set(map(Requirement, lock.requirements)) == set(map(Requirement, wanted))


def _image_of(machine: Machine) -> str:
    return short(digest_of([machine.glibc, listed(machine), list(machine.python)]))


def resolve(wanted: Sequence[str], machine: Machine, cache: Path, report: Report = silent) -> Lock:
    """Ask pip for every Python tag of the machine, fetch what the image lacks, and lock it.

    Raises:
        UserError: Nothing fits (package, Python and glibc are named), or only in place of a package of the image.
        RemoteError: The package index can't be reached.
    """
    chosen: dict[str, tuple[Wheel, ...]] = {}
    for number, python in enumerate(machine.python):
        report(number, len(machine.python), f"wheels for Python {python}")
        target = Target(python, machine.glibc)
        picked = resolver.pick(wanted, target, listed(machine)) if wanted else []
        shipped = _shipped(picked, wanted, python, machine)
        wheels = obtain([Pin(one.name, one.version, one.sha256) for one in shipped], target, cache)
        if len(wheels) + 1 > MOST_FILES:
            raise UserError(
                f"{len(wheels)} wheels are needed for {target}",
                found=", ".join(wheel.package for wheel in wheels)[:400],
                expected=f"at most {MOST_FILES - 1}, as a dataset has at most {MOST_FILES} files",
                remedy="fewer [bundle] requirements, or a machine whose list names what its image has",
            )
        chosen[python] = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    report(len(machine.python), len(machine.python), "wheels")
    return Lock(tuple(wanted), machine.name, _image_of(machine), chosen)


def _shipped(picked: Iterable[Picked], wanted: Sequence[str], python: str, machine: Machine) -> list[Picked]:
    """What must travel of a resolution: all that the kernel needs, but for what the image has and what only that needs."""
    by_name = {one.name: one for one in picked}
    rivals = _superseded(by_name)

    def is_leaf(name: str) -> bool:
        return name in rivals or (name in by_name and by_name[name].of_image) or presumed(name, machine)

    needed = demands(wanted, {name: one.requires for name, one in by_name.items()}, python, is_leaf)
    names = sorted({demand.name for demand in needed if not is_leaf(demand.name)})
    for name in names:
        if forbidden(name):
            asked = sorted({demand.by or "kernel.toml" for demand in needed if demand.name == name})
            raise UserError(
                f"{name} is needed, and is never shipped: it must fit the image's driver and torch",
                found=f"needed by {', '.join(asked)}; not in the image of '{machine.name}'",
                remedy="a machine whose image has it, or other [bundle] requirements",
            )
    return [by_name[name] for name in names if name in by_name]


def _superseded(names: Iterable[str]) -> set[str]:
    """onnxruntime, when a package asks for it beside onnxruntime-gpu, which is the same module and more."""
    known = set(names)
    return {RIVALS["cuda"]} if RIVALS["cpu"] in known else set()


def fetch(lock: Lock, cache: Path, report: Report = silent) -> None:
    """Make sure that each locked wheel lies in the cache, with the locked bytes.

    Raises:
        UserError: The index has other bytes under that name and version, or no longer has them.
        RemoteError: The package index can't be reached.
    """
    glibc = _newest_glibc(lock)
    for number, (python, wheels) in enumerate(lock.wheels.items()):
        report(number, len(lock.wheels), f"wheels for Python {python}")
        lacking = [wheel for wheel in wheels if not _is_whole(wheel, cache)]
        for wheel in lacking:
            wheel.path(cache).unlink(missing_ok=True)
        got = obtain([Pin(one.package, one.version, one.sha256) for one in lacking], Target(python, glibc), cache)
        renamed = sorted({wheel.name for wheel in lacking} - {wheel.name for wheel in got})
        if renamed:
            raise UserError("the package index has the locked wheels under other names", found=renamed, remedy=RESOLVE_AGAIN)
    report(len(lock.wheels), len(lock.wheels), "wheels")


def _is_whole(wheel: Wheel, cache: Path) -> bool:
    path = wheel.path(cache)
    return path.is_file() and path.stat().st_size == wheel.bytes and sha256_file(path) == wheel.sha256


def _newest_glibc(lock: Lock) -> str:
    """A glibc on which each locked wheel loads: the lock need not say which one it was resolved for."""
    names = [wheel.name for wheels in lock.wheels.values() for wheel in wheels]
    minors = [int(minor) for name in names for minor in re.findall(r"manylinux_2_(\d+)_", name)]
    return f"2.{max([17, *minors])}"


def obtain(pins: Sequence[Pin], target: Target, cache: Path) -> list[Wheel]:
    """The wheels of `pins` in the cache, downloaded unless those with the same sha256 are there."""
    kept = {pin: _cached(pin, cache) for pin in pins}
    found = [wheel for wheel in kept.values() if wheel]
    lacking = [pin for pin, wheel in kept.items() if not wheel]
    for pinned in ([pin for pin in lacking if pin.sha256], [pin for pin in lacking if not pin.sha256]):
        found += _downloaded(pinned, target, cache) if pinned else []
    return found


def _cached(pin: Pin, cache: Path) -> Wheel | None:
    for path in (cache / "wheels" / short(pin.sha256)).glob("*.whl") if pin.sha256 else ():
        if sha256_file(path) == pin.sha256:
            return Wheel(path.name, path.stat().st_size, pin.sha256)
    return None


def _downloaded(pins: Sequence[Pin], target: Target, cache: Path) -> list[Wheel]:
    folder = cache / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    found = []
    try:
        for path in resolver.download(pins, target, temporary):
            wheel = Wheel(path.name, path.stat().st_size, sha256_file(path))
            wheel.path(cache).parent.mkdir(exist_ok=True)
            path.replace(wheel.path(cache))
            found.append(wheel)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def datasets(lock: Lock, cache: Path) -> list[Dataset]:
    """One dataset per Python tag that needs wheels, from the lock alone: the files need not be there yet."""
    return [_dataset(python, wheels, cache) for python, wheels in sorted(lock.wheels.items()) if wheels]


def _dataset(python: str, wheels: Sequence[Wheel], cache: Path) -> Dataset:
    tag = Target(python, "").tag
    backends = [text.partition(">")[0] for text in BACKENDS.values()]
    main = min(wheels, key=lambda wheel: (wheel.package not in backends, -wheel.bytes, wheel.name))
    files = tuple(Content(w.name, w.path(cache), w.bytes, w.sha256) for w in sorted(wheels, key=lambda wheel: wheel.name))
    return Dataset(f"{KEY}{tag}", f"kkb-wheels-{tag}", f"{main.package} {main.version} wheels {tag}", files)
