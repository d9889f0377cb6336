"""Enters a sandbox made of kernel namespaces, or just guards a process tree; started by file path, standard library only.

Expects: `enter.py SPEC`, a JSON object with `parent` (pid that must be our parent), `command`, `chdir`, `root` (folder that
    becomes the root, or null for no isolation), `mounts` ([kind, source, target], see mounts.py).
Produces: the command's exit code; everything it started is dead when this process is.
Never: outlives its parent. Leaves the isolation half made: any failure ends it with code 125 and one line on stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FAILED = 125
BURIAL_LIMIT_S = 9.0
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MOUNT_SETATTR, PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
AT_FDCWD, AT_RECURSIVE, ATTR_RDONLY, DETACH = -100, 0x8000, 1, 2
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# What root in a container has, for files and processes inside: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID.
KEPT_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7})


class EnterError(Exception):
    """Raised when the kernel refuses a step."""


def call(what: str, function: Any, *arguments: Any) -> None:
    """Call a C function that answers -1 on failure."""
    if function(*arguments) == -1:
        code = ctypes.get_errno()
        raise EnterError(f"{what}: {os.strerror(code)}")


def libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int) -> None:
    """Ask the kernel for a signal when our parent dies (Linux only; elsewhere `guard` looks for it)."""
    if sys.platform == "linux":
        call("parent-death signal", libc().prctl, PR_SET_PDEATHSIG, number, 0, 0, 0)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    call(f"mount {kind or 'bind'} {target}", libc().mount, *arguments)


def bind(source: str, target: str, *, read_only: bool) -> None:
    """Show `source` at `target`, which is made when it is missing."""
    if os.path.isdir(source):  # noqa: PTH112 -- a hot start: no needless imports or objects here
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
    elif not os.path.exists(target):  # noqa: PTH110
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
        Path(target).touch()
    mount(source, target, "", MS_BIND | MS_REC)
    if read_only:
        make_read_only(target)


def make_read_only(target: str, *, recursive: bool = True) -> None:
    class Attributes(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]

    wanted = Attributes(ATTR_RDONLY, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    arguments = (ctypes.c_long(MOUNT_SETATTR), AT_FDCWD, target.encode(), flags, ctypes.byref(wanted), ctypes.c_size_t(32))
    call(f"make {target} read-only", libc().syscall, *arguments)


def make_file_system(kind: str, target: str, flags: int) -> None:
    """Mount a fresh `tmpfs` or `proc`."""
    os.makedirs(target, exist_ok=True)  # noqa: PTH103
    mount(kind, target, kind, flags, "mode=755" if kind == "tmpfs" else "")


def make_devices(root: str) -> None:
    """A /dev with the harmless devices, a private terminal table and shared memory."""
    dev = f"{root}/dev"
    make_file_system("tmpfs", dev, MS_NOSUID)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{dev}/{name}", read_only=False)
    for name, target in LINKS.items():
        Path(dev, name).symlink_to(target)
    for name in ("shm", "pts"):
        os.mkdir(f"{dev}/{name}")  # noqa: PTH102
    mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")


def make_mount(root: str, kind: str, source: str, target: str) -> None:
    """One line of the list that mounts.py made."""
    path = root + target
    if kind in ("ro", "rw", "dev"):
        bind(source, path, read_only=kind == "ro")
    elif kind == "symlink":
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        Path(path).symlink_to(source)
    elif kind == "tmpfs":
        make_file_system("tmpfs", path, MS_NOSUID | MS_NODEV)
    elif kind == "seal":
        make_read_only(path, recursive=False)
    elif kind == "proc":
        make_file_system("proc", path, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    elif kind == "devices":
        make_devices(root)
    else:
        raise EnterError(f"unknown mount '{kind}'")


def change_root(root: str, mounts: list[list[str]]) -> None:
    """Build the root and make it ours; the host's is gone afterwards."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount(root, root, "", MS_BIND | MS_REC)
    for kind, source, target in mounts:
        make_mount(root, kind, source, target)
    os.chdir(root)
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise EnterError(f"pivot_root: unknown processor {os.uname().machine}")
    call("pivot_root", libc().syscall, ctypes.c_long(number), b".", b".")
    call("leave the old root", libc().umount2, b".", DETACH)
    os.chdir("/")


