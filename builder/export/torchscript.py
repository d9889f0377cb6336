"""torch -> TorchScript, for what ONNX cannot say: traced, with the names of inputs and outputs inside.

Expects: a Source whose forward does the same for every batch.
Produces: `.ts.bin` (Kaggle unpacks .pt and .pth) with the extra file kkb.json {"inputs": [...], "outputs": [...], "torch":
    "version that wrote it"}.
Never: a file that the image's torch cannot read, as far as the file tells (its format, the libraries of its operators), or a path
    of this machine.
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import GateError
from builder.workspace import replacing

if TYPE_CHECKING:
    from builder.export.source import Source

SUFFIX = ".ts.bin"
NAMES = "kkb.json"
MANGLED = re.compile(rb"___torch_mangle_(\d+)")
READABLE = 10  # the newest archive format that every torch since 1.13 reads
LIBRARIES = ("aten", "prim")
WRITERS_OWN = (".data/version", "version", "byteorder", ".data/serialization_id")  # records that the writer adds itself


def write(source: Source, path: Path) -> None:
    """Trace `source` into `path`. Raises GateError when that cannot be done, or the image's torch could not read it."""
    import torch

    module = _traced(source)
    operators = torch.jit.export_opnames(module)  # type: ignore[no-untyped-call]
    strange = [name for name in operators if name.partition("::")[0] not in LIBRARIES]
    if strange:
        raise GateError(
            "this model uses operators that the image's torch need not have",
            found=", ".join(strange[:5]),
            expected=f"operators of {' and '.join(LIBRARIES)}",
            remedy='set export.format = "onnx", or write them with other operators',
        )
    told = {"inputs": [port.name for port in source.inputs], "outputs": list(source.outputs), "torch": str(torch.__version__)}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".ts-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, f"{folder}/traced", _extra_files={NAMES: json.dumps(told, sort_keys=True)})
        with replacing(path) as temporary:
            _copy(Path(folder) / "traced", temporary)


def notes(path: Path, image: str) -> tuple[str, ...]:
    """What to know about the file where torch is `image` (empty: unknown). Raises GateError when it cannot be read there."""
    import torch

    ours, written = str(torch.__version__).partition("+")[0], _format(torch._C.PyTorchFileReader(str(path)))  # noqa: SLF001
    if written > READABLE:
        raise GateError(
            "the image's torch cannot read this TorchScript file",
            file=path,
            found=f"archive format {written}, written by torch {ours}; the image has torch {image or 'of an unknown version'}",
            expected=f"format {READABLE} or older",
            remedy=f'export with torch {image or "of the image"}, or set export.format = "onnx"',
        )
    if not image or _release(ours) <= _release(image):
        return ()
    told = f"written by torch {ours}, newer than the image's {image}; every torch since 1.13 reads its archive format, {written}"
    return (f"{told}; its operators are torch's own, and one that changed since would fail when the probe rows run",)


def _traced(source: Source) -> Any:
    import torch

    tensors = tuple(torch.from_numpy(array) for array in source.example().values())
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.jit.trace(source.positional(), tensors, check_trace=False)  # type: ignore[no-untyped-call]
    except Exception as error:
        told = next((line for line in str(error).splitlines() if line.strip()), "")
        half = any(word in str(error) for word in ("Half", "float16"))
        raise GateError(
            "this model cannot be traced for TorchScript",
            found=f"{type(error).__name__}: {told.strip()[:300]}",
            expected="a model that this processor can compute in half precision" if half else None,
            remedy='set export.precision = "fp32", or export.format = "onnx"'
            if half
            else 'set export.format = "onnx", or use another architecture',
        ) from error


def _format(reader: Any) -> int:
    return int(reader.get_record(next(name for name in (".data/version", "version") if reader.has_record(name))))


def _copy(traced: Path, path: Path) -> None:
    """Copy an archive without what nothing reads: stack traces and example inputs hold paths of this machine.

    Classes of equal names are told apart by numbers that count up over the life of a process; here they start anew, so that equal
    weights give equal bytes. It is written through a stream, for the archive would be named after its temporary file.
    """
    import torch

    reader = torch._C.PyTorchFileReader(str(traced))  # noqa: SLF001
    numbers: dict[bytes, bytes] = {}

    def renumbered(content: bytes) -> bytes:
        return MANGLED.sub(lambda found: b"___torch_mangle_" + numbers.setdefault(found[1], b"%d" % len(numbers)), content)

    with path.open("wb") as stream:
        writer = torch._C.PyTorchFileWriter(stream)  # noqa: SLF001
        writer.set_min_version(_format(reader))
        for name in reader.get_all_records():
            if name.endswith(".debug_pkl") or name.startswith("traced_inputs") or name in WRITERS_OWN:
                continue
            content = reader.get_record(name)
            if name.endswith((".py", ".pkl")):
                name, content = renumbered(name.encode()).decode(), renumbered(content)  # noqa: PLW2901
            writer.write_record(name, content, len(content))
        writer.write_end_of_file()


def _release(version: str) -> tuple[int, ...]:
    """(2, 11) of `2.11.0+cu128`."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
