"""One device's worker: `python -m kkb_runtime.worker FOLDER`, where FOLDER holds a job (job.py).

Expects on stdin, one JSON object a line, until it closes:
    {"task": 7, "unit": 0, "start": 0, "stop": 64, "keep": true}     predict these samples with this unit; keep the decoded images
Produces on stdout, one JSON object a line, and nothing else there (what libraries print goes to stderr):
    {"ready": true, "pid": 1, "versions": {...}}                     once, when it can take tasks
    {"task": 7, "ok": true, "seconds": {"load", "decode", "predict"}, "bad": [[sample, cause], ...], "bad_count": 0,
     "peak_mb": 300.0, "accelerator": "cpu", "resident": 1}                        the result is in place
    {"task": 7, "ok": false, "kind": "model" or "task", "cause": "..."}
Never: outlives its supervisor, decides what to do next, or stops for one bad sample: that one's row is NaN and its cause told.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import backends, hooks, inputs, job, mounts, views
from .clock import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESIDENT = 2  # models kept loaded; units follow each other by unit, so more would only hold memory
TOLD = 20  # bad samples reported with their cause, per task
_PR_SET_PDEATHSIG = 1


class Predictor:
    """The work itself: `predict` turns a range of samples into a result file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._job, self._samples = job.load(folder)
        self._hooks = hooks.load(self._job.hooks)
        self._mounts = mounts.Mounts(Path(self._job.competition), {key: Path(path) for key, path in self._job.datasets.items()})
        self._models: dict[str, backends.Backend] = {}

    def predict(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run one task and write its result. Raises backends.BackendError when the model cannot be loaded."""
        index, start, stop = task["unit"], task["start"], task["stop"]
        begin = now()
        model = self._model(self._job.models[index])
        loaded = now()
        bad: dict[int, str] = {}
        if self._hooks.load is not None:
            decoded, out = now(), self._by_hook(self._hooks.load, model, task, bad)
        else:
            images = self._decode(index, start, stop, task["keep"], bad)
            decoded = now()
            out = self._by_image(model, index, images, bad)
        out[sorted(bad)] = np.nan
        for row in np.flatnonzero(~np.isfinite(out).all(axis=1)).tolist():
            bad.setdefault(row, "the model's output is not finite")
        out[sorted(bad)] = np.nan
        job.publish(self._folder, job.result(self._folder, index, start, stop), out)
        return {
            "seconds": {"load": loaded - begin, "decode": decoded - loaded, "predict": now() - decoded},
            "bad": [[start + row, bad[row]] for row in sorted(bad)][:TOLD],
            "bad_count": len(bad),
            "peak_mb": peak_mb(),
            "accelerator": model.accelerator,
            "resident": len(self._models),
        }

    def _model(self, path: str) -> backends.Backend:
        if path not in self._models:
            while len(self._models) >= RESIDENT:
                del self._models[next(iter(self._models))]
            self._models[path] = backends.open(path, self._job.accelerator, self._job.threads)
        return self._models[path]

    def _decode(self, index: int, start: int, stop: int, keep: bool, bad: dict[int, str]) -> NDArray[np.uint8]:
        """Images uint8 (m, height, width, 3), from scratch when an earlier unit of equal input left them there."""
        spec = self._job.units[index].input
        path = job.decoded(self._folder, spec.key, start, stop)
        failures = path.with_suffix(".json")
        if path.is_file():
            bad.update(dict(json.loads(failures.read_text("utf-8"))))
            return np.asarray(np.load(path, allow_pickle=False))
        images, failed = inputs.decode_many(self._samples[start:stop], spec, self._job.decode_threads)
        bad.update(dict(failed))
        if keep:
            failures.write_text(json.dumps(failed), "utf-8")  # before the images: who sees them sees this
            job.publish(self._folder, path, images)
        return images

    def _by_image(
        self, model: backends.Backend, index: int, images: NDArray[np.uint8], bad: dict[int, str]
    ) -> NDArray[np.float32]:
        unit = self._job.units[index]
        apply = views.get(unit.view).apply
        out = np.full((len(images), self._job.classes), np.nan, dtype=np.float32)
        for at in range(0, len(images), unit.batch):
            rows = range(at, min(at + unit.batch, len(images)))
            run(model, apply(images[rows.start : rows.stop]), rows, out, bad)
        return out

    def _by_hook(
        self, load: Callable[..., Any], model: backends.Backend, task: dict[str, Any], bad: dict[int, str]
    ) -> NDArray[np.float32]:
        """Samples one at a time: each is a stack of items, predicted in batches and merged."""
        size, samples = self._job.units[task["unit"]].batch, self._samples[task["start"] : task["stop"]]
        out = np.full((len(samples), self._job.classes), np.nan, dtype=np.float32)
        for row, sample in enumerate(samples):
            try:
                items = np.ascontiguousarray(load(dict(sample), self._mounts)[backends.INPUT])
                probs = np.concatenate([model.run(items[at : at + size]) for at in range(0, len(items), size)])
                merged = np.asarray(probs.mean(axis=0) if self._hooks.merge is None else self._hooks.merge(probs))
                if merged.shape != (self._job.classes,):
                    raise hooks.HookError(f"merge returned shape {merged.shape}, expected ({self._job.classes},)")
                out[row] = merged
            except Exception as error:  # noqa: BLE001  a competitor's code may raise anything; the sample keeps what it has
                bad[row] = f"hooks.load: {type(error).__name__}: {error}"
        return out


def run(model: backends.Backend, batch: NDArray[np.uint8], rows: range, out: NDArray[np.float32], bad: dict[int, str]) -> None:
    """Fill `out[rows]`. A batch that fails (out of memory, one poisonous sample) is halved, down to the one that fails alone."""
    try:
        values = model.run(batch)
    except Exception as error:  # noqa: BLE001  every backend has its own exceptions
        if len(batch) == 1:
            bad[rows.start] = f"{type(error).__name__}: {error}"[:300]
            return
        half = len(batch) // 2
        run(model, batch[:half], rows[:half], out, bad)
        run(model, batch[half:], rows[half:], out, bad)
        return
    expected = (len(batch), out.shape[1])
    if values.shape != expected:
        raise backends.BackendError(f"the model's output has shape {values.shape}, expected {expected}")
    out[rows.start : rows.stop] = values


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions() -> dict[str, str]:
    """What the arithmetic was done with."""
    import onnxruntime

    return {"numpy": np.__version__, "onnxruntime": onnxruntime.__version__}


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill us when the supervisor dies, and to pick us first when memory runs out. Best effort: Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def serve(predictor: Predictor, tasks: IO[str], answers: IO[str]) -> None:
    """Answer tasks until the stream ends."""
    for line in tasks:
        task = json.loads(line)
        answer: dict[str, Any] = {"task": task["task"]}
        try:
            answer.update(ok=True, **predictor.predict(task))
        except backends.BackendError as error:
            answer.update(ok=False, kind="model", cause=str(error)[:2000])
        except Exception as error:  # noqa: BLE001  the supervisor decides whether to try again
            answer.update(ok=False, kind="task", cause=f"{type(error).__name__}: {error}"[:2000])
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Start as a process."""
    die_with_parent(int(sys.argv[2]))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on, whatever prints to stdout prints to stderr
    predictor = Predictor(Path(sys.argv[1]))
    print(json.dumps({"ready": True, "pid": os.getpid(), "versions": versions()}), file=answers, flush=True)
    serve(predictor, sys.stdin, answers)


if __name__ == "__main__":
    main()
