"""ONNX files by onnxruntime, on the CPU or by CUDA.

Expects: an ONNX file; weights over 2 GB lie beside it, under the name that the file gives them.
Produces: a Backend whose sessions share one arena per process.
Never: runs on the CPU when CUDA was asked for.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import backends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

KIND = "onnxruntime"
PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
WHEELS = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu>=1.24,<1.27"}  # the latter for the CUDA 12 of the image's torch
_arena: dict[str, bool] = {}
_frugal: ContextVar[bool] = ContextVar("frugal", default=False)


@contextlib.contextmanager
def frugal() -> Iterator[None]:
    """Sessions that are opened within have no arena: slower, for a process that must stay small rather than be fast."""
    before = _frugal.set(True)
    try:
        yield
    finally:
        _frugal.reset(before)


def package(accelerator: str) -> Any:
    """onnxruntime, with CUDA's libraries loaded first when they are needed: torch brings the ones that it looks for."""
    if accelerator == "cuda":
        with contextlib.suppress(ImportError):
            import torch  # noqa: F401
    try:
        import onnxruntime
    except ImportError as error:
        raise backends.missing(KIND, WHEELS[accelerator], error) from error
    if accelerator == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return onnxruntime


def load(path: str, accelerator: str, threads: int) -> backends.Backend:
    """The model in the file `path`. Raises BackendError."""
    return OnnxRuntime(path, accelerator, threads)


class OnnxRuntime(backends.Backend):
    """An onnxruntime session."""

    kind = KIND

    def __init__(self, path: str, accelerator: str, threads: int) -> None:
        onnxruntime = package(accelerator)
        self.version = str(onnxruntime.__version__)
        options = _options(onnxruntime, accelerator, threads)
        wanted = [name for name in PROVIDERS[accelerator] if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(path, sess_options=options, providers=wanted)
        except Exception as error:
            raise backends.failed(KIND, self.version, path, error, _hint(str(error))) from error
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())
        self.accelerator = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        self._grant(accelerator, "the accelerator is off, or this onnxruntime was built for the CPU or for another CUDA")

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, self._session.run(list(names), dict(feeds)), strict=True))


def _hint(cause: str) -> str:
    """What to do about the causes that are known."""
    if "IR version" in cause or "opset" in cause.lower():
        return "written for a newer onnxruntime than the one here: export it again, or ship a newer wheel"
    if "external" in cause.lower():
        return "its weights lie in a file of their own, which must be beside it under the name they were written with"
    return ""


def _options(onnxruntime: Any, accelerator: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if _frugal.get():
        options.enable_cpu_mem_arena = False
    elif accelerator == "cpu" and _share_arena(onnxruntime):
        options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def _share_arena(onnxruntime: Any) -> bool:
    """One memory arena for all sessions of the process: with one each, much of a many-model run is page faults."""
    if "cpu" not in _arena:
        try:
            kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
            memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
            onnxruntime.create_and_register_allocator(memory, None)
            _arena["cpu"] = True
        except Exception:  # noqa: BLE001  an optimisation: a build without it runs the same, slower
            _arena["cpu"] = False
    return _arena["cpu"]
