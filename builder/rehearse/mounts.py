"""What a notebook in the sandbox can see: a list of mounts, made from a session and this interpreter.

The root is an empty folder of the session, so that whatever a notebook writes anywhere lies on disk, is counted nowhere as
memory, and goes away with the session. Into it come, read-only: the system's programs, this interpreter with its packages, the
inputs; writable: /kaggle/working. The user's home, the workspace and everything else of the host do not exist there.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.errors import UserError

WORKING, INPUT = "/kaggle/working", "/kaggle/input"
SOURCE, DRIVER = "/kaggle/src", "/run/kkb/driver.py"
ONLINE = "/sys/devices/system/cpu/online"  # what os.cpu_count() counts
SITE = "/opt/site-packages"  # where pip installs to, on the path before the interpreter's own packages, which are read-only
FOLDERS = (SITE[1:], "tmp", "var/tmp", "root", "run", "etc", "kaggle/working", "kaggle/temp", "kaggle/tmp", "kaggle/src")

SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Of /etc only what programs need to start, find fonts, certificates and GPUs; host names, accounts and secrets stay outside.
ETC = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "timezone", "mime.types", "magic", "services"),
    *(
        "protocols",
        "os-release",
        "debian_version",
        "fonts",
        "ssl",
        "ca-certificates",
        "pki",
        "crypto-policies",
        "OpenCL",
        "vulkan",
    ),
    *("nvidia", "ImageMagick-6", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "matplotlibrc", "openmpi", "gai.conf"),
)
FURTHER = ("/nix/store", "/opt/cuda", "/opt/nvidia", "/opt/rocm")
# Of an interpreter's prefix only its own folders: a virtual environment may have been made in the workspace itself.
PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "include", "share", "etc", "ssl", "nvvm", "pyvenv.cfg")
# A root without capabilities still owns these files: what is written to them changes the host.
SWITCHES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi", "/proc/mtrr")
MOST_ENTRIES = 500  # mounts for one input
GPU_DEVICES = ("nvidia*", "dxg", "dri", "kfd")


@dataclass(frozen=True)
class Mount:
    """One step of building the root, in order.

    Attributes:
        kind: `ro`, `rw`, `dev` (bind the source), `symlink`, `tmpfs`, `seal` (make that tmpfs read-only), `proc`, `devices`.
        source: Path at home, or the text of the link; empty for the others.
        target: Path inside.
    """

    kind: str
    source: str
    target: str


def of_system(python: Path | None = None) -> list[Mount]:
    """What every sandbox has: programs, libraries, parts of /etc, /sys, /proc, devices, an interpreter (default: this one)."""
    found = [Mount("ro", "/usr", "/usr")]
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            found.append(Mount("symlink", str(path.readlink()), str(path)))
        elif path.is_dir():
            found.append(Mount("ro", str(path), str(path)))
    optional = [*(f"/etc/{name}" for name in ETC), *FURTHER]
    found += [Mount("ro", path, path) for path in optional if Path(path).exists()]
    found += [Mount("ro", "/sys", "/sys"), Mount("proc", "", "/proc"), Mount("devices", "", "/dev")]
    found += [Mount("ro", path, path) for path in SWITCHES if Path(path).exists()]
    found += [Mount("dev", str(path), str(path)) for pattern in GPU_DEVICES for path in sorted(Path("/dev").glob(pattern))]
    return found + [Mount("ro", path, path) for path in of_python(python)]


def of_python(python: Path | None = None) -> list[str]:
    """Paths that an interpreter needs: its prefixes, those of the links that lead to it.

    Of this one (None) also the user's packages when it uses them.
    """
    prefixes = {hop.parent.parent for hop in _hops(python.absolute() if python else Path(sys.executable))}
    if python is None:
        prefixes |= {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)}
        if site.ENABLE_USER_SITE:
            prefixes.add(Path(site.getuserbase()))
    prefixes |= {prefix.resolve() for prefix in prefixes}
    outside = sorted(prefix for prefix in prefixes if prefix != Path("/") and not _below(str(prefix), ("/usr", *SYSTEM)))
    return [str(prefix / part) for prefix in outside for part in PREFIX_PARTS if (prefix / part).exists()]


def _hops(path: Path) -> Iterator[Path]:
    """A path and what it links to, link by link."""
    for _ in range(20):
        yield path
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def of_cores(root: Path, cores: list[int]) -> list[Mount]:
    """Makes os.cpu_count() tell the cores that a session has; nothing when it has all."""
    if not cores or not Path(ONLINE).exists():
        return []
    told = root / "run" / "online"
    told.write_text(",".join(map(str, cores)) + "\n")
    return [Mount("ro", str(told), ONLINE)]


def of_input(source: Path, target: str) -> list[Mount]:
    """One input, bound as it is; entry by entry when some of its entries are links, whose targets would be missing inside."""
    entries = sorted(source.iterdir()) if _has_links(source) else []
    if not entries:
        return [Mount("ro", str(source), target)]
    if len(entries) > MOST_ENTRIES:
        raise UserError(
            "an input holds links beside too many other files to be mounted",
            file=source,
            found=f"{len(entries)} entries, of which some are links",
            expected=f"no links, or at most {MOST_ENTRIES} entries",
            remedy="put the files themselves there (hard links will do)",
        )
    bound = [Mount("ro", str(path.resolve()), f"{target}/{path.name}") for path in entries if path.exists()]
    return [Mount("tmpfs", "", target), *bound, Mount("seal", "", target)]


def _has_links(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_symlink() for entry in entries)


def of_session(notebook: Path, driver: Path, working: Path, inputs: Mapping[str, Path], extra: Mapping[str, Path]) -> list[Mount]:
    """What this session adds: its notebook, the driver, the working folder, inputs and extras."""
    found = [Mount("ro", str(notebook.resolve()), place_of(notebook)), Mount("ro", str(driver.resolve()), DRIVER)]
    found += [Mount("rw", str(working.resolve()), WORKING), Mount("tmpfs", "", INPUT)]
    # Shorter paths first: what lies below another mount must come after it.
    found += [mount for key in sorted(inputs) for mount in of_input(inputs[key].resolve(), f"{INPUT}/{key}")]
    added = [Mount("ro", str(extra[target].resolve()), target) for target in sorted(extra)]
    among_inputs = [mount for mount in added if _below(mount.target, (INPUT,))]
    return [*found, *among_inputs, Mount("seal", "", INPUT), *(mount for mount in added if mount not in among_inputs)]


def place_of(notebook: Path) -> str:
    """Where a notebook or script lies inside."""
    return f"{SOURCE}/script.py" if notebook.suffix == ".py" else f"{SOURCE}/notebook.ipynb"


def check(inputs: Mapping[str, Path], extra: Mapping[str, Path]) -> None:
    """Raises UserError when a source is missing or a path inside is not a plain path."""
    for key, source in inputs.items():
        if not source.is_dir():
            found = "a file" if source.exists() else "nothing"
            raise UserError(f"input '{key}' is not a folder", file=source, found=found, expected="a folder to mount")
        if not key or PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts:
            raise UserError(
                "an input's mount path leaves /kaggle/input", found=key, expected="a path such as datasets/me/my-weights"
            )
    for target, source in extra.items():
        if not source.exists():
            raise UserError(f"missing file for {target}", file=source, expected="a file or folder to mount")
        if not PurePosixPath(target).is_absolute() or ".." in PurePosixPath(target).parts:
            raise UserError("an extra mount needs an absolute path inside the sandbox", found=target, expected="/kaggle/...")


def fill_root(root: Path) -> None:
    """Make the folder that becomes `/`: empty folders, and the few files of /etc that must not be the host's."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    user, group = os.geteuid(), os.getegid()
    name = "root" if user == 0 else "kaggle"
    files = {
        "passwd": f"{name}:x:{user}:{group}:{name}:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "group": f"{name}:x:{group}:\nnogroup:x:65534:\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
        "hostname": "kaggle\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }
    for name, text in files.items():
        (root / "etc" / name).write_text(text)
