"""TorchScript files by the image's torch, on the CPU or on CUDA.

Expects: what `torch.jit.save` wrote, under a name that Kaggle does not unpack (`.ts.bin`), with the extra file `kkb.json`:
    {"inputs": [names, in the order of forward's arguments], "outputs": [names, in the order of what it returns],
     "torch": "the version that wrote it", optional}
Produces: a Backend. Tensors go in and come back by place; the names are the extra file's.
Never: unpickles code (TorchScript holds none), or runs on the CPU when CUDA was asked for.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

KIND = "torchscript"
NAMES = "kkb.json"


def package(accelerator: str = "cpu") -> Any:  # noqa: ARG001  as in its siblings
    """torch. Raises BackendError when it is not here."""
    try:
        import torch
    except ImportError as error:
        raise backends.missing(KIND, "torch", error) from error
    return torch


def load(path: str, accelerator: str, threads: int) -> backends.Backend:
    """The model in the file `path`. Raises BackendError."""
    return TorchScript(path, accelerator, threads)


class TorchScript(backends.Backend):
    """A scripted or traced module."""

    kind = KIND

    def __init__(self, path: str, accelerator: str, threads: int) -> None:
        self._torch = torch = package()
        self.version = str(torch.__version__)
        self.accelerator = accelerator if torch.cuda.is_available() else "cpu"
        self._grant(accelerator, "this session has no GPU that its torch can use")
        self._threads = max(1, threads)
        extra = {NAMES: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", FutureWarning
                )  # newer torches announce the end of the format; the image's reads it
                module = torch.jit.load(path, map_location=self.accelerator, _extra_files=extra)
            self._module = module.eval()
        except Exception as error:
            raise backends.failed(KIND, self.version, path, error, self._hint(extra)) from error
        told = _told(extra[NAMES])
        if not told:
            raise backends.BackendError(
                f'{path} does not say its names: expected the extra file {NAMES} with {{"inputs": [...], "outputs": [...]}}'
            )
        self.inputs, self.outputs = tuple(told["inputs"]), tuple(told["outputs"])

    def _call(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        torch = self._torch
        given = [torch.from_numpy(_writable(feeds[name])).to(self.accelerator) for name in self.inputs]
        with self._own_threads(), torch.inference_mode():
            found = self._module(*given)
        tensors = found if isinstance(found, (tuple, list)) else (found,)
        if len(tensors) != len(self.outputs):
            raise backends.BackendError(f"the module returned {len(tensors)} tensors; {NAMES} names {', '.join(self.outputs)}")
        by_name = dict(zip(self.outputs, tensors, strict=True))
        return {name: by_name[name].float().cpu().numpy() for name in names}

    @contextlib.contextmanager
    def _own_threads(self) -> Iterator[None]:
        """They are the process's in torch: left behind, they would round a later training's sums otherwise, and slow it down."""
        torch = self._torch
        before = torch.get_num_threads()
        if self.accelerator != "cpu" or before == self._threads:
            yield
            return
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _hint(self, extra: Mapping[str, Any]) -> str:
        """Extra files are read before the code is, so that a file of a newer torch can still say so."""
        written = _told(extra[NAMES]).get("torch")
        if not written:
            return "it may be truncated, or written by a newer torch than this one: export it again with the image's"
        if _release(str(written)) > _release(self.version):
            return f"it was written by torch {written}, newer than this one: export it again with torch {self.version} or older"
        return f"it was written by torch {written}"


def _told(text: str | bytes) -> dict[str, Any]:
    """The content of the extra file; empty when it is not there or is not what it must be."""
    try:
        told = json.loads(text)
        lists = [told[key] for key in ("inputs", "outputs")]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(told) if all(isinstance(names, list) and names for names in lists) else {}


def _release(version: str) -> tuple[int, ...]:
    """(2, 11) of `2.11.0+cu128`."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    """torch complains about arrays that must not be written to, such as those mapped from files."""
    return array if array.flags.writeable else np.array(array)
