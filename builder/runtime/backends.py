"""The one module that runs models: a file and a batch in, probabilities out.

Expects: an ONNX graph with one input `image`, uint8 (n, height, width, 3), and one output `logits`, float (n, classes);
    normalisation and layout are inside the graph.
Produces: float32 (n, classes) that sum to 1; the softmax is done here, in float64, and nowhere else.
Never: decodes, blends, or falls back to another device without being told to (`KKB_ALLOW_CPU=1`, for rehearsals on a
    machine without the accelerator).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALLOW_CPU = "KKB_ALLOW_CPU"
INPUT, OUTPUT = "image", "logits"
PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
_arena: dict[str, bool] = {}


class BackendError(RuntimeError):
    """Raised when a model cannot be loaded or the accelerator that the plan asks for is not there."""


class Backend(Protocol):
    """A loaded model. `accelerator` is what it really runs on: `cpu` or `cuda`."""

    accelerator: str

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]: ...

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]: ...


def open(path: str | os.PathLike[str], accelerator: str = "cpu", threads: int = 1) -> Backend:  # noqa: A001
    """The model in the ONNX file `path` on `accelerator` (`cpu` or `cuda`), with `threads` threads for its CPU operators.

    Raises BackendError when the file is no model of the kind above, or when CUDA is asked for and not usable.
    """
    if accelerator not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise BackendError(f"unknown accelerator {accelerator!r}; known are {known}")
    return OnnxBackend(os.fspath(path), accelerator, threads)


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities float32 (n, classes) of logits (n, classes), computed in float64. Rows that are not finite become NaN."""
    wide = np.asarray(logits, dtype=np.float64)
    with np.errstate(all="ignore"):
        wide = np.exp(wide - wide.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = (wide / wide.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


class OnnxBackend:
    """An onnxruntime session."""

    def __init__(self, path: str, accelerator: str, threads: int) -> None:
        if not Path(path).is_file():
            raise BackendError(f"no such model file: {path}")
        onnxruntime = _onnxruntime(accelerator)
        options = _options(onnxruntime, accelerator, threads)
        wanted = [name for name in PROVIDERS[accelerator] if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(path, sess_options=options, providers=wanted)
        except Exception as error:
            raise BackendError(f"onnxruntime {onnxruntime.__version__} cannot load {path}: {error}") from error
        names = [node.name for node in self._session.get_inputs()], [node.name for node in self._session.get_outputs()]
        if names != ([INPUT], [OUTPUT]):
            raise BackendError(f"{path}: found inputs {names[0]} and outputs {names[1]}, expected {[INPUT]} and {[OUTPUT]}")
        self.accelerator = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        if self.accelerator != accelerator and os.environ.get(ALLOW_CPU) != "1":
            raise BackendError(
                f"the plan runs on {accelerator}, but onnxruntime {onnxruntime.__version__} runs this model with "
                f"{self._session.get_providers()}: the accelerator is off, or onnxruntime was built for another CUDA; "
                f"{ALLOW_CPU}=1 rehearses on the CPU"
            )

    def logits(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The graph's output float32 (n, classes) for uint8 (n, height, width, 3)."""
        out = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(batch)})[0]
        return np.asarray(out, dtype=np.float32)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 (n, classes) for uint8 (n, height, width, 3)."""
        return softmax(self.logits(batch))


def _onnxruntime(accelerator: str) -> Any:
    """The module, with CUDA's libraries loaded first when they are needed: torch brings the ones that onnxruntime looks for."""
    if accelerator == "cuda":
        with contextlib.suppress(ImportError):
            import torch  # noqa: F401
    import onnxruntime

    if accelerator == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return onnxruntime


def _options(onnxruntime: Any, accelerator: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if accelerator == "cpu" and _share_arena(onnxruntime):
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
