"""A clean environment of one of the image's Pythons, in which wheels are installed as the notebook will, and imported.

Expects: a Python tag; wheels in folders.
Produces: whether that Python is here; an environment that dies with its block; what installing and importing said.
Never: touches an environment that is in use, reads the user's packages or PYTHON variables, or waits without a limit.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 300
# Where Python's own installers, but not PATH, may have put another version.
SHELVES = (".pyenv/versions/{0}.*/bin/python{0}", ".local/share/uv/python/cpython-{0}.*/bin/python{0}")
_VERSION = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
# Prints {"absent": packages of the image that are not here, "told": {import name: "" or what went wrong}}.
_IMPORT = """
import importlib, importlib.metadata, json, sys
folder, names, of_image = json.loads(sys.argv[1])
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


@dataclass(frozen=True)
class Clean:
    """An environment that holds nothing but what is installed into it.

    Attributes:
        python: Its interpreter.
        folder: Itself.
    """

    python: Path
    folder: Path

    def install(self, wheels: Sequence[Path], names: Sequence[str]) -> str:
        """Install `names` from the folders of `wheels`, as the notebook does; what went wrong, or nothing."""
        links = [part for folder in sorted({str(wheel.parent) for wheel in wheels}) for part in ("--find-links", folder)]
        quiet = ["--isolated", "--quiet", "--disable-pip-version-check", "--no-compile"]
        pip = [sys.executable, "-P", "-m", "pip", "--python", str(self.python), "install", *quiet]
        return run([*pip, "--no-index", "--no-deps", *links, *names])[1]

    def imports(self, names: Sequence[str], of_image: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
        """Packages of the image that are not here, and import name -> what went wrong, or nothing."""
        asked = json.dumps([str(self.folder), list(names), list(of_image)])
        output, problem = run([str(self.python), "-I", "-B", "-c", _IMPORT, asked])
        if problem:  # the interpreter itself died, which no `except` sees
            return [], dict.fromkeys(names, problem)
        answer = json.loads(output.strip().splitlines()[-1])
        return list(answer["absent"]), dict(answer["told"])


@contextlib.contextmanager
def environment(python: str) -> Iterator[Clean | None]:
    """A clean environment of the interpreter `python`; None when it can't make one."""
    with tempfile.TemporaryDirectory(prefix="kkb-install-") as name:
        folder = Path(name).resolve()
        made = Clean(folder / "bin" / "python", folder)
        problem = run([python, "-I", "-m", "venv", "--without-pip", "--symlinks", str(folder)])[1]
        yield None if problem else made


def interpreter(python: str) -> str | None:
    """A Python of that version (`3.13`): this one, or one that starts and is what its name says."""
    if sys.platform != "linux":
        return None
    if python == ".".join(map(str, sys.version_info[:2])):
        return sys.executable
    shelved = [str(path) for shelf in SHELVES for path in sorted(Path.home().glob(shelf.format(python)))]
    for found in filter(None, [shutil.which(f"python{python}"), *reversed(shelved)]):
        told, problem = run([found, "-I", "-c", _VERSION])
        if not problem and told.strip() == python:
            return found
    return None


def run(command: Sequence[str]) -> tuple[str, str]:
    """Output, and what went wrong or nothing."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False, cwd=tempfile.gettempdir()
        )
    except subprocess.TimeoutExpired:
        return "", f"still running after {LIMIT_S} s"
    lines = [line for line in ran.stderr.splitlines() if line.strip()]
    return ran.stdout, "" if ran.returncode == 0 else f"exit code {ran.returncode}: {' / '.join(lines[-2:])}"
