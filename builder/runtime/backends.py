"""The one door to the packages that run models: a file and a batch in, logits or probabilities out.

Expects: a model file of one of KINDS (`<format>_backend.py` says what it must hold); normalisation and layout are in the graph.
    One of its outputs is called `logits`, float (n, outputs), if it is to be run; several outputs can be read by `logits`.
Produces: float32; answers are what `heads.answers` makes of `logits`, for models of one class per row their softmax.
Never: decodes, blends, or falls back to another device without being told to (`KKB_ALLOW_CPU=1`, for rehearsals on a
    machine without the accelerator).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .contract import BACKENDS as KINDS
from .heads import answers, single

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from .contract import Head

    Feeds = NDArray[Any] | Mapping[str, NDArray[Any]]

ALLOW_CPU = "KKB_ALLOW_CPU"
INPUT, OUTPUT = "image", "logits"
ACCELERATORS = ("cpu", "cuda")
_MODULES = {
    "onnxruntime": "onnx_backend",
    "openvino": "openvino_backend",
    "torchscript": "torchscript_backend",
    "lightgbm": "lightgbm_backend",
    "xgboost": "xgboost_backend",
}


class BackendError(RuntimeError):
    """Raised when a model cannot be loaded, has other inputs or outputs than are asked of it, or lacks its accelerator."""


class OutputError(BackendError):
    """Raised when `logits` are not those of the heads: no other batch will fare better."""


class Backend:
    """A loaded model: the base of those in `*_backend.py`, which fill the attributes and `_call`.

    Attributes:
        kind: One of KINDS.
        version: Of the package that runs it.
        accelerator: What it really runs on: `cpu` or `cuda`.
        inputs, outputs: The graph's own names, in its order.
    """

    kind: str
    version: str
    accelerator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def logits(self, feeds: Feeds) -> dict[str, NDArray[np.float32]]:
        """Every output of the graph by name, as float32.

        Args:
            feeds: Arrays by input name, with equal leading axes; for a graph with one input the bare array does.
        """
        return self._outputs(feeds, self.outputs)

    def run(self, feeds: Feeds, heads: Sequence[Head] | None = None) -> NDArray[np.float32]:
        """Answers float32 (n, outputs) of the output `logits`; without `heads` its softmax.

        Raises BackendError when there is no such output, OutputError when it is not one of these heads.
        """
        if OUTPUT not in self.outputs:
            raise BackendError(f"the graph's outputs are {', '.join(self.outputs)}; expected one called {OUTPUT!r}")
        logits = self._outputs(feeds, (OUTPUT,))[OUTPUT]
        if not heads:
            return softmax(logits)
        try:
            return answers(logits, heads)
        except ValueError as error:
            raise OutputError(f"{OUTPUT}: {error}") from None

    def _outputs(self, feeds: Feeds, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found = self._call(self._named(feeds), names)
        return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}

    def _named(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """What the graph takes, by name; arrays that another graph takes are left out."""
        if not isinstance(feeds, Mapping):
            if len(self.inputs) != 1:
                raise BackendError(f"the graph takes {', '.join(self.inputs)}: give arrays by these names, not a bare array")
            feeds = {self.inputs[0]: feeds}
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise BackendError(f"the graph takes {', '.join(self.inputs)}; found {', '.join(feeds) or 'nothing'}")
        return {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> Mapping[str, NDArray[Any]]:
        """The outputs `names` for contiguous `feeds`."""
        raise NotImplementedError

    def _grant(self, asked: str, why: str) -> None:
        """Raise BackendError when the model does not run on the accelerator that was asked for. `why` ends the sentence."""
        if self.accelerator != asked and os.environ.get(ALLOW_CPU) != "1":
            raise BackendError(
                f"the plan runs on {asked}, but {self.kind} {self.version} runs this model on {self.accelerator}: {why}; "
                f"{ALLOW_CPU}=1 rehearses on the CPU"
            )


def open(  # noqa: A001  the word for it
    path: str | os.PathLike[str], accelerator: str = "cpu", threads: int = 1, kind: str = "onnxruntime"
) -> Backend:
    """The model in the file `path`, run by `kind` on `accelerator` (`cpu` or `cuda`) with `threads` CPU threads.

    Raises BackendError when the file is no such model, the package is missing, or CUDA is asked for and not usable.
    """
    for what, given, known in (("accelerator", accelerator, ACCELERATORS), ("backend", kind, KINDS)):
        if given not in known:
            raise BackendError(f"unknown {what} {given!r}; known are {', '.join(known)}")
    file = Path(path)
    if file.is_dir():
        raise BackendError(
            f"{file} is a folder, expected a model file: Kaggle unpacks what looks like an archive; "
            "ship it as .onnx or .ts.bin, which it leaves alone"
        )
    if not file.is_file():
        raise BackendError(f"no such model file: {file}")
    backend: Backend = _module(kind).load(os.fspath(file), accelerator, threads)
    return backend


def missing(kind: str, wheel: str, error: ImportError) -> BackendError:
    """The error of a package that cannot be imported: which wheel to ship."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return BackendError(
        f"{kind} cannot be imported here ({error}): this image lacks it; "
        f"ship the wheel of {wheel!r} for Python {python} (bundle.requirements in kernel.toml)"
    )


def versions(kinds: Iterable[str], accelerator: str = "cpu") -> dict[str, str]:
    """Version by package for those of `kinds` that are here; loading the packages takes seconds, which no model then pays."""
    found = {}
    for kind in sorted(set(kinds) & set(KINDS)):
        with contextlib.suppress(BackendError):  # opening the model tells it
            package = _module(kind).package(accelerator)
            found[str(package.__name__)] = str(package.__version__)
    return found


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities float32 (n, classes) of logits (n, classes), computed in float64. Rows that are not finite become NaN."""
    return answers(logits, single([""] * logits.shape[-1]))


def failed(kind: str, version: str, path: str, error: Exception, hint: str = "") -> BackendError:
    """The error of a file that a package refuses: kind, version, file and cause."""
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:1500]
    return BackendError(f"{kind} {version} cannot load {path}: {cause}{f' ({hint})' if hint else ''}")


def _module(kind: str) -> Any:
    """Where a kind lives: `package(accelerator)` imports what it runs on, `load(path, accelerator, threads)` opens a file."""
    return importlib.import_module(f".{_MODULES[kind]}", __package__)
