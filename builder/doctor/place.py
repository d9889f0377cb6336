"""Where the work happens: room on the disks, folders that can be written, and how well a rehearsal can be shut in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.doctor.record import MUST, NOTE, SHOULD, Finding, fine
from builder.rehearse.isolation import BWRAP, UNSHARE, Level, probe

GB = 1e9
LEAST_GB, GOOD_GB = 1.0, 25.0  # a kernel's output alone may have 20 GB
INSTALLERS = {"apt-get": "apt-get install -y", "dnf": "dnf install -y", "pacman": "pacman -S --noconfirm", "apk": "apk add"}
SWITCHES = (  # file, the value that forbids namespaces to plain users, the command that allows them
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
)


def disk(folders: Sequence[tuple[str, Path]], free: Callable[[Path], int]) -> Iterator[Finding]:
    """Free bytes where the work and temporary files lie. `folders` are (what it is for, path)."""
    for what, path in folders:
        left = free(path) / GB
        message = f"{left:.1f} GB free for {what} ({path})"
        show = f"du -xh --max-depth=2 {path} | sort -h | tail"
        if left < LEAST_GB:
            yield Finding(MUST, "disk", message, "exports, bundles and rehearsals will stop half way", show, str(path))
        elif left < GOOD_GB:
            meaning = f"enough for small kernels; a rehearsal may write 20 GB, as on Kaggle, so {GOOD_GB:.0f} GB are right"
            yield Finding(NOTE, "disk", message, meaning, f"kkb prune, or: {show}", str(path))
        else:
            yield fine("disk", message)


def free_bytes(path: Path) -> int:
    """What is free on the disk that holds `path`, or will hold it."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def writable(folders: Sequence[tuple[str, Path]]) -> Iterator[Finding]:
    """Folders that cannot be written, among those that must be."""
    for what, path in folders:
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(
                MUST,
                "writable",
                f"{what} cannot be written",
                "weights, bundles and the ledger go there",
                f"chmod u+rwx {there}",
                str(there),
            )


def sandbox(tried: Callable[[str], Level] = probe) -> Iterator[Finding]:
    """The best way to shut a rehearsal in that works here."""
    best = tried(BWRAP)
    if not best.reason:
        yield fine("sandbox", "bubblewrap works: a rehearsal has no network, sees only its inputs, and leaves nothing behind")
        return
    second = tried(UNSHARE)
    if not second.reason:
        meaning = "rehearsals use the kernel's namespaces directly, which enforce the same"
        yield Finding(NOTE, "sandbox", best.reason, meaning, _bubblewrap())
        return
    meaning = "a rehearsal can reach the network and your files, so it cannot show that the notebook works without them"
    yield Finding(SHOULD, "sandbox", f"{best.reason}; {second.reason}", meaning, _allow_namespaces() or _bubblewrap())


def _bubblewrap() -> str:
    """How this system installs bubblewrap."""
    command = next((line for name, line in INSTALLERS.items() if shutil.which(name)), "")
    return f"{_sudo()}{command} bubblewrap" if command else "install the package 'bubblewrap'"


def _allow_namespaces() -> str:
    """The command that lets plain users make namespaces, where a switch of the kernel forbids it."""
    for file, forbids, command in SWITCHES:
        path = Path(file)
        if path.is_file() and path.read_text("ascii").strip() == forbids:
            return _sudo() + command
    return ""


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "
