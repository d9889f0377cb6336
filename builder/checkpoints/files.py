"""Files and folders with weights -> tensors by name; what else a file can be is recognised and said.

Never: runs code from a file. Pickles are read by torch's weights-only reader; objects that trainers keep beside them become
    empty stand-ins, and any other global that a pickle asks for is refused by its name.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from builder import huggingface
from builder.errors import UserError, nearest

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

# Where frameworks keep the weights inside what they save; averaged weights first, because they are the ones that were validated.
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "averaged_model")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights")
# What trainers keep beside the weights. None of it is made: a stand-in takes its place, and the weights are all we look at.
BYSTANDERS = re.compile(
    r"argparse\.Namespace|numpy\.(dtype|ndarray|dtypes\.\w+)|numpy\._?core\.multiarray\.(scalar|_reconstruct)"
    r"|pathlib\.\w*Path|datetime\.\w+|(omegaconf|lightning|pytorch_lightning|lightning_fabric|fastai|fastcore)\.[\w.]+"
    r"|builtins\.(list|dict|set|tuple|int|float|bool|str|bytes)"
    r"|yacs\.config\.CfgNode|transformers\.training_args\.\w+|transformers\.trainer_utils\.\w+"
)
HARMLESS = re.compile(r"torch\.|collections\.|_codecs\.encode|" + BYSTANDERS.pattern)
DANGEROUS = {"builtins", "os", "posix", "nt", "sys", "subprocess", "runpy", "importlib", "shutil", "socket"}
DICTIONARIES = re.compile(r"collections\.defaultdict|[\w.]+\.AttributeDict|easydict\.EasyDict")


@dataclass(frozen=True)
class State:
    """Weights as a file has them. `notes` say what was chosen where there was a choice."""

    tensors: Tensors
    file: Path
    notes: tuple[str, ...] = ()


def read(path: Path) -> State:
    """The weights in a file or a Hugging Face folder. Raises UserError that says what the file is instead."""
    if exploded := _exploded(path):
        raise UserError(
            "this is a torch file that was unpacked into a folder, as Kaggle does with .pt and .pth",
            file=exploded,
            found=", ".join(sorted(entry.name for entry in exploded.iterdir() if entry.name[0] != ".")[:5]),
            expected="one file",
            remedy=f"pack it again: cd '{exploded.parent}' && zip -0 -r -D '{exploded.stem}.ckpt' '{exploded.name}'",
        )
    if path.is_dir():
        pieces = huggingface.weights_in(path)
        if not pieces:
            raise UserError(
                "a folder without weights",
                file=path,
                found=", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing",
                expected=f"a checkpoint file, or a folder with one of {', '.join(huggingface.WEIGHTS)}",
                remedy="mend checkpoints in kernel.toml",
            )
        states = [_from_file(piece) for piece in pieces]
        merged = {name: tensor for state in states for name, tensor in state.tensors.items()}
        return State(merged, path, tuple(dict.fromkeys(note for state in states for note in state.notes)))
    return _from_file(path)


def _exploded(path: Path) -> Path | None:
    """The folder that holds the unpacked records of a torch file, for `path` or for the same name without its suffix."""
    for folder in () if path.is_file() else (path, path.with_suffix("")):
        inner: list[Path] = sorted(folder.iterdir()) if folder.is_dir() else []
        for candidate in (folder, *inner):
            if (candidate / "data.pkl").is_file():
                return candidate
    return None


def _from_file(path: Path) -> State:
    if not path.is_file():
        here = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
        match = nearest(path.name, here)
        remedy = f"did you mean '{match}'?" if match else "mend checkpoints in kernel.toml"
        raise UserError("there is no such checkpoint", file=path, found=", ".join(here[:8]) or "no such folder", remedy=remedy)
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"version https://git-lfs"):
        _refuse(path, "a Git LFS pointer, not the weights", "git lfs pull")
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return State(_from_safetensors(path), path)
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return _unwrapped(_from_torch(path, zipped=head.startswith(b"PK")), path)
    return _refuse(
        path, f"{path.stat().st_size} bytes that start with {head[:8]!r}", "save it again with torch.save or safetensors"
    )


def _refuse(path: Path, found: object, remedy: str) -> NoReturn:
    raise UserError(
        "the checkpoint cannot be read", file=path, found=found, expected="whole .safetensors or torch.save output", remedy=remedy
    )


def _from_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except (OSError, ValueError, SafetensorError) as error:
        whole = _size_of_safetensors(path)
        size = path.stat().st_size
        found = f"{size} of {whole} bytes: it was cut" if whole and size < whole else f"{size} bytes ({error})"
        _refuse(path, found, "copy or download it again")


def _size_of_safetensors(path: Path) -> int | None:
    """The size that the header promises; None when the header itself is broken."""
    with path.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 1 << 27)))
            return (
                8 + int(length) + max((entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"), default=0)
            )
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            return None


class _Nothing:
    """Stands for an object that is none of our business: takes what it is given and keeps nothing."""

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Dictionary:
    """Stands for a kind of dictionary; torch's reader puts items into nothing but its own kinds."""

    def __new__(cls, *_: object) -> Any:
        return OrderedDict()


