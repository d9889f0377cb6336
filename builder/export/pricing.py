"""What a model file costs in seconds and memory: each backend on each device at hand, in a fresh process, by the runtime's code.

Started as a program of its own (`python -m builder.export.pricing ORDER ANSWER`), it measures one file with one backend: it reads
the order (JSON: file, backend, device, threads, batches; feeds.npz beside it) and writes a `Priced` as JSON.
Never: raises for a backend that cannot run the file: the price says why instead. Waits without a limit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import RunError
from builder.export.record import BACKENDS, Priced
from builder.runtime import backends, devices

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCHES = (1, 2, 8, 32)
ENOUGH_S = 0.5  # seconds of measuring per batch size and round
MOST = 13  # calls per batch size and round
ROUNDS = 3  # sizes take turns, so that whatever else this machine does slows none of them alone
LIMIT_S = 600.0
THREADS = 1
ALTERNATIVES = {
    "onnx": ("onnxruntime", "openvino"),
    "torchscript": ("torchscript",),
    "lightgbm": ("lightgbm",),
    "xgboost": ("xgboost",),
}
CPU_ONLY = ("openvino", "lightgbm", "xgboost")


def price(file: Path, format: str, feeds: Mapping[str, NDArray[Any]], *, cuda: bool) -> tuple[Priced, ...]:  # noqa: A002
    """Prices of `file` with every backend at hand, the format's own first; `feeds` are some rows, repeated as needed.

    Raises RunError when the format's own backend cannot run it.
    """
    found = []
    for backend in ALTERNATIVES[format]:
        if backend != BACKENDS[format] and importlib.util.find_spec(backend) is None:
            continue
        places = ("cuda", "cpu") if cuda and backend not in CPU_ONLY else ("cpu",)
        found += [measured(file, backend, device, feeds) for device in places]
    own = found[0]
    if own.error:
        raise RunError(
            f"{own.backend} cannot run the exported model",
            file=file,
            found=own.error,
            remedy="install it again, or export in another format",
        )
    return tuple(found)


def measured(
    file: Path, backend: str, device: str, feeds: Mapping[str, NDArray[Any]], batches: Sequence[int] = BATCHES
) -> Priced:
    """The price of `file` with one backend, measured in a child process."""
    with tempfile.TemporaryDirectory() as name:
        order, answer = Path(name) / "order.json", Path(name) / "answer.json"
        rows = {key: np.take(values, np.arange(max(batches)), axis=0, mode="wrap") for key, values in feeds.items()}
        np.savez(order.with_name("feeds.npz"), allow_pickle=False, **rows)
        asked = {"file": str(file), "backend": backend, "device": device, "threads": THREADS, "batches": list(batches)}
        order.write_text(json.dumps(asked), "utf-8")
        command = [sys.executable, "-m", __name__, str(order), str(answer)]
        environment = {**os.environ, **devices.on_cpu(THREADS), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment)
        except subprocess.TimeoutExpired:
            return Priced(file.name, backend, device, THREADS, error=f"no answer within {LIMIT_S:.0f} s")
        if ran.returncode or not answer.is_file():
            told = ran.stderr.strip().splitlines()[-1:] or [f"exit status {ran.returncode}"]
            return Priced(file.name, backend, device, THREADS, error=told[0][:500])
        return Priced(**json.loads(answer.read_text("utf-8")))


def measure(order: Mapping[str, Any], feeds: Mapping[str, NDArray[Any]]) -> Priced:
    """The measurement itself, in this process."""
    facts = {"file": Path(order["file"]).name, **{key: order[key] for key in ("backend", "device", "threads")}}
    try:
        backends.versions([order["backend"]], order["device"])  # imports its package, which no model then pays
        began = time.perf_counter()
        model = backends.open(order["file"], order["device"], order["threads"], order["backend"])
        load_ms = (time.perf_counter() - began) * 1e3
        if model.accelerator != order["device"]:
            raise backends.BackendError(f"asked for {order['device']}, runs on {model.accelerator}")
        table = _table(model, feeds, order["batches"])
    except Exception as error:  # noqa: BLE001  every backend has its own exceptions, and its price is that it has none
        return Priced(**facts, error=f"{type(error).__name__}: {error}"[:500])
    return Priced(**facts, load_ms=load_ms, batch=table, peak_mb=peak_mb())


def _table(model: backends.Backend, feeds: Mapping[str, NDArray[Any]], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Batch size -> milliseconds of its first call, and per sample of those that follow: median and 99th percentile."""
    given = {size: {key: values[:size] for key, values in feeds.items()} for size in sizes}
    first = {size: _call_ms(model, given[size]) for size in sizes}
    later: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ROUNDS):
        for size in sizes:
            later[size] += _round(model, given[size])
    return {
        str(size): {
            "first_ms": first[size],
            "median_ms": float(np.median(later[size])) / size,
            "p99_ms": float(np.quantile(later[size], 0.99)) / size,
        }
        for size in sizes
    }


def _round(model: backends.Backend, feeds: Mapping[str, NDArray[Any]]) -> list[float]:
    """Milliseconds of some calls, one at least."""
    began, spent = time.perf_counter(), [_call_ms(model, feeds)]
    while len(spent) < MOST and time.perf_counter() - began < ENOUGH_S:
        spent.append(_call_ms(model, feeds))
    return spent


def _call_ms(model: backends.Backend, feeds: Mapping[str, NDArray[Any]]) -> float:
    began = time.perf_counter()
    model.logits(feeds)
    return (time.perf_counter() - began) * 1e3


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(packages: Mapping[str, str]) -> dict[str, Any]:
    """The machine, as far as a price depends on it."""
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "packages": dict(packages),
    }


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Start as a process."""
    order = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with np.load(Path(sys.argv[1]).with_name("feeds.npz"), allow_pickle=False) as stored:
        feeds = {key: stored[key] for key in stored.files}
    Path(sys.argv[2]).write_text(json.dumps(asdict(measure(order, feeds)), allow_nan=False), "utf-8")


if __name__ == "__main__":
    main()
