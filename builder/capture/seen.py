"""From what the probe saw to a machine's tables. Pure.

Limits, the shape and the accelerator's kind are taken over: a session cannot see them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from builder.errors import RunError
from builder.machines import GIB, UNKNOWN, Machine

MIB = 1 << 20
SPEEDS = ("speed_single", "speed_every")
FASTEST = 1e6  # that a machine's file takes
KEPT = "taken over from what was known"


def tables(
    seen: Mapping[str, Any], base: Machine, image: str, source: str, dataset: str, *, strict: bool = True
) -> dict[str, Any]:
    """The tables of the machine's file.

    Args:
        seen: What the probe wrote.
        base: The machine that was asked for.
        image: The image that ran, by digest; empty when Kaggle does not tell.
        source: Date and origin.
        dataset: Slug of the probe's dataset, whose place tells the layout.
        strict: Whether the GPUs must be those that were asked for.

    Raises:
        RunError: The session was not the machine that was asked for.
    """
    gpus = seen["gpus"]
    if strict and base.shape and len(gpus) != base.devices:
        raise RunError(
            f"the session was not the machine '{base.name}'",
            found=f"{len(gpus)} GPUs ({', '.join(gpu['name'] for gpu in gpus) or 'none'})",
            expected=f"{base.devices}, for machine_shape {base.shape}",
            remedy="check the accelerator: Kaggle replaces retired ones without a word, and some need the right competition",
        )
    layout = layout_of(seen["mounts"], dataset)
    packages = _packages(seen["packages"])
    scratch = max((disk["free"] for name, disk in seen["disks"].items() if name != "working"), default=0)
    hardware: dict[str, Any] = {"machine_shape": base.shape, "accelerator": base.accelerator, "devices": base.devices}
    if gpus:
        hardware |= {"device": gpus[0]["name"], "device_memory_gib": _gib(gpus[0]["mib"] * MIB)}
    hardware |= {"processor": seen.get("processor", ""), "cores": seen["cores"], "memory_gib": _gib(seen["memory"])}
    hardware |= {name: _speed(seen, name.removeprefix("speed_")) for name in SPEEDS}
    hardware |= {"scratch_gib": _gib(scratch), "mount_layout": layout or base.layout}
    python = ".".join(str(seen["python"]).split(".")[:2])
    limits = {
        "session_h": base.session_limit_s / 3600,
        "working_gib": _gib(base.working),
        "output_files": base.output_files,
        "log_mib": base.log_bytes >> 20,
    }
    sources = dict.fromkeys(("image", "hardware"), source)
    kept = [
        "hardware.machine_shape",
        "hardware.accelerator",
        "hardware.devices",
        *(["hardware.mount_layout"] if not layout else []),
    ]
    sources |= {f"limits.{name}": base.sources.get(f"limits.{name}", KEPT) for name in limits}
    sources |= {name: base.sources.get(name, KEPT) for name in kept}
    return {
        "checked": source[:10],
        "image": {
            "python": [python],
            "glibc": str(seen["glibc"]),
            "cuda": cuda_of(packages) if base.shape else "",
            "docker_image": image,
            "packages": packages,
        },
        "hardware": hardware,
        "limits": limits,
        "sources": sources,
    }


def layout_of(mounts: Mapping[str, Any], dataset: str) -> str:
    """`typed` or `classic`, by where the dataset is mounted; empty when it was not seen."""
    if any(dataset in (owner or {}) for owner in (mounts.get("datasets") or {}).values()):
        return "typed"
    return "classic" if dataset in mounts or "d" in mounts else ""


def cuda_of(packages: Mapping[str, str]) -> str:
    """The CUDA that torch was built for: `12.8` of `2.11.0+cu128`."""
    found = re.search(r"\+cu(\d+)(\d)$", packages.get("torch", ""))
    return f"{found.group(1)}.{found.group(2)}" if found else ""


def _packages(found: Mapping[str, str]) -> dict[str, str]:
    """Those with a version that can be compared: others cannot be resolved against."""
    kept = {}
    for name, version in found.items():
        try:
            kept[canonicalize_name(name)] = str(Version(str(version)))
        except InvalidVersion:
            continue
    return dict(sorted(kept.items()))


def _speed(seen: Mapping[str, Any], name: str) -> float | str:
    """A speed that was measured; what is none, or too odd to be one, is not known."""
    found = (seen.get("speed") or {}).get(name)
    return found if isinstance(found, float | int) and 0 < found < FASTEST else UNKNOWN


def _gib(size: float) -> int | float:
    """Bytes as GiB, with one digit, rounded down: a machine must not be taken for larger than it is."""
    tenths = int(size * 10 // GIB)
    return tenths // 10 if tenths % 10 == 0 else tenths / 10


def changes(before: Machine, after: Machine) -> tuple[str, ...]:
    """How a captured machine differs from what was known of it, in words; packages that were not listed are counted only."""
    names = ("python", "glibc", "cuda", "docker_image", "cores", "memory", "layout", "device", "device_memory", *SPEEDS)
    found = [
        f"{name}: {getattr(before, name) or '-'} -> {getattr(after, name) or '-'}"
        for name in names
        if _differs(before, after, name)
    ]
    for name, version in before.packages.items():
        now = after.packages.get(canonicalize_name(name))
        if now != version:
            found.append(f"{name}: {version} -> {now or 'not there'}")
    new = len(after.packages) - len(before.packages)
    return (*found, *([f"{new} more packages are listed"] if new > 0 else []))


def _differs(before: Machine, after: Machine, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))
