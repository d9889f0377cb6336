"""A function in a process of its own, so that what it holds in memory is gone with it.

Expects: a function at the top of a module, and arguments that can be sent to another process.
Produces: what it returns, or the error that it raised.
Never: waits without a limit, or lets that process write to this one's stdout.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from builder.errors import KkbError, RunError, WaitError

LIMIT_S = 1800.0  # the exporter can ponder over the sizes of a graph for hours
PR_SET_PDEATHSIG = 1

T = TypeVar("T")


def run(function: Callable[..., T], *args: Any, apart: bool, limit_s: float = LIMIT_S) -> T:
    """`function(*args)`: here, or, when `apart`, in a fresh process.

    Raises what the function raises; RunError when its process died, WaitError when it took longer than `limit_s`.
    """
    if not apart:
        return function(*args)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads, as torch and onnxruntime have, may hang
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, args), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit_s):
            raise WaitError(
                "a step of the export takes too long",
                found=f"{function.__name__.strip('_')}: over {limit_s:.0f} s",
                remedy="leave views with @SIZE out of [inference] views, which make graphs harder, or use another machine",
            )
        done, answer = ours.recv()
    except EOFError:
        process.join(limit_s)
        raise RunError(
            "a process of the export was killed",
            found=f"exit status {process.exitcode}",
            expected="an answer",
            remedy="free memory, or export on a machine with more",
        ) from None
    finally:
        process.kill()
        process.join()
    if not done:
        raise answer
    return answer  # type: ignore[no-any-return]


def _answer(pipe: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """What the other process does. It ends with the one that asked, whatever ends that."""
    os.dup2(2, 1)
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        pipe.send((True, function(*args)))
    except KkbError as error:
        pipe.send((False, error))
    except Exception as error:  # noqa: BLE001  not every exception can be sent
        pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))


def free() -> None:
    """Give memory that nobody uses back to the system: the C library keeps it otherwise. Does nothing where there is no glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
