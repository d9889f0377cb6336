"""One device's worker: `python -m kkb_runtime.worker FOLDER`, where FOLDER holds a job (job.py).

Expects on stdin, one JSON object a line, until it closes:
    {"task": 7, "unit": 0, "chunk": 3, "rows": [0, 1],  predict these samples (ascending) with this unit,
     "keep": true,                                      leave the decoded images to later units,
     "warm": false}                                     and after loading run the first batch once more beforehand
Produces on stdout, one JSON object a line, and nothing else there (what libraries print goes to stderr):
    {"ready": true, "pid": 1, "versions": {...}}                     once, when it can take tasks
    {"task": 7, "ok": true,                                          the result is in place
     "seconds": {"load", "decode" (null: nothing to read), "first", "predict"}, "decoded": 2, "bad": [[sample, cause], ...],
     "bad_count": 0, "not_finite": 0, "peak_mb": 300.0, "accelerator": "cpu", "resident": 1}
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from . import backends, cells, hooks, integrity, job, mounts, trees
from .clock import now
from .samples import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Head
    from .samples import Feeds, Rows, Taken

TOLD = 20  # bad samples reported with their cause, per task
_PR_SET_PDEATHSIG = 1


class Predictor:
    """The work itself: `predict` turns some samples into a result file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._job, paths, self._rows = job.load(folder)
        self._hooks = hooks.load(self._job.hooks)
        self._mounts = mounts.Mounts(Path(self._job.competition), {key: Path(path) for key, path in self._job.datasets.items()})
        self._samples = Samples(paths, self._rows, self._job.datasets, folder, self._job.decode_threads, self._hooks)
        self._models: dict[str, backends.Backend] = {}

    def versions(self) -> dict[str, str]:
        """What the arithmetic will be done with."""
        kinds = [unit.backend for unit in self._job.units]
        with contextlib.nullcontext() if self._job.hooks else trees.without_estimators():
            return {"numpy": np.__version__, **backends.versions(kinds, self._job.accelerator)}

    def predict(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run one task and write its result. Raises BackendError or IntegrityError when the model cannot be used."""
        index, rows = task["unit"], np.asarray(task["rows"], dtype=np.int64)
        for path in self._job.models[index]:
            integrity.wait(Path(self._job.verified), path)
        begin, fresh = now(), self._job.models[index][0] not in self._models
        model = self._model(index)
        loaded = now()
        samples = self._taken(index, rows, keep=task["keep"])
        bad = dict(samples.bad) if samples else {}
        decoded = now()
        if fresh and task["warm"]:
            self._forward(model, index, rows[: 1 if samples is None else self._job.units[index].batch], samples, {})
        warmed = now()
        out = self._forward(model, index, rows, samples, bad)
        predicted = now()
        out[sorted(bad)] = np.nan
        broken = np.flatnonzero(~np.isfinite(out).all(axis=1)).tolist()
        strange = [row for row in broken if row not in bad]
        bad.update(dict.fromkeys(strange, "the model's output is not finite"))
        out[strange] = np.nan
        job.publish(self._folder, job.result(self._folder, index, task["chunk"]), out)
        return {
            "seconds": {
                "load": loaded - begin,
                "decode": samples.seconds if samples else 0.0,
                "first": warmed - decoded,
                "predict": predicted - warmed,
            },
            "decoded": samples.made if samples else len(rows),
            "bad": [[int(rows[at]), bad[at]] for at in sorted(bad)[:TOLD]],
            "bad_count": len(bad),
            "not_finite": len(strange),
            "peak_mb": peak_mb(),
            "accelerator": model.accelerator,
            "resident": len(self._models),
        }

    def _taken(self, index: int, rows: Rows, *, keep: bool) -> Taken | None:
        """The samples as the unit takes them; None where a hook loads them one by one. Raises BackendError when it cannot."""
        if self._hooks.load is not None:
            return None
        try:
            return self._samples.take(self._job.units[index], rows, keep=keep)
        except cells.CellsError as error:  # no other sample will fare better
            raise backends.BackendError(str(error)) from None

    def _forward(
        self, model: backends.Backend, index: int, rows: Rows, samples: Taken | None, bad: dict[int, str]
    ) -> NDArray[np.float32]:
        """Float (rows, outputs), NaN where there is no answer; `bad` tells why. Of fewer rows than were taken: the first."""
        unit = self._job.units[index]
        if samples is None:
            return self._by_hook(model, index, [self._rows[row] for row in rows.tolist()], bad)
        material = samples.material
        if len(material) != len(rows):
            material = material.pick(np.arange(len(rows)))
        out = np.full((len(rows), self._job.outputs), np.nan, dtype=np.float32)
        for places, feeds in material.batches(unit.view, unit.batch):
            run(model, feeds, self._job.heads, places, out, bad)
        return out

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

    def _by_hook(
        self, model: backends.Backend, index: int, samples: list[dict[str, Any]], bad: dict[int, str]
    ) -> NDArray[np.float32]:
        """Samples one at a time: each is a stack of items, predicted in batches and merged."""
        out = np.full((len(samples), self._job.outputs), np.nan, dtype=np.float32)
        for row, sample in enumerate(samples):
            try:
                out[row] = self._merged(model, hooks.inputs(self._hooks, sample, self._mounts), self._job.units[index].batch)
            except Exception as error:  # noqa: BLE001  a competitor's code may raise anything; the sample keeps what it has
                bad[row] = f"hooks.load: {type(error).__name__}: {error}"
        return out

    def _merged(self, model: backends.Backend, items: dict[str, NDArray[Any]], size: int) -> NDArray[Any]:
        """The answer (outputs,) of one sample."""
        count, heads = len(next(iter(items.values()))), self._job.heads
        starts = range(0, count, size)
        probs = np.concatenate(
            [model.run({name: array[at : at + size] for name, array in items.items()}, heads) for at in starts]
        )
        merged = np.asarray(probs.mean(axis=0) if self._hooks.merge is None else self._hooks.merge(probs))
        if merged.shape != (self._job.outputs,):
            raise hooks.HookError(f"merge returned shape {merged.shape}, expected ({self._job.outputs},)")
        return merged


def run(
    model: backends.Backend, feeds: Feeds, heads: Sequence[Head], places: Rows, out: NDArray[np.float32], bad: dict[int, str]
) -> None:
    """Fill `out[places]`. A batch that fails (out of memory, a poisonous sample) is halved, down to the one that fails alone."""
    try:
        values = model.run(feeds, heads)
    except backends.OutputError:
        raise
    except Exception as error:  # noqa: BLE001  every backend has its own exceptions
        if len(places) == 1:
            bad[int(places[0])] = f"{type(error).__name__}: {error}"[:300]
            return
        half = len(places) // 2
        for part in (slice(None, half), slice(half, None)):
            run(model, _part(feeds, part), heads, places[part], out, bad)
        return
    expected = (len(places), out.shape[1])
    if values.shape != expected:
        raise backends.BackendError(f"the model's output has shape {values.shape}, expected {expected}")
    out[places] = values


def _part(feeds: Feeds, part: slice) -> Feeds:
    return {name: array[part] for name, array in feeds.items()} if isinstance(feeds, Mapping) else feeds[part]


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
