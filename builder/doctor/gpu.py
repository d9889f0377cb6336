"""The GPU and its driver, against the CUDA that torch and onnxruntime-gpu were built for.

What the packages can really do is asked in a process of its own: importing them takes seconds and may crash.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.doctor.packages import Installed, install, pip
from builder.doctor.record import NOTE, SHOULD, Finding, fine

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
PATIENCE_S, IMPORT_PATIENCE_S = 20.0, 120.0
CUDA_13_SINCE = (1, 27)  # onnxruntime-gpu; those before are built for CUDA 12
# The smallest model that onnxruntime takes: y = Identity(x), float, shape (1,); by hand, because the onnx package may be missing.
IDENTITY = (
    "080812003a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a02080162"
    "0f0a0179120a0a08080112040a02080142040a00100d"
)
ASK_TORCH = """
import json, torch
able = torch.cuda.is_available()
print(json.dumps({"cuda": torch.version.cuda, "able": able, "architectures": torch.cuda.get_arch_list() if able else []}))
"""
ASK_ONNXRUNTIME = f"""
import json
try:
    import torch  # brings CUDA's libraries along
except ImportError:
    pass
import onnxruntime
onnxruntime.set_default_logger_severity(4)
try:
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(bytes.fromhex("{IDENTITY}"), providers=wanted)
    print(json.dumps({{"providers": session.get_providers()}}))
except Exception as error:
    print(json.dumps({{"providers": [], "error": str(error)[:200]}}))
"""
Run = Callable[[Sequence[str], float], str | None]


@dataclass(frozen=True)
class Gpus:
    """What nvidia-smi tells.

    Attributes:
        names: One per GPU.
        driver: Its version.
        cuda: The newest CUDA that the driver runs; (0, 0) when not told.
        capabilities: One per GPU, such as `sm_90`.
    """

    names: tuple[str, ...]
    driver: str
    cuda: tuple[int, int]
    capabilities: tuple[str, ...]


def output_of(command: Sequence[str], limit_s: float) -> str | None:
    """What a command prints; None when there is no such command, or it fails, or it takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def gpus(run: Run = output_of) -> Gpus | None:
    """The GPUs here; None when there is none, or its driver does not answer."""
    rows = [[part.strip() for part in line.split(",")] for line in (run(QUERY, PATIENCE_S) or "").splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if not rows:
        return None
    told = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", run(("nvidia-smi",), PATIENCE_S) or "")
    cuda = (int(told[1]), int(told[2])) if told else (0, 0)
    capabilities = tuple("sm_" + row[2].replace(".", "") for row in rows)
    return Gpus(tuple(row[0] for row in rows), rows[0][1], cuda, capabilities)


def gpu(here: Gpus | None, found: Installed, where: str, run: Run = output_of) -> Iterator[Finding]:
    """The GPU, and what torch and onnxruntime make of it."""
    if found("onnxruntime") and found("onnxruntime-gpu"):
        meaning = "both write into the same folder, so which one is imported is chance"
        remedy = f"{pip('uninstall', '-y', 'onnxruntime', 'onnxruntime-gpu')} && {install('gpu', where)}"
        yield Finding(SHOULD, "onnxruntime-two", "onnxruntime and onnxruntime-gpu are both installed", meaning, remedy)
    if here is None:
        meaning = (
            "training runs on the CPU; forecasts for Kaggle's GPUs come from runs there (`kkb output`), not from this machine"
        )
        yield Finding(NOTE, "gpu", "no NVIDIA GPU that answers", meaning, "nvidia-smi  (when there should be one)")
        return
    runs = f"runs CUDA up to {here.cuda[0]}.{here.cuda[1]}" if here.cuda[0] else "does not tell its CUDA"
    yield fine("gpu", f"{', '.join(here.names)}; driver {here.driver}, which {runs}")
    if found("torch"):
        yield from _torch(here, _told(run, ASK_TORCH), found("torch"))
    yield from _onnxruntime(here, found, where, run)


def _told(run: Run, program: str) -> Mapping[str, Any] | None:
    """The last line of JSON that a program prints; None when there is none."""
    lines = (run((sys.executable, "-c", program), IMPORT_PATIENCE_S) or "").strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _torch(here: Gpus, told: Mapping[str, Any] | None, version: str | None) -> Iterator[Finding]:
    again = pip("install", "--force-reinstall", "torch", "torchvision")
    slow = "training and adopting run on the CPU"
    if told is None:
        yield Finding(
            SHOULD, "torch-gpu", f"torch {version} cannot be imported", "kkb train, adopt and export do not work", again
        )
    elif not told["cuda"]:
        yield Finding(SHOULD, "torch-gpu", f"torch {version} was built without CUDA", slow, again)
    elif not told["able"]:
        message = f"torch {version} was built for CUDA {told['cuda']} and does not see the GPU"
        if here.cuda[0] and int(str(told["cuda"]).split(".")[0]) > here.cuda[0]:
            message += f": driver {here.driver} runs CUDA up to {here.cuda[0]}.{here.cuda[1]}"
            again = f"upgrade the NVIDIA driver, or: {pip('install', 'torch<' + str(version).split('+')[0])}"
        yield Finding(SHOULD, "torch-gpu", message, slow, again)
    elif missing := [one for one in here.capabilities if not _runs_on(one, told["architectures"])]:
        meaning = "the first CUDA operation fails with 'no kernel image is available'"
        yield Finding(SHOULD, "torch-gpu", f"torch {version} has no code for {', '.join(missing)}", meaning, again)
    else:
        yield fine("torch-gpu", f"torch {version} for CUDA {told['cuda']} uses the GPU")


def _runs_on(capability: str, architectures: Sequence[str]) -> bool:
    """Whether code for some architecture runs on a GPU: the same major number and not a newer minor one."""
    number = capability.removeprefix("sm_")
    built = [name.removeprefix("sm_").rstrip("af") for name in architectures if name.startswith("sm_")]
    return any(one[:-1] == number[:-1] and int(one) <= int(number) for one in built if one.isdigit())


def _onnxruntime(here: Gpus, found: Installed, where: str, run: Run) -> Iterator[Finding]:
    version = found("onnxruntime-gpu")
    meaning = "exports are compared and priced on the CPU here"
    if version is None:
        if found("onnxruntime"):
            remedy = f"{pip('uninstall', '-y', 'onnxruntime')} && {install('gpu', where)}"
            yield Finding(NOTE, "onnxruntime-gpu", "onnxruntime is installed without its GPU part", meaning, remedy)
        return
    built = 13 if tuple(int(part) for part in version.split(".")[:2]) >= CUDA_13_SINCE else 12
    told = _told(run, ASK_ONNXRUNTIME)
    if told and "CUDAExecutionProvider" in told["providers"]:
        yield fine("onnxruntime-gpu", f"onnxruntime-gpu {version} for CUDA {built} uses the GPU")
        return
    message = f"onnxruntime-gpu {version} was built for CUDA {built} and falls back to the CPU"
    if here.cuda[0] and built > here.cuda[0]:
        message += f": driver {here.driver} runs CUDA up to {here.cuda[0]}.{here.cuda[1]}"
    yield Finding(SHOULD, "onnxruntime-gpu", message, meaning, install("gpu", where))
