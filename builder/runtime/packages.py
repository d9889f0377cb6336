"""The packages that the image lacks: found, checked, installed offline, and imported once to see that they are the ones in use.

Expects: the notebook's dataset list, in which `wheels-cp313` holds the wheels for Python 3.13, and so on.
Produces: package -> version, as another process of this image imports it; ProvideError with the package, what is wrong, what
    to do.
Never: asks the network, builds, touches dependencies (`--no-deps`: the image has them), or waits without a limit.
"""

from __future__ import annotations

import base64
import csv
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import integrity, mounts
from .clock import RUN_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEY = "wheels-"
# The second one installed breaks the first: both unpack into the folder `onnxruntime`.
RIVALS = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-gpu": "onnxruntime"}
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
INSTALL_S, REMOVE_S, IMPORT_S = 600.0, 120.0, 300.0
# Says where each module comes from and what it calls itself, on the last line of stdout.
IMPORT = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        found[name] = [getattr(module, "__file__", None), str(getattr(module, "__version__", ""))]
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"[:500]
print("\\n" + json.dumps(found))
"""


class ProvideError(RuntimeError):
    """Raised when a package that the plan needs is not there, or another one is in its place."""


@dataclass(frozen=True)
class Wheel:
    """One wheel of the dataset list: where it is mounted, and the name and version of its package."""

    path: Path
    name: str
    version: str

    @classmethod
    def at(cls, path: Path) -> Wheel:
        name, version = path.name.split("-")[:2]
        return cls(path, name.lower().replace("_", "-"), version)

    @property
    def is_installed(self) -> bool:
        """Whether this version is what Python finds. File names and metadata spell one version in different ways."""
        found = version_of(self.name)
        return found is not None and release(found) == release(self.version)


def provide(datasets: Sequence[Mapping[str, Any]], run: Callable[..., Any] = subprocess.run) -> dict[str, str]:
    """Make this Python's wheels of `datasets` importable, here and in processes that inherit this environment.

    Returns package -> version of what is in use; empty when nothing was bundled. Raises ProvideError; MountError when a dataset
    is missing or holds other content.
    """
    bundled = {item["key"].removeprefix(KEY): item for item in datasets if item["key"].startswith(KEY)}
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    if tag not in bundled:
        return _without(tag, {each: _listed(item) for each, item in bundled.items()})
    wheels = _open(bundled[tag])
    _put_on_path([wheel for wheel in wheels if wheel.path.is_dir()])
    _install([wheel for wheel in wheels if wheel.path.is_file() and not wheel.is_installed], run)
    _refuse_rivals(wheels)
    return _imported(wheels, run)


def version_of(name: str) -> str | None:
    """The version of a package that this Python finds first, or None."""
    return next((found.version for found in metadata.distributions(name=name)), None)


def release(version: str) -> list[int]:
    """The numbers of a version, up to the first letter, without zeros at its end: [1, 26] of `1.26.0.post1`."""
    found = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(part) for part in found.group(1).split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def _listed(item: Mapping[str, Any]) -> set[str]:
    return {Wheel.at(Path(name)).name for name in item["files"] if name.endswith(".whl")}


def _without(tag: str, others: Mapping[str, set[str]]) -> dict[str, str]:
    """What this Python has of the packages that were bundled for every other one; raises ProvideError when one is missing."""
    needed = sorted(set.intersection(*others.values())) if others else []
    found = {name: version_of(name) or version_of(RIVALS.get(name, name)) for name in needed}
    lacking = [name for name, version in found.items() if version is None]
    if lacking:
        raise ProvideError(
            f"this image runs Python {tag}, wheels were bundled for {', '.join(sorted(others))}; it lacks {', '.join(lacking)}. "
            "Add its Python to the machine (`kkb machine capture` reads it from Kaggle), then bundle and render again, "
            "or pin the image that the machine describes."
        )
    return {name: version for name, version in found.items() if version}


def _open(item: Mapping[str, Any]) -> list[Wheel]:
    """The wheels of a dataset, verified: by sha256 as files; by their own RECORD where Kaggle has unpacked them."""
    folder = mounts.dataset(item["owner"], item["slug"], item["files"])
    integrity.check_manifest(folder)
    files = {name: digest for name, digest in item["files"].items() if not (folder / name).is_dir()}
    integrity.check(folder, files)
    for name in item["files"].keys() - files.keys():
        integrity.check(folder / name, recorded(folder / name))
    return [Wheel.at(folder / name) for name in sorted(item["files"]) if name.endswith(".whl")]


def recorded(folder: Path) -> dict[str, str]:
    """File -> sha256, as the RECORD of an unpacked wheel says. Raises ProvideError when it is no wheel."""
    found: dict[str, str] = {}
    for record in folder.glob("*.dist-info/RECORD"):
        for row in csv.reader(record.read_text("utf-8").splitlines()):
            if len(row) > 1 and row[1].startswith("sha256="):
                found[row[0]] = base64.urlsafe_b64decode(row[1].removeprefix("sha256=") + "=").hex()
    if not found:
        raise ProvideError(
            f"{folder}: a folder that is no unpacked wheel: it has no *.dist-info/RECORD. Bundle the wheels again."
        )
    return found


def _put_on_path(wheels: Sequence[Wheel]) -> None:
    paths = [str(wheel.path) for wheel in wheels]
    sys.path[:0] = paths
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])
        importlib.invalidate_caches()


def _install(wheels: Sequence[Wheel], run: Callable[..., Any]) -> None:
    """Let pip take the files that fit its Python and its glibc."""
    if not wheels:
        return
    _make_room(wheels, run)
    folders = [part for folder in sorted({str(wheel.path.parent) for wheel in wheels}) for part in ("--find-links", folder)]
    wanted = [f"{wheel.name}=={wheel.version}" for wheel in wheels]
    options = ["--no-index", "--no-deps", "--no-compile", "--only-binary=:all:", *folders]
    try:
        done = run([*PIP, "install", *options, *wanted], check=False, timeout=INSTALL_S, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        raise ProvideError(f"pip did not install {', '.join(wanted)} within {INSTALL_S:.0f} s") from None
    importlib.invalidate_caches()
    if done.returncode:
        python, said = sys.version.split()[0], (done.stderr or done.stdout)[-1500:]
        raise ProvideError(f"pip could not install {', '.join(wanted)} for Python {python}: {said}")


def _make_room(wheels: Sequence[Wheel], run: Callable[..., Any]) -> None:
    """Remove rivals, in a session on Kaggle only: elsewhere the environment belongs to somebody."""
    if os.environ.get("PIP_TARGET"):
        return  # what is installed there comes before the interpreter's own packages
    rivals = [RIVALS[wheel.name] for wheel in wheels if version_of(RIVALS.get(wheel.name, "-"))]
    if rivals and not os.environ.get(RUN_TYPE):
        raise ProvideError(f"{', '.join(rivals)} is installed, whose folder the bundled wheel would overwrite: remove it first")
    if rivals:
        run([*PIP, "uninstall", "--yes", *rivals], check=False, timeout=REMOVE_S, capture_output=True, text=True)
        importlib.invalidate_caches()


def _refuse_rivals(wheels: Sequence[Wheel]) -> None:
    """Two packages in one folder: which of them is imported is chance."""
    for wheel in wheels:
        rival = RIVALS.get(wheel.name, "")
        ours, theirs = _place(wheel.name), _place(rival) if rival else None
        if ours is not None and ours == theirs:
            raise ProvideError(
                f"{wheel.name} and {rival} are both installed in {ours} and share one folder: remove {rival} from the image or "
                "from [bundle] requirements"
            )


def _place(name: str) -> Path | None:
    """The folder in which a package is installed, or None."""
    found = next(iter(metadata.distributions(name=name)), None)
    return None if found is None else Path(str(found.locate_file(""))).resolve()


def module_of(name: str) -> str:
    """The module by which an installed package is known: `google.protobuf` for protobuf. Empty when that is not clear."""
    files = [str(file) for found in list(metadata.distributions(name=name))[:1] for file in found.files or ()]
    folders = [file.removesuffix("/__init__.py") for file in files if file.endswith("/__init__.py")]
    alone = [file.partition(".")[0] for file in files if "/" not in file and file.endswith((".py", ".so"))]
    likely = [each for each in (*folders, *alone) if each.lower() == name.replace("-", "_")]
    shortest = min((each.count("/") for each in folders), default=0)
    others = {
        each
        for each in (*folders, *alone)
        if each.count("/") == shortest and not each.startswith(("_", "test", "docs", "example"))
    }
    found = likely[0] if likely else others.pop() if len(others) == 1 else ""
    return found.replace("/", ".")


def _imported(wheels: Sequence[Wheel], run: Callable[..., Any]) -> dict[str, str]:
    """Import each package once, in another process, and see that it is the one that was bundled."""
    modules = {wheel.name: module_of(wheel.name) for wheel in wheels}
    found = _import([module for module in modules.values() if module], run)
    faults = [fault for wheel in wheels if (fault := _fault(wheel, found.get(modules[wheel.name])))]
    if faults:
        raise ProvideError("; ".join(faults))
    return {wheel.name: wheel.version for wheel in wheels}


def _import(names: list[str], run: Callable[..., Any]) -> dict[str, Any]:
    """Module -> [file, version] or what its import said."""
    if not names:
        return {}
    try:
        done = run([sys.executable, "-c", IMPORT, *names], check=False, timeout=IMPORT_S, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        raise ProvideError(f"importing {', '.join(names)} took more than {IMPORT_S:.0f} s") from None
    try:
        return dict(json.loads(done.stdout.strip().rpartition("\n")[2]))
    except ValueError:
        end = f"(exit code {done.returncode}): {done.stderr[-1500:]}"
        raise ProvideError(f"importing {', '.join(names)} ended the process {end}") from None


def _fault(wheel: Wheel, found: Any) -> str:
    """What is wrong with a package as it was imported; empty when it is the bundled one."""
    version, place = version_of(wheel.name), _place(wheel.name)
    if not wheel.is_installed:
        return f"{wheel.name} {wheel.version} was bundled, {version or 'none'} is in use"
    if isinstance(found, str):
        return f"{wheel.name} {version} can't be imported: {found}"
    if found and found[0] and place and place not in Path(found[0]).resolve().parents:
        cause = " (the image imports `google` before anything else)" if wheel.name == "protobuf" else ""
        return (
            f"{wheel.name} {version} lies in {place}, but {found[0]} is imported in its place{cause}: "
            f"leave {wheel.name} to the image"
        )
    return ""