def leave_host() -> None:
    """New namespaces; with a user namespace unless we are root and need none."""
    common = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET
    user, group = os.geteuid(), os.getegid()
    if user == 0 and libc().unshare(common) == 0:
        return
    call("new namespaces", libc().unshare, common | NEWUSER)
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def loopback_up() -> None:
    """A new network namespace has only a loopback, and that is down."""
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(plug, 0x8913, request))[1]
        fcntl.ioctl(plug, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


def drop_privileges() -> None:
    """No way back: neither by capability nor by a set-user-id program."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for number in set(range(last + 1)) - KEPT_CAPABILITIES:
        call("drop a capability", libc().prctl, PR_CAPBSET_DROP, number, 0, 0, 0)
    call("no new privileges", libc().prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def inside(spec: dict[str, Any], alive: int) -> int:
    """The first process of the namespace: builds the root, starts the command, buries the dead. When it ends, all end."""
    die_with_parent(signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:  # the other end closed: our parent died before the signal was set
        return FAILED
    loopback_up()
    change_root(spec["root"], spec["mounts"])
    child = os.fork()
    if child == 0:
        try:
            drop_privileges()
            os.chdir(spec["chdir"])
            os.setsid()
            os.execv(spec["command"][0], spec["command"])  # noqa: S606
        except (OSError, EnterError) as error:
            complain(error)
        os._exit(FAILED)
    while True:
        pid, status = os.wait()
        if pid == child:
            return exit_code(status)


def isolated(spec: dict[str, Any]) -> int:
    """The process outside: leaves the host's namespaces (its children do) and waits."""
    die_with_parent(signal.SIGKILL)
    if os.getppid() != spec["parent"]:
        return FAILED
    leave_host()
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        code = FAILED
        try:
            code = inside(spec, alive)
        except (OSError, EnterError) as error:
            complain(error)
        os._exit(code)
    return exit_code(os.waitpid(child, 0)[1])


def children(parent: int) -> set[int]:
    """The processes that `parent` started."""
    return {pid for pid, of in process_table() if of == parent}


def descendants(root: int) -> set[int]:
    """All processes below `root`."""
    below: dict[int, list[int]] = {}
    for pid, parent in process_table():
        below.setdefault(parent, []).append(pid)
    found: set[int] = set()
    queue = [root]
    while queue:
        for pid in below.get(queue.pop(), []):
            if pid not in found:
                found.add(pid)
                queue.append(pid)
    return found


def process_table() -> list[tuple[int, int]]:
    """(pid, parent) of every process that we may see."""
    if not os.path.isdir("/proc/self"):  # noqa: PTH112
        lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=10, check=False).stdout
        return [(int(pid), int(parent)) for pid, parent in (line.split() for line in lines.splitlines())]
    table = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                table.append((int(name), int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])))
    return table


def guarded(spec: dict[str, Any]) -> int:
    """No isolation: run the command, and kill all it started when it ends, when we are told to, or when our parent dies."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
    if sys.platform == "linux":
        die_with_parent(signal.SIGTERM)
        call("adopt orphans", libc().prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    process = subprocess.Popen(spec["command"], cwd=spec["chdir"], start_new_session=True)
    while process.poll() is None and not told and os.getppid() == spec["parent"]:
        time.sleep(0.05)
    bury_all(time.monotonic() + BURIAL_LIMIT_S)
    return process.returncode if process.returncode is not None else FAILED


def bury_all(deadline: float) -> None:
    """Kill everything below us: by process groups, which die in one step, while single ones would fork faster than we kill."""
    while (left := descendants(os.getpid())) and time.monotonic() < deadline:
        for group in groups_of(left):
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def groups_of(pids: set[int]) -> set[int]:
    """The process groups of some processes, without our own."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(os.getpgid(pid))
    return found - {os.getpgrp()}


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def complain(error: Exception) -> None:
    os.write(2, f"enter: {error}\n".encode())


def main() -> int:
    spec = json.loads(sys.argv[1])
    try:
        return isolated(spec) if spec["root"] else guarded(spec)
    except (OSError, EnterError) as error:
        complain(error)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
