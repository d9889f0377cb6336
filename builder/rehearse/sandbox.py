"""Lays out a session's folder, gives the command that runs its notebook there, and tidies up afterwards.

In the session's folder: `working/` (the output), and while the run lasts `root/` (the sandbox's `/`, see mounts.py) or, without
isolation, `kaggle/` (what stands in for /kaggle).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import UserError
from builder.rehearse import isolation, mounts
from builder.rehearse.isolation import NONE, Level
from builder.rehearse.session import Session

DRIVER = Path(__file__).resolve().with_name("driver.py")
TIMELINE = "timeline.json"
MADE = ("working", "root", "kaggle", "log.json", "log.jsonl", "executed.ipynb", TIMELINE)
# The only variables of the host that pass, and only where there is a GPU.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Sandbox:
    """What to start: a command line and its whole environment."""

    command: list[str]
    environment: dict[str, str]


@contextlib.contextmanager
def prepared(session: Session, level: Level) -> Iterator[Sandbox]:
    """The session's folder, laid out; at the end only `working/` and what the engine wrote remain. Replaces an earlier run."""
    check(session)
    folder = session.folder.resolve()
    for name in MADE:
        remove(folder / name)
    working = folder / "working"
    working.mkdir(parents=True)
    try:
        if level.name == NONE:
            yield _guarded(session, folder)
        else:
            yield _isolated(session, level, folder)
    finally:
        working.mkdir(exist_ok=True)  # without isolation a notebook can remove it
        remove(folder / "root")
        remove(folder / "kaggle")


def check(session: Session) -> None:
    """Raises UserError when the session cannot be run as it stands."""
    if not session.notebook.is_file():
        raise UserError("missing notebook", file=session.notebook, expected="an .ipynb or .py file")
    if session.folder.exists() and not session.folder.is_dir():
        raise UserError("a session needs a folder", file=session.folder, found="a file", expected="a folder, or nothing yet")
    if session.python is not None and not session.python.is_file():
        raise UserError("missing interpreter", file=session.python, expected="the python of a virtual environment")
    if min(session.limit_s, session.cores, session.memory, session.working, session.processes, session.scratch + 1) <= 0:
        found = f"limit {session.limit_s} s, {session.cores} cores, {session.memory} B memory, {session.working} B working"
        raise UserError("a session's limits must be positive", found=found, expected="numbers above 0")
    mounts.check(session.inputs, session.extra)


def _isolated(session: Session, level: Level, folder: Path) -> Sandbox:
    root = folder / "root"
    mounts.fill_root(root)
    cores = isolation.pick_cores(session.cores)
    listed = mounts.of_system(session.python) + mounts.of_cores(root, cores)
    listed += mounts.of_session(session.notebook, DRIVER, folder / "working", session.inputs, session.extra)
    driver = [
        _python(session),
        mounts.DRIVER,
        mounts.place_of(session.notebook),
        ",".join(map(str, cores)),
        str(session.processes),
    ]
    command = isolation.launch(level.name, root, listed, driver, mounts.WORKING)
    return Sandbox(command, environment(session, home="/root", temporary="/tmp", site_packages=mounts.SITE, kaggle="/kaggle"))  # noqa: S108 -- inside


def _guarded(session: Session, folder: Path) -> Sandbox:
    kaggle = folder / "kaggle"
    for name in ("input", "temp", "tmp", "src", "root", "site-packages"):
        (kaggle / name).mkdir(parents=True)
    (kaggle / "working").symlink_to(folder / "working")
    notebook = kaggle / "src" / Path(mounts.place_of(session.notebook)).name
    shutil.copyfile(session.notebook, notebook)
    for target, source in {**{f"/kaggle/input/{key}": path for key, path in session.inputs.items()}, **session.extra}.items():
        if target.startswith("/kaggle/"):
            mirror(source.resolve(), kaggle / target.removeprefix("/kaggle/"))
    driver = [_python(session), str(DRIVER), str(notebook), ",".join(map(str, isolation.pick_cores(session.cores))), "0"]
    command = isolation.launch(NONE, None, (), driver, str(folder / "working"))
    places = {"home": kaggle / "root", "temporary": kaggle / "tmp", "site_packages": kaggle / "site-packages", "kaggle": kaggle}
    return Sandbox(command, environment(session, **{name: str(path) for name, path in places.items()}))


