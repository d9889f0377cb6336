"""pip, asked what it would install on another machine.

Expects: requirements, a Python tag, a glibc and the packages that the image has.
Produces: what pip's own resolver picks for that machine, wheels only; the wheels themselves.
Never: uses this machine's Python, platform or packages; builds anything; waits without a limit. The user's settings of pip
    (indexes, proxies, certificates) hold as they are.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from builder.bundle.image import environment
from builder.errors import KkbError, RemoteError, UserError

RESOLVE_S, DOWNLOAD_S = 300, 1200
LEGACY = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
# pip takes tags for another machine but evaluates markers (`python_version < "3.13"`) for the Python that runs it, so it is told.
_RUN = """
import json, sys
from pip._vendor.packaging import markers
target = json.loads(sys.argv.pop(1))
markers.default_environment = lambda: dict(target)
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
# Settings of pip that are about where it installs, not about where it looks.
_OURS = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
# In pip's log; an index that answers "not found" is there, and has no such package.
_NETWORK = re.compile(
    r"after connection broken|Could not fetch URL \S+: (?:connection error|timed out|5\d\d Server|.*certificate)"
    r"|Max retries exceeded|HTTP error 5\d\d|Read timed out",
    re.IGNORECASE,
)
_CONSTRAINT = re.compile(r"\(constraint\) (\S+) (?:@|\(from) file:\S*?/[^/\s]+?-([^-\s]+)-py3-none-any\.whl\)?")


@dataclass(frozen=True)
class Target:
    """What wheels must fit: a Python tag (`3.12`) and a C library (`2.35`), on Linux x86-64."""

    python: str
    glibc: str

    @property
    def tag(self) -> str:
        """`cp312`."""
        return "cp" + self.python.replace(".", "")

    @property
    def platforms(self) -> list[str]:
        """Platform tags, the newest first. `linux_x86_64`, which promises nothing, comes last."""
        newest = int(self.glibc.partition(".")[2])
        tags = []
        for minor in range(newest, 4, -1):
            tags += [f"manylinux_2_{minor}_x86_64", *([LEGACY[minor]] if minor in LEGACY else [])]
        return [*tags, "linux_x86_64"]

    def options(self) -> list[str]:
        """The same for pip."""
        platforms = [part for platform in self.platforms for part in ("--platform", platform)]
        chosen = ["--python-version", self.python, "--implementation", "cp", "--abi", self.tag]
        return ["--only-binary=:all:", *chosen, *platforms]

    def __str__(self) -> str:
        return f"Python {self.python} on Linux x86-64 with glibc {self.glibc}"


@dataclass(frozen=True)
class Pin:
    """One version of one package; `sha256` is empty when it is not known yet."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Picked:
    """One package of a resolution. `name` is canonical; `sha256` is empty when the index does not tell it."""

    name: str
    version: str
    sha256: str
    requires: tuple[str, ...]
    of_image: bool


def pick(requirements: Sequence[str], target: Target, image: Mapping[str, str]) -> list[Picked]:
    """What pip would install for `requirements` on a machine that has the packages of `image` (canonical name -> version).

    The image is shown to pip as a folder of empty wheels, each the only candidate for its name: its versions are kept, and what
    its packages need in turn is the image's own business.

    Raises:
        UserError: Nothing fits the target, or only beside another version of an image package.
        RemoteError: The package index can't be reached.
    """
    with tempfile.TemporaryDirectory(prefix="kkb-resolve-") as name:
        folder = Path(name)
        constraints, report = folder / "constraints.txt", folder / "report.json"
        lines = [f"{package} @ {_empty_wheel(folder, package, version).as_uri()}\n" for package, version in image.items()]
        constraints.write_text("".join(lines), "utf-8")
        options = ["--dry-run", "--ignore-installed", "--report", str(report), "--constraint", str(constraints)]
        options += ["--target", str(folder / "nothing")]  # a dry run writes nothing; older pips ask for a target all the same
        _pip(["install", *options, *target.options(), *requirements], target, RESOLVE_S, folder, ", ".join(requirements))
        told = json.loads(report.read_text("utf-8"))
    if told["environment"]["python_version"] != target.python:
        raise KkbError(
            "pip resolved for another Python", found=told["environment"], expected=target, remedy="python -m pip --version"
        )
    return [_picked(entry, image) for entry in told["install"]]


def download(pins: Sequence[Pin], target: Target, into: Path) -> list[Path]:
    """Fetch wheels into the empty folder `into`; pip checks their hashes, which are known for all of `pins` or for none."""
    asked = [f"{pin.name}=={pin.version}" for pin in pins]
    hashes = [f" --hash=sha256:{pin.sha256}" if pin.sha256 else "" for pin in pins]
    listed = into / "pins.txt"
    listed.write_text("".join(f"{name}{digest}\n" for name, digest in zip(asked, hashes, strict=True)), "utf-8")
    options = ["--no-deps", "--dest", str(into), "--requirement", str(listed)]
    _pip(["download", *options, *target.options()], target, DOWNLOAD_S, into, ", ".join(asked))
    return sorted(into.glob("*.whl"))


def name_and_version(wheel: str) -> tuple[str, str]:
    """Canonical name and version in a wheel's file name."""
    name, version, _, _ = parse_wheel_filename(wheel)
    return str(name), str(version)


