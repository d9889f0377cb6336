"""One device's worker: `python -m kkb_runtime.worker FOLDER`, where FOLDER holds a job (job.py).

Expects on stdin, one JSON object a line, until it closes:
    {"task": 7, "unit": 0, "start": 0, "stop": 64,     predict these samples with this unit,
     "keep": true,                                     leave the decoded images to later units,
     "warm": false}                                    and after loading run the first batch once more beforehand
Produces on stdout, one JSON object a line, and nothing else there (what libraries print goes to stderr):
    {"ready": true, "pid": 1, "versions": {...}}                     once, when it can take tasks
    {"task": 7, "ok": true,                                          the result is in place
     "seconds": {"load", "decode" (null: nothing to read), "first", "predict"}, "bad": [[sample, cause], ...], "bad_count": 0,
     "not_finite": 0, "peak_mb": 300.0, "accelerator": "cpu", "resident": 1}
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

from . import backends, hooks, inputs, integrity, job, mounts, views
from .clock import now

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        self._last: tuple[Path, NDArray[np.uint8], list[tuple[int, str]]] | None = None
        self._decode_s: float | None = 0.0  # what the last `_decode` took; None when it had nothing to read

    def versions(self) -> dict[str, str]:
        """What the arithmetic will be done with."""
        kinds = [unit.backend for unit in self._job.units]
        return {"numpy": np.__version__, **backends.versions(kinds, self._job.accelerator)}

    def predict(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run one task and write its result. Raises BackendError or IntegrityError when the model cannot be used."""
        index, start, stop = task["unit"], task["start"], task["stop"]
        for path in self._job.models[index]:
            integrity.wait(Path(self._job.verified), path)
        begin, fresh = now(), self._job.models[index][0] not in self._models
        model = self._model(index)
        loaded = now()
        bad: dict[int, str] = {}
        hooked = self._hooks.load is not None
        samples: Any = self._samples[start:stop] if hooked else self._decode(task, bad)
        forward = self._by_hook if hooked else self._by_image
        decoded = now()
        if fresh and task["warm"]:
            forward(model, index, samples[: 1 if hooked else self._job.units[index].batch], {})
        warmed = now()
        out = forward(model, index, samples, bad)
        predicted = now()
        out[sorted(bad)] = np.nan
        broken = np.flatnonzero(~np.isfinite(out).all(axis=1)).tolist()
        strange = [row for row in broken if row not in bad]
        bad.update(dict.fromkeys(strange, "the model's output is not finite"))
        job.publish(self._folder, job.result(self._folder, index, start, stop), out)
        return {
            "seconds": {
                "load": loaded - begin,
                "decode": self._decode_s,
                "first": warmed - decoded,
                "predict": predicted - warmed,
            },
            "bad": [[start + row, bad[row]] for row in sorted(bad)][:TOLD],
            "bad_count": len(bad),
            "not_finite": len(strange),
            "peak_mb": peak_mb(),
            "accelerator": model.accelerator,
            "resident": len(self._models),
        }

    def _model(self, index: int) -> backends.Backend:
        path, unit = self._job.models[index][0], self._job.units[index]
        if path not in self._models:
            while len(self._models) >= self._job.resident:
                del self._models[next(iter(self._models))]
            model = backends.open(path, self._job.accelerator, self._job.threads, unit.backend)
            if backends.OUTPUT not in model.outputs:
                raise backends.BackendError(f"{path}: found outputs {', '.join(model.outputs)}, expected {backends.OUTPUT!r}")
            self._models[path] = model
        return self._models[path]

    def _decode(self, task: dict[str, Any], bad: dict[int, str]) -> NDArray[np.uint8]:
        """Images uint8 (m, height, width, 3): from memory or scratch when an earlier unit of equal input left them there."""
        start, stop, spec = task["start"], task["stop"], self._job.units[task["unit"]].input
        path, begin = job.decoded(self._folder, spec.key, start, stop), now()
        self._decode_s = None
        if self._last is None or self._last[0] != path:
            self._last = None  # two chunks need not be in memory at once
            kept = self._read_kept(path)
            images, failed = kept or inputs.decode_many(self._samples[start:stop], spec, self._job.decode_threads)
            self._last = path, images, failed
            self._decode_s = None if kept else now() - begin
        _, images, failed = self._last
        bad.update(dict(failed))
        if task["keep"]:
            path.with_suffix(".json").write_text(json.dumps(failed), "utf-8")  # before the images: who sees them sees this
            job.publish(self._folder, path, images)
        return images

    def _read_kept(self, path: Path) -> tuple[NDArray[np.uint8], list[tuple[int, str]]] | None:
        if not path.is_file():
            return None
        failed = [(int(row), str(cause)) for row, cause in json.loads(path.with_suffix(".json").read_text("utf-8"))]
        return np.asarray(np.load(path, allow_pickle=False)), failed

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
        self, model: backends.Backend, index: int, samples: list[dict[str, Any]], bad: dict[int, str]
    ) -> NDArray[np.float32]:
        """Samples one at a time: each is a stack of items, predicted in batches and merged."""
        out = np.full((len(samples), self._job.classes), np.nan, dtype=np.float32)
        for row, sample in enumerate(samples):
            try:
                out[row] = self._merged(model, hooks.inputs(self._hooks, sample, self._mounts), self._job.units[index].batch)
            except Exception as error:  # noqa: BLE001  a competitor's code may raise anything; the sample keeps what it has
                bad[row] = f"hooks.load: {type(error).__name__}: {error}"
        return out

    def _merged(self, model: backends.Backend, items: dict[str, NDArray[Any]], size: int) -> NDArray[Any]:
        """The answer (classes,) of one sample."""
        count = len(next(iter(items.values())))
        starts = range(0, count, size)
        probs = np.concatenate([model.run({name: array[at : at + size] for name, array in items.items()}) for at in starts])
        merged = np.asarray(probs.mean(axis=0) if self._hooks.merge is None else self._hooks.merge(probs))
        if merged.shape != (self._job.classes,):
            raise hooks.HookError(f"merge returned shape {merged.shape}, expected ({self._job.classes},)")
        return merged


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
        except (backends.BackendError, integrity.IntegrityError) as error:
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
    print(json.dumps({"ready": True, "pid": os.getpid(), "versions": predictor.versions()}), file=answers, flush=True)
    serve(predictor, sys.stdin, answers)


if __name__ == "__main__":
    main()
