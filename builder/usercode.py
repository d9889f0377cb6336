"""Python that a user wrote beside kernel.toml: loaded from its file, called, and blamed by line when it fails.

Expects: `models.py:function`, a function without arguments, or with the number of classes, that returns a torch.nn.Module.
Produces: what it returns; the files that it is made of, so that a version can be named by them and keep them.
Never: lets that code print on stdout, which belongs to `--json`, or leaves its modules where another kernel's would be mistaken
    for them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from builder.errors import ConfigError, KkbError, UserError, did_you_mean
from builder.workspace import sha256_bytes, short

CLASSES = ("classes", "num_classes", "n_classes")


@contextlib.contextmanager
def explained(what: str, folder: Path | None) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a UserError that says `what`, and where below `folder` it went wrong."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except KkbError:
        raise
    except (Exception, SystemExit) as error:
        where = _line(error, folder.resolve()) if folder else None
        message = str(error).strip().partition("\n")[0]
        raise UserError(
            what,
            file=where,
            found=f"{type(error).__name__}: {message}"[:300],
            remedy="mend that line" if where else "check the size and the architecture in kernel.toml",
        ) from error


def _line(error: BaseException, folder: Path) -> str | None:
    """`file:line` of the innermost line below `folder`; None when the fault is not in it."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(folder):
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def build(folder: Path, source: str, arguments: dict[str, Any], classes: int, *, pretrained: bool) -> Any:
    """The torch.nn.Module that `source` (`models.py:function`, below `folder`) returns.

    The function is given `arguments`, and, if it takes them, the number of classes and `pretrained`. Raises UserError.
    """
    import torch

    file, _, name = source.partition(":")
    module, _ = _loaded(folder, file)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise ConfigError(
            f"model.build: {file} has no function '{name}'",
            file=folder / file,
            found=", ".join(known) or "no functions",
            remedy=did_you_mean(name, known) if known else f"write def {name}(classes): ...",
        )
    given = _arguments(function, source, {**arguments}, classes, pretrained=pretrained)
    with explained(f"{source} fails", folder), _beside((folder / file).parent):
        made = function(*given.args, **given.kwargs)
    if not isinstance(made, torch.nn.Module):
        raise UserError(
            f"{source} does not return a network",
            found=f"a {type(made).__name__}",
            expected="a torch.nn.Module",
            remedy="return it",
        )
    return made


def _arguments(
    function: Any, source: str, arguments: dict[str, Any], classes: int, *, pretrained: bool
) -> inspect.BoundArguments:
    """What `function` is called with: by name what it takes by name, and the classes first where it has one open place."""
    signature = inspect.signature(function)
    for name, value in (*((name, classes) for name in CLASSES), ("pretrained", pretrained)):
        if name in signature.parameters:
            arguments.setdefault(name, value)
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    open_places = [
        p for p in signature.parameters.values() if p.kind in plain and p.default is p.empty and p.name not in arguments
    ]
    try:
        return signature.bind(*([classes] if open_places else []), **arguments)
    except TypeError as error:
        raise ConfigError(
            f"{source} cannot be called",
            found=f"{error}: def {source.partition(':')[2]}{signature}",
            expected="a function without arguments, or with (classes); further ones from model.arguments",
            remedy="mend the function, or model.arguments",
        ) from None


def files(folder: Path, source: str) -> list[Path]:
    """The file of `source` and the modules beside it that it imports. Raises UserError when it cannot be loaded."""
    return _loaded(folder, source.partition(":")[0])[1]


def _loaded(folder: Path, file: str) -> tuple[ModuleType, list[Path]]:
    path = folder.resolve() / file
    if not path.is_file():
        here = sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*.py")) if folder.is_dir() else []
        raise ConfigError(
            "model.build names a file that is not there",
            file=path,
            found=", ".join(here[:8]) or "no python files",
            remedy=did_you_mean(file, here) if here else f"write {file}",
        )
    # A name that no other version's models.py has.
    spec = importlib.util.spec_from_file_location(f"kkb_build_{short(sha256_bytes(str(path).encode()))}", path)
    if spec is None or spec.loader is None:
        raise ConfigError("model.build is not a python file", file=path, remedy="name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with explained(f"{file} cannot be loaded", folder), _beside(path.parent) as neighbours:
        spec.loader.exec_module(module)
    return module, sorted({path, *neighbours})


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[list[Path]]:
    """Let the block import modules that lie in `folder`; afterwards they are listed, and forgotten."""
    folder, found = folder.resolve(), list[Path]()
    before, written = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # a kernel's folder is committed, a version's never changes
    importlib.invalidate_caches()
    try:
        yield found
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).is_relative_to(folder):
                found.append(Path(origin))
                del sys.modules[name]