def fits(wheel: str, target: Target) -> bool:
    """True when the tags in a wheel's file name allow it on the target."""
    from packaging import tags

    version = tuple(int(part) for part in target.python.split("."))
    known = {*tags.cpython_tags(version, [target.tag], target.platforms), *tags.compatible_tags(version, "cp", target.platforms)}
    return bool(known & parse_wheel_filename(wheel)[3])


def _pip(arguments: list[str], target: Target, limit_s: float, folder: Path, asked: str) -> None:
    """Run pip for the target; its log goes to `folder`. Raises what a failure means for `asked`."""
    log = folder / "pip.log"
    command = [sys.executable, "-P", "-c", _RUN, json.dumps(environment(target.python)), *arguments]
    quiet = ["--progress-bar", "off", "--no-color", "--log", str(log)]
    settings = {"PIP_RETRIES": "2", **os.environ, **_OURS}
    try:
        ran = subprocess.run(
            [*command, *quiet], capture_output=True, text=True, timeout=limit_s, check=False, env=settings, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise RemoteError(
            "pip did not come to an end",
            found=f"still running after {limit_s:.0f} s",
            remedy="try again, or a nearer package index",
        ) from None
    if ran.returncode:
        told = log.read_text("utf-8", "replace") if log.is_file() else ""
        raise _refusal(f"{ran.stdout}\n{ran.stderr}", told, target, asked)


def _picked(entry: Mapping[str, object], image: Mapping[str, str]) -> Picked:
    metadata, info = entry["metadata"], entry["download_info"]
    if not isinstance(metadata, dict) or not isinstance(info, dict):
        raise KkbError("pip's report has another form than expected", found=entry)
    name = canonicalize_name(str(metadata["name"]))
    sha256 = str(info.get("archive_info", {}).get("hashes", {}).get("sha256", ""))
    return Picked(name, str(metadata["version"]), sha256, tuple(metadata.get("requires_dist", ())), name in image)


def _empty_wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel that has a name and a version and needs nothing."""
    try:
        stem = f"{canonicalize_name(name).replace('-', '_')}-{Version(version)}"
    except InvalidVersion:
        raise UserError(
            "the machine's list has a version that is none", found=f"{name} {version}", remedy="kkb machine show"
        ) from None
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def _refusal(output: str, log: str, target: Target, asked: str) -> KkbError:
    """pip's last words in ours."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    last = " / ".join(errors[-2:]) or (lines[-1] if lines else "pip said nothing")
    if re.search(r"No module named '?pip", output):
        return UserError("this Python has no pip", found=sys.executable, remedy="python -m ensurepip --upgrade")
    if "DO NOT MATCH THE HASHES" in output:
        return UserError(
            f"the package index has another wheel of {asked} than wheels.json names",
            found=last,
            expected="the same bytes as when it was locked",
            remedy="if the index may be trusted: remove wheels.json, kkb bundle NAME",
        )
    if _NETWORK.search(log):
        return RemoteError(
            "the package index can't be reached", found=last, remedy="check network and proxy, then the same command again"
        )
    if "ResolutionImpossible" in output:
        return _conflict(output, target)
    package = re.search(r"No matching distribution found for (.+)", output)
    return UserError(
        f"no wheel of {package[1] if package else asked} fits {target}",
        found=last[:400],
        expected="a built wheel: source distributions can't be built without internet",
        remedy="another version or package in [bundle] requirements",
    )


def _conflict(output: str, target: Target) -> UserError:
    told = output.partition("The conflict is caused by:")[2].split("\n\n")[0]
    lines = [line.strip() for line in told.splitlines() if line.strip() and "Additionally" not in line]
    words = [_CONSTRAINT.sub(r"(image) \1 \2", line).replace("%2B", "+") for line in lines]
    held = sorted(set(re.findall(r"\(image\) (\S+ \S+)", " ".join(words))))
    if held:
        return UserError(
            f"the requirements need another version of a package that the image has, for {target}",
            found="; ".join(words),
            expected=f"requirements that {', '.join(held)} meets: packages of the image are never replaced",
            remedy="another version of what needs it in [bundle] requirements",
        )
    return UserError(
        f"the requirements contradict each other for {target}", found="; ".join(words), remedy="change [bundle] requirements"
    )