def _from_torch(path: Path, *, zipped: bool) -> Any:
    import pickle

    import torch

    if zipped and not zipfile.is_zipfile(path):
        _refuse(path, f"{path.stat().st_size} bytes without the end of the archive: it was cut", "copy or download it again")
    wanted = _globals(path, zipped=zipped)
    standins: list[Any] = [
        (_Dictionary if DICTIONARIES.fullmatch(name) else _Nothing, name)
        for name in wanted
        if DICTIONARIES.fullmatch(name) or BYSTANDERS.fullmatch(name)
    ]
    try:
        with torch.serialization.safe_globals(standins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles of a newer protocol, which it then reads or refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _refuse_pickle(path, wanted, str(error))
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError) as error:
        _refuse(path, str(error).partition("\n")[0][:200] or "it ends too early", "copy or download it again")


def _refuse_pickle(path: Path, wanted: list[str], error: str) -> NoReturn:
    named = re.search(r"GLOBAL ([\w.]+)", error)
    strange = [name for name in wanted if not HARMLESS.match(name)]
    culprit = next((name for name in strange if not named or name.endswith(named[1])), named[1] if named else "")
    if not culprit:
        protocol = re.search(r"[Uu]nsupported operand \d+", error)
        found = f"a pickle of a newer protocol ({protocol[0]})" if protocol else error.partition("\n")[0][:200]
        _refuse(path, found, "save it again: torch.save with its default protocol, or safetensors")
    whole = "" if culprit.partition(".")[0] in DANGEROUS else ", as a whole pickled model does"
    raise UserError(
        "the checkpoint wants to run code, which is refused; nothing of it was run",
        file=path,
        found=f"it asks for {culprit}{whole}",
        expected="tensors alone",
        remedy="if you trust it, where it was made: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')",
    )


def _globals(path: Path, *, zipped: bool) -> list[str]:
    """Names of everything that a pickle would import, read without unpickling, in the order of appearance."""
    try:
        if not zipped:
            return list(dict.fromkeys(_imports(path.read_bytes()[: 1 << 26])))
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                _refuse(path, "a TorchScript program", "save its weights: safetensors.torch.save_file(module.state_dict(), ...)")
            record = next((name for name in names if name.endswith("/data.pkl")), None)
            if record is None:
                _refuse(path, f"an archive with {', '.join(names[:4])}", "give the file that torch.save wrote")
            return list(dict.fromkeys(_imports(archive.read(record))))
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        _refuse(path, error, "copy or download it again")


def _imports(pickled: bytes) -> Iterable[str]:
    """What the pickles in `pickled` would import; an old file has several, one after the other."""
    stream = io.BytesIO(pickled)
    try:
        while stream.tell() < len(pickled):
            pushed, memo = [""], list[str]()
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL":
                    yield str(argument).replace(" ", ".", 1).replace("__builtin__", "builtins")
                elif operation.name == "STACK_GLOBAL":
                    yield ".".join(pushed[-2:])
                elif operation.name == "MEMOIZE":
                    memo.append(pushed[-1])
                elif operation.name in {"BINGET", "LONG_BINGET"} and memo:
                    pushed.append(memo[int(argument or 0)])
                else:
                    pushed.append(argument if isinstance(argument, str) else "")
    except (ValueError, IndexError):  # the storages that follow an old pickle, or a broken one: torch's reader will tell
        return


def _unwrapped(found: Any, path: Path, notes: tuple[str, ...] = ()) -> State:
    """The state dict inside what a trainer saved."""
    import torch

    if isinstance(found, Mapping):
        tensors = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}
        inside = [key for key in WRAPPERS if isinstance(found.get(key), Mapping) and _holds_tensors(found[key])]
        if inside:
            others = [key for key in inside[1:] if key not in AVERAGED]
            if inside[0] in AVERAGED and others:
                notes = (*notes, f"averaged weights are used ('{inside[0]}'), those of '{others[0]}' are not")
            return _unwrapped(found[inside[0]], path, notes)
        if tensors:
            return State(tensors, path, notes)
    kind = f"a dictionary of {', '.join(map(str, list(found)[:6]))}" if isinstance(found, Mapping) else type(found).__name__
    _refuse(path, f"no weights inside: {kind}", "save model.state_dict()")


def _holds_tensors(found: Mapping[Any, Any]) -> bool:
    import torch

    return any(
        isinstance(value, torch.Tensor) or (isinstance(value, Mapping) and _holds_tensors(value)) for value in found.values()
    )
