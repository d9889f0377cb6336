"""ONNX files by OpenVINO, on the CPU: the same files as onnxruntime's, often faster there.

Expects: an ONNX file, as for onnxruntime.
Produces: a Backend that computes in float32, whatever this processor would rather do: the answers must be those of home.
Never: uses a GPU.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from . import backends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KIND = "openvino"


def package(accelerator: str = "cpu") -> Any:  # noqa: ARG001  as in its siblings
    """openvino. Raises BackendError when it is not here."""
    try:
        import openvino
    except ImportError as error:
        raise backends.missing(KIND, KIND, error) from error
    return openvino


def load(path: str, accelerator: str, threads: int) -> backends.Backend:
    """The model in the file `path`. Raises BackendError."""
    return OpenVino(path, accelerator, threads)


class OpenVino(backends.Backend):
    """A compiled model and its one infer request."""

    kind = KIND
    accelerator = "cpu"

    def __init__(self, path: str, accelerator: str, threads: int) -> None:
        openvino = package()
        self.version = str(openvino.__version__).partition("-")[0]
        self._grant(accelerator, "it is a backend for processors; use onnxruntime or torchscript")
        settings = {
            "INFERENCE_NUM_THREADS": max(1, threads),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,  # two workers would otherwise sit on the same core
        }
        try:
            compiled = _core().compile_model(_core().read_model(path), "CPU", settings)
        except Exception as error:
            raise backends.failed(KIND, self.version, path, error) from error
        self._request = compiled.create_infer_request()
        self._types = {port.get_any_name(): port.get_element_type() for port in compiled.inputs}
        self.inputs = tuple(self._types)
        self.outputs = tuple(port.get_any_name() for port in compiled.outputs)

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        for name, values in feeds.items():  # OpenVINO would convert silently, a float image to bytes too
            if values.dtype != self._types[name].to_dtype():
                raise TypeError(f"input {name!r} is {values.dtype}, the graph takes {self._types[name].to_dtype()}")
        self._request.infer(dict(feeds))
        return {name: self._request.get_tensor(name).data.copy() for name in names}


@functools.cache
def _core() -> Any:
    return package().Core()
