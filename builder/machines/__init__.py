"""The machines a kernel can run on: one .toml each, image and hardware, with the date and the source of each fact."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

from builder.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Machine:
    """One machine. Sizes are in bytes, times in seconds.

    Attributes:
        name: What kernel.toml calls it.
        shape: `machine_shape` of kernel-metadata.json; empty for a CPU session.
        accelerator: `cpu` or `cuda`.
        devices: Number of accelerators; 0 for CPU.
        cores: Logical CPU cores of the session.
        memory: Memory of the session.
        working: Size limit of /kaggle/working.
        session_limit_s: Longest session; a competition's own limit is usually shorter.
        layout: `typed` (/kaggle/input/datasets/<owner>/<slug>) or `classic` (/kaggle/input/<slug>).
        python: Python tags that the image may have.
        glibc: The image's C library, which decides which wheels load.
        packages: What the image has, name -> version, as far as the runtime cares.
        checked: Date on which the facts were last checked.
    """

    name: str
    shape: str
    accelerator: str
    devices: int
    cores: int
    memory: int
    working: int
    session_limit_s: float
    layout: str
    python: tuple[str, ...]
    glibc: str
    packages: dict[str, str]
    checked: str


def names() -> list[str]:
    """The machines that are known, sorted."""
    return sorted(entry.name[:-5] for entry in resources.files(__name__).iterdir() if entry.name.endswith(".toml"))


def load(name: str) -> Machine:
    """The machine called `name`. Raises UserError, with the nearest name, when there is none."""
    if name not in names():
        raise UserError(f"unknown machine '{name}'", expected=", ".join(names()), remedy=did_you_mean(name, names()))
    raw = tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text("utf-8"))
    image, hardware = raw["image"], raw["hardware"]
    return Machine(
        name=name,
        shape=hardware["machine_shape"],
        accelerator=hardware["accelerator"],
        devices=hardware["devices"],
        cores=hardware["cores"],
        memory=hardware["memory_gib"] << 30,
        working=hardware["working_gib"] << 30,
        session_limit_s=hardware["session_limit_h"] * 3600.0,
        layout=hardware["mount_layout"],
        python=tuple(image["python"]),
        glibc=image["glibc"],
        packages=dict(image["packages"]),
        checked=raw["checked"],
    )
