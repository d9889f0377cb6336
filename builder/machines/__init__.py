"""The machines a kernel can run on: one .toml each, image and hardware, with the date and the source of each fact.

Those that kkb brings lie beside this module. A workspace may have its own in `machines/`, committed like its kernels: they come
first, so `kkb machine capture`, which writes there, replaces what was read in public by what was seen.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import UserError, did_you_mean
from builder.workspace import Workspace

FOLDER = "machines"  # in a workspace
BUILT_IN = Path(__file__).parent
GIB = 1 << 30
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Machine:
    """One machine. Sizes are in bytes, times in seconds; 0 and empty mean unknown.

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
        packages: What the image has, name -> version, as far as it is known.
        checked: Date on which the facts were last checked.
        cuda: Version of CUDA that the image's packages are built for.
        docker_image: The image, by digest, that kernels are pinned to; empty for the newest one.
        device: What the accelerators are called.
        device_memory: Memory of each of them.
        processor: What the processor is called.
        speed_single, speed_every: What `rehearse.benchmark` reaches there: one process alone, and as many as there are cores.
        scratch: Disk outside /kaggle/working.
        output_files: Files that a run may leave behind.
        log_bytes: Where a log is cut off.
        sources: Fact (`image.python`, `limits`) -> date and source, in words.
        file: Where all this is written.
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
    cuda: str = ""
    docker_image: str = ""
    device: str = ""
    device_memory: int = 0
    processor: str = ""
    speed_single: float = 0.0
    speed_every: float = 0.0
    scratch: int = 0
    output_files: int = 0
    log_bytes: int = 0
    sources: dict[str, str] = field(default_factory=dict)
    file: str = ""

    @property
    def batch(self) -> int:
        """Samples per call, unless prices show another to be faster for a model.

        A thread of a CPU loses its caches to larger batches: at 224 pixels, efficientnet_b0 takes 17, 17, 19 and 21 ms per sample
        in batches of 1, 2, 4 and 8, mobilenetv2_100 10.7, 10.7, 11.4 and 11.9, resnet18 33 in any (2026-11-22). Smaller models
        lose more to calls. A GPU wants to be filled.
        """
        return 8 if self.accelerator == "cpu" else 32


def names(workspace: Path | None = None) -> list[str]:
    """The machines that are known, sorted: those of the workspace (default: that of the current folder) and the built-in ones."""
    return sorted(_files(workspace))


def load(name: str, workspace: Path | None = None) -> Machine:
    """The machine called `name`.

    Raises:
        UserError: There is none (with the nearest name), or its file is not complete.
    """
    files = _files(workspace)
    if name not in files and "tpu" in name.lower():
        remedy = "set competition.machine to one of them"
        raise UserError("TPUs are not supported", found=name, expected=", ".join(sorted(files)), remedy=remedy)
    if name not in files:
        raise UserError(f"unknown machine '{name}'", expected=", ".join(sorted(files)), remedy=did_you_mean(name, files))
    return parse(name, read(files[name]), files[name])


def _files(workspace: Path | None) -> dict[str, Path]:
    own = (workspace or _here()) / FOLDER
    return {path.stem: path for folder in (BUILT_IN, own) for path in sorted(folder.glob("*.toml"))}


def _here() -> Path:
    try:
        return Workspace.find().root
    except OSError:  # the current folder was removed
        return BUILT_IN


def read(path: Path) -> dict[str, Any]:
    """The tables of a machine's file. Raises UserError when it is not TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError("not a readable machine", file=path, found=error, remedy=_remedy(path)) from None


def parse(name: str, raw: Mapping[str, Any], file: Path) -> Machine:
    """The machine in the tables `raw` of `file`. Raises UserError that names the first key at fault."""

    def get(key: str, kind: Callable[[Any], Any], default: Any = None) -> Any:
        value: Any = raw
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        try:
            if value is None and default is None:
                raise ValueError("missing")
            return default if value is None else kind(value)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"'{key}' of machine '{name}' is wrong",
                file=file,
                found=value if value is not None else error,
                remedy=_remedy(file),
            ) from None

    return Machine(
        name=name,
        shape=get("hardware.machine_shape", _text),
        accelerator=get("hardware.accelerator", _one_of("cpu", "cuda")),
        devices=get("hardware.devices", _count),
        cores=get("hardware.cores", _count),
        memory=get("hardware.memory_gib", _gib),
        working=get("limits.working_gib", _gib),
        session_limit_s=get("limits.session_h", float) * 3600.0,
        layout=get("hardware.mount_layout", _one_of("typed", "classic")),
        python=get("image.python", _texts),
        glibc=get("image.glibc", _text),
        packages=get("image.packages", _table),
        checked=get("checked", _text),
        cuda=get("image.cuda", _text, ""),
        docker_image=get("image.docker_image", _text, ""),
        device=get("hardware.device", _text, ""),
        device_memory=get("hardware.device_memory_gib", _gib, 0),
        processor=get("hardware.processor", _text, ""),
        speed_single=get("hardware.speed_single", _speed, 0.0),
        speed_every=get("hardware.speed_every", _speed, 0.0),
        scratch=get("hardware.scratch_gib", _gib, 0),
        output_files=get("limits.output_files", _count, 0),
        log_bytes=get("limits.log_mib", _count, 0) << 20,
        sources=get("sources", _table, {}),
        file=str(file),
    )


def _remedy(file: Path) -> str:
    return "report this" if file.parent == BUILT_IN else f"mend {file.name}, or remove it and run `kkb machine capture`"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError("not a list of texts")
    return tuple(_text(one) for one in value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("not a number of 0 or more")
    return value


def _gib(value: Any) -> int:
    """A size that is written in GiB; halves are fine."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError("not a size of 0 or more")
    return int(value * GIB)


def _speed(value: Any) -> float:
    """A speed, or `unknown`, which is 0."""
    if value == UNKNOWN:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"neither a speed above 0 nor '{UNKNOWN}'")
    return float(value)


def _table(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError("not a table")
    return {str(name): _text(one) for name, one in value.items()}


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"not one of {', '.join(words)}")
        return str(value)

    return check