def _python(session: Session) -> str:
    """The interpreter, not what its links lead to: where it lies is what makes it a virtual environment's."""
    return str(session.python.absolute()) if session.python else sys.executable


def mirror(source: Path, target: Path) -> None:
    """Show a folder without giving it away: real folders, read-only, with links to the files.

    A file that the notebook creates lands in the mirror; only writing into an existing file would reach the original.
    """
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
        return
    target.mkdir(parents=True, exist_ok=True)
    for folder, names, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        for name in (*names, *files):
            original = Path(folder, name)
            if name in files or original.is_symlink():
                (here / name).symlink_to(original)
            else:
                (here / name).mkdir(exist_ok=True)
    for folder, _, _ in os.walk(target, topdown=False):
        Path(folder).chmod(0o555)


def environment(session: Session, *, home: str, temporary: str, site_packages: str, kaggle: str) -> dict[str, str]:
    """Everything the notebook's environment holds: nothing of the host's but where its GPU libraries are."""
    prefix = session.python.absolute().parents[1] if session.python else sys.prefix
    variables = {
        "PATH": f"{prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": site_packages,
        "PIP_TARGET": site_packages,  # on Kaggle pip can write to the interpreter's own packages; here those are the user's
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else every kernel's log begins with a debugger's warning
        "JUPYTER_PLATFORM_DIRS": "1",
        "KAGGLE_KERNEL_RUN_TYPE": "Batch",
        "KKB_KAGGLE": kaggle,
        # The runtime's clock counts from the session's start, which it can't see where the sandbox has no PID 1 of its own.
        "KKB_SESSION_START": f"{time.time():.3f}",
    }
    if session.rerun:
        variables["KAGGLE_IS_COMPETITION_RERUN"] = "1"
    if site.ENABLE_USER_SITE and session.python is None:
        variables["PYTHONUSERBASE"] = site.getuserbase()
    if any(Path("/dev").glob("nvidia*")):
        variables |= {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}
    return variables | _checked(session.environment)


def _checked(variables: Mapping[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise UserError(
                "not an environment variable", found=f"{name!r}", expected="a name without '=' and a value without NUL"
            )
    return dict(variables)


def drop_links(working: Path) -> dict[str, str]:
    """Leave only files and folders in the output, and links between them, none of them set-user-id: they lie at home now.

    Returns what each removed entry was, by its name.
    """
    if not os.path.lexists(working):
        return {}
    # Without isolation a notebook can put a link in its folder's place: what that leads to is not ours to tidy.
    if working.is_symlink() or not working.is_dir():
        working.unlink()
        return {".": "no folder any more"}
    _restrict(working)
    top, dropped = working.resolve(), {}
    for folder, names, files in os.walk(working):
        for name in (*names, *files):
            path = Path(folder, name)
            reason = _unwanted(path, top)
            if reason:
                path.unlink()
                dropped[str(path.relative_to(working))] = reason
            elif not path.is_symlink():
                _restrict(path)  # before the walk enters it
    return dict(sorted(dropped.items()))


def _unwanted(path: Path, top: Path) -> str:
    """Why an entry of the output cannot stay; empty when it can."""
    if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
        return "a link that leads out of /kaggle/working"
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    return "" if path.is_file() or path.is_dir() else "neither a file nor a folder"


def _restrict(path: Path) -> None:
    """Take away set-user-id, set-group-id and sticky bits; a folder can be entered by its owner afterwards."""
    mode = stat.S_IMODE(path.lstat().st_mode)
    wanted = mode & 0o777 | (0o700 if path.is_dir() else 0)
    if mode != wanted:
        path.chmod(wanted)


def remove(path: Path) -> None:
    """Remove a file, link or folder, also when what it holds was made unreadable."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        for folder, names, _ in os.walk(path):
            for name in names:
                inner = Path(folder, name)
                if not inner.is_symlink() and stat.S_IMODE(inner.lstat().st_mode) & 0o700 != 0o700:
                    with contextlib.suppress(OSError):
                        inner.chmod(0o700)
        shutil.rmtree(path, ignore_errors=True)
