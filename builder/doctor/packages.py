"""Python and the packages: what is installed, beside what kkb's own metadata ask for, extra by extra. Imports none of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from builder.doctor.record import MUST, NOTE, SHOULD, Finding, fine
from builder.errors import UserError

DISTRIBUTION = "kaggle-kernel-builder"
NEWEST_TRIED = (3, 13)
# Extra -> the package that says whether a person wants it, and what does not work without it.
EXTRAS = {
    "train": ("torch", "kkb train, adopt, export, rehearse and demo do not work; fetch, plan, render, push and submit do"),
    "tabular": ("lightgbm", "models of tables are not available"),
    "gpu": ("onnxruntime-gpu", "exports run on the CPU here; what a GPU costs is known from runs on Kaggle only"),
}
STANDS_FOR = {"onnxruntime": ("onnxruntime-gpu",), "opencv-python-headless": ("opencv-python", "opencv-contrib-python")}
MODULES = {"cv2": "opencv-python-headless"}  # imported under another name than it is installed
# Versions of the official client against which the door to Kaggle is tested.
CLIENTS = {"kaggle": ("2.2.4", "2.2.5"), "kagglesdk": ("0.1.37", "0.1.38")}
Installed = Callable[[str], str | None]


@dataclass(frozen=True)
class Wanted:
    """One requirement: `name`, the versions it may have (empty for any), and the extra it belongs to (empty for kkb itself)."""

    name: str
    versions: str
    extra: str


def installed(name: str) -> str | None:
    """The version of an installed distribution; None when there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wanted() -> list[Wanted]:
    """What kkb's metadata ask for; nothing when it runs from a folder that was never installed."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        one = Requirement(line)
        for extra in ("", *EXTRAS):
            plain = one.marker is None or one.marker.evaluate({"extra": ""})
            if plain if not extra else (not plain and one.marker is not None and one.marker.evaluate({"extra": extra})):
                found.append(Wanted(one.name, str(one.specifier), extra))
    return found


def source() -> str:
    """What pip installs kkb from: its name, or the folder of an editable install."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return DISTRIBUTION
    told = json.loads(text) if text else {}
    editable = told.get("dir_info", {}).get("editable")
    return str(Path(__file__).resolve().parents[2]) if editable else DISTRIBUTION


def pip(*arguments: str) -> str:
    """A pip command line for this very interpreter."""
    return shlex.join([sys.executable, "-m", "pip", *arguments])


def install(extra: str, where: str) -> str:
    """The command that installs kkb with an extra."""
    name = f"{where}[{extra}]" if extra else where
    return pip("install", *(["--editable"] if where != DISTRIBUTION else []), name)


def need(module: str) -> None:
    """Raise UserError when a module that belongs to an extra is not installed: before work that would end without it."""
    if find_spec(module) is None:
        error = lacking(ModuleNotFoundError(f"No module named '{module}'", name=module))
        if error:
            raise error


def lacking(error: BaseException) -> UserError | None:
    """What to say of an exception that a missing package of kkb's, or of one of its extras, caused; None for all others."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ModuleNotFoundError):
        cause = cause.__cause__
    module = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
    name = MODULES.get(module, module)
    extras = [one.extra for one in wanted() if one.name == name]
    if not extras:
        return None
    part = f"the extra '{extras[0]}'" if extras[0] else "kkb's own requirements"
    return UserError(
        "this needs a package that is not installed",
        found=f"no module '{module}'",
        expected=f"{name}, which comes with {part}",
        remedy=install(extras[0], source()),
    )


def python(version: tuple[int, int, int], prefix: str, base: str) -> Iterator[Finding]:
    """The interpreter, and whether it is in a virtual environment (`prefix` and `base` differ then)."""
    number = ".".join(map(str, version))
    if version[:2] > NEWEST_TRIED:
        newest = ".".join(map(str, NEWEST_TRIED))
        meaning = f"tested are Python 3.11 to {newest}; packages may be missing for newer ones"
        yield Finding(NOTE, "python", f"Python {number}", meaning, f"python{newest} -m venv .venv")
    else:
        yield fine("python", f"Python {number}, {sys.executable}")
    if prefix == base:
        meaning = "packages of other programs share this environment, and an upgrade of either can break the other"
        yield Finding(NOTE, "environment", "no virtual environment", meaning, f"{shlex.quote(sys.executable)} -m venv .venv")


def packages(requirements: Sequence[Wanted], found: Installed, where: str) -> Iterator[Finding]:
    """What is missing or of a wrong version, for kkb itself and for each extra."""
    if not requirements:
        meaning = "it is not known which versions are needed"
        yield Finding(
            NOTE, "packages", "this kkb runs from a folder that was not installed", meaning, pip("install", DISTRIBUTION)
        )
    for extra in dict.fromkeys(one.extra for one in requirements):
        yield from _of_extra(extra, [one for one in requirements if one.extra == extra], found, where)


def _of_extra(extra: str, requirements: Sequence[Wanted], found: Installed, where: str) -> Iterator[Finding]:
    code, what = f"packages-{extra}" if extra else "packages", f"extra '{extra}'" if extra else "kkb"
    key, meaning = EXTRAS.get(extra, ("", "no command works as it should"))
    if key and not found(key):
        yield Finding(NOTE, code, f"the {what} is not installed ({key} is missing)", meaning, install(extra, where))
        return
    wrong = [text for one in requirements if (text := _wrong(one, found))]
    if wrong:
        yield Finding(SHOULD if extra else MUST, code, f"{what}: {'; '.join(wrong)}", meaning, install(extra, where))
        return
    shown = [f"{one.name} {_version(one.name, found)}" for one in requirements]
    yield fine(code, f"{what}: {', '.join(shown)}")


def _version(name: str, found: Installed) -> str | None:
    return next((version for other in (name, *STANDS_FOR.get(name, ())) if (version := found(other))), None)


def _wrong(one: Wanted, found: Installed) -> str:
    """What is wrong with one package, in words; empty when nothing is."""
    from packaging.specifiers import SpecifierSet

    version = _version(one.name, found)
    if version is None:
        return f"{one.name} is missing, wanted {one.versions or 'any'}"
    if not SpecifierSet(one.versions).contains(version, prereleases=True):
        return f"{one.name} {version}, wanted {one.versions}"
    return ""


def client(found: Installed) -> Iterator[Finding]:
    """The official client, against the versions that were tried."""
    for name, known in CLIENTS.items():
        version = found(name)
        if version is None:
            yield Finding(
                MUST, "client", f"{name} is missing", "nothing can be asked of Kaggle", pip("install", f"{name}=={known[0]}")
            )
        elif version not in known:
            meaning = "its insides are used where its methods drop something, and they change between versions"
            message = f"{name} {version}; tried are {' and '.join(known)}"
            yield Finding(SHOULD, "client", message, meaning, pip("install", f"{name}=={known[0]}"))
        else:
            yield fine("client", f"{name} {version}")
