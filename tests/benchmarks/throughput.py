"""Both sides as whole processes, one after the other in turn, so that whatever else the machine does hits both.

    python -m tests.benchmarks.throughput PHOTOS_ZIP FOLDER ROWS FOLDS PAIRS     the pairs
    python -m tests.benchmarks.throughput PHOTOS_ZIP FOLDER ROWS FOLDS 0         one change at a time

FOLDER keeps the case: a second call with the same one does not export again.
"""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from builder.bundle import runtime_wheel
from builder.export import pricing
from builder.export.record.prices import fastest
from builder.runtime import devices

from . import case

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
LIMIT_S = 3600.0
# Nobody's own number of threads, and nobody's session: each side takes what it takes on a new machine.
PLAIN = {key: value for key, value in os.environ.items() if not (key.endswith("_NUM_THREADS") or key.startswith("KAGGLE_"))}
PUBLIC_BATCHES = (8, 16, 32, 64)
OUR_BATCHES = (1, 2, case.BATCH)  # those that an export for the CPU compares with its source


@dataclass(frozen=True)
class Ran:
    """One process with all that it started: wall seconds, CPU seconds in user and system mode."""

    wall: float
    user: float
    system: float


def run(command, **environment):
    """Run to the end. Raises when it fails, with its last words, or takes too long."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, command)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**PLAIN, **{name: str(value) for name, value in environment.items()}},
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} ended with {ended.returncode}: {ended.stdout[-1000:]} {ended.stderr[-2000:]}")
    return Ran(wall, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


class Bench:
    """A case that is measured."""

    def __init__(self, folder, folds):
        self.folder, self.folds = folder, folds
        self.kaggle = folder / "kaggle"
        self.told = json.loads((folder / "case.json").read_text())
        self.wheel = runtime_wheel.build(folder)

    def public(self, batch, folds=None):
        """The public loop: what it took, and its answers."""
        out = self.folder / "public.npy"
        ran = run([HERE / "public_loop.py", self.folder, out, batch, folds or self.folds])
        return ran, np.load(out)

    def ours(self, batches, folds=None, *, settings=None, wheel=None, backend="onnxruntime"):
        """The runtime, in batches by architecture: what it took, its answers, and run.json."""
        plan = json.loads((self.folder / "plan.json").read_text())
        units = [
            dict(unit, batch=batches[unit["member"].partition(":")[2]], backend=backend)
            for unit in plan["units"]
            if unit["fold"] < (folds or self.folds)
        ]
        plan.update(units=units, prefixes=plan["prefixes"][: len(units)])
        (self.folder / "used.json").write_text(json.dumps(plan))
        (self.kaggle / "working").mkdir(exist_ok=True)
        notebook = [HERE / "our_notebook.py", self.folder / "used.json", self.folder / "datasets.json"]
        ran = run([*notebook, wheel or self.wheel, json.dumps(settings or {})], KKB_KAGGLE=self.kaggle)
        record = json.loads((self.kaggle / "working" / "run.json").read_text())
        assert record["samples_per_prefix"] == {str(len(units)): self.told["rows"]}, record
        with (self.kaggle / "working" / "submission.csv").open(newline="") as stream:
            answers = {row[0]: [float(cell) for cell in row[1:]] for row in list(csv.reader(stream))[1:]}
        return ran, np.array([answers[name] for name in sorted(answers)]), record

    def floor(self, batches, folds=None):
        """Seconds of nothing but `session.run`, on all cores at once: by the wall, and of CPU time in all."""
        environment = {**PLAIN, **devices.on_cpu(1)}
        cores = len(os.sched_getaffinity(0))
        command = [sys.executable, HERE / "compute_floor.py", self.folder, json.dumps(batches), folds or self.folds]
        parts = [[*map(str, command), str(part), str(cores)] for part in range(cores)]
        started = [subprocess.Popen(part, stdout=subprocess.PIPE, text=True, env=environment) for part in parts]
        try:
            seconds = [tuple(map(float, process.communicate(timeout=LIMIT_S)[0].split())) for process in started]
        finally:
            for process in started:
                process.kill()
        return max(wall for wall, _ in seconds), sum(cpu for _, cpu in seconds)

    def priced(self):
        """Architecture -> batch size -> milliseconds per photo, as an export prices its first fold."""
        models = self.kaggle / "input" / "datasets" / "me" / "photos-models"
        feeds = {"image": case.decoded(sorted((self.folder / "photos").iterdir())[: max(OUR_BATCHES)])}
        found = {}
        for name in self.told["architectures"]:
            price = pricing.measured(models / f"{name}-f0.onnx", "onnxruntime", "cpu", feeds, OUR_BATCHES)
            found[name] = {int(size): times["median_ms"] for size, times in price.batch.items()}
        return found


def sweep(bench):
    """The public loop's best batch on one fold, from one run each; ours of each architecture, by its prices; all figures."""
    public = {batch: bench.public(batch, 1)[0].wall for batch in PUBLIC_BATCHES}
    prices = bench.priced()
    ours = {name: fastest(times, case.BATCH) for name, times in prices.items()}
    return min(public, key=public.get), ours, {"public, s": rounded(public), "ours, ms per photo": rounded(prices)}


def pairs(bench, count, public_batch, our_batches):
    """`count` pairs with the floor beside them; what was measured, as JSON values."""
    rows, taken = bench.told["rows"], []
    for number in range(count):
        sides = {}
        for side in ("public", "ours") if number % 2 else ("ours", "public"):
            sides[side] = bench.public(public_batch) if side == "public" else bench.ours(our_batches)
        (public, expected), (ours, found, record) = sides["public"], sides["ours"]
        floor, floor_cpu = bench.floor(our_batches)
        taken.append(
            {
                "ratio": public.wall / ours.wall,
                "cpu_ratio": (public.user + public.system) / (ours.user + ours.system),
                "public_s": public.wall,
                "ours_s": ours.wall,
                "floor_s": floor,
                "over_floor": ours.wall / floor,
                "cpu_over_floor": (ours.user + ours.system) / floor_cpu,
                "public_rows_per_s": rows / public.wall,
                "ours_rows_per_s": rows / ours.wall,
                "public_system_share": public.system / (public.user + public.system),
                "ours_system_share": ours.system / (ours.user + ours.system),
                "largest_dp": float(np.abs(expected - found).max()),
                "equal_argmax": float((expected.argmax(1) == found.argmax(1)).mean()),
                "shares": shares(ours, record),
            }
        )
        print(json.dumps(rounded(taken[-1])), flush=True)
    return taken


def shares(ran, record):
    """Where the workers' time went, as shares of wall seconds times workers."""
    workers, units = record["accelerator"]["workers"], record["units"]
    whole = ran.wall * workers
    first = {(unit["member"], unit["fold"]): unit for unit in units}
    parts = {
        "predict": sum(unit["seconds_per_sample"] * unit["samples"] for unit in units),
        "load": sum((unit["load_s"] or 0.0) * workers for unit in first.values()),
        "decode": (units[0]["decode_seconds_per_sample"] or 0.0) * record["rows"],
        "start and end": (ran.wall - record["stages"]["predict"]) * workers,
    }
    return {name: seconds / whole for name, seconds in parts.items()} | {"rest": 1 - sum(parts.values()) / whole}


def ablation(bench):
    """Wall and CPU seconds of the runtime as it is, and with one change at a time; as it is once more at the end."""
    batches = {name: fastest(times, case.BATCH) for name, times in bench.priced().items()}
    changes = {
        "as it is": {},
        "one batch for all": {"batches": dict.fromkeys(batches, case.BATCH)},
        "an arena per session": {"wheel": without_shared_arena(bench)},
        "one worker, a thread per core": {"settings": {"workers": 1, "threads": len(os.sched_getaffinity(0))}},
        "one worker, one thread": {"settings": {"workers": 1}},
        "no decoded images in scratch": {"settings": {"keep_bytes": 0}},
        "OpenVINO": {"backend": "openvino"},
        "as it is, again": {},
    }
    found = {}
    for name, change in changes.items():
        ran, answers, record = bench.ours(**{"batches": batches, **change})
        told = {"wall": ran.wall, "cpu": ran.user + ran.system, "system": ran.system, "worker_mb": record["peak_mb"]["worker"]}
        print(f"{name}: {json.dumps(rounded(told))}", flush=True)
        found[name] = {**told, "answers": answers}
    return found


def without_shared_arena(bench):
    """The runtime with one line changed, as a folder to put on sys.path."""
    package = bench.folder / "without" / "kkb_runtime"
    package.mkdir(parents=True, exist_ok=True)
    for path in runtime_wheel.SOURCES.glob("*.py"):
        (package / path.name).write_text(path.read_text())
    backend = package / "onnx_backend.py"
    kept, changed = 'if accelerator == "cpu" and _share_arena(onnxruntime):', "if False:"
    assert kept in backend.read_text()
    backend.write_text(backend.read_text().replace(kept, changed))
    return package.parent


def summary(taken):
    """Medians, and ranges of what matters."""
    keys = [key for key, value in taken[0].items() if isinstance(value, float)]
    told = {key: statistics.median(each[key] for each in taken) for key in keys}
    told["ratio_range"] = [min(each["ratio"] for each in taken), max(each["ratio"] for each in taken)]
    told["largest_dp"] = max(each["largest_dp"] for each in taken)
    return told


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def made(photos_zip, folder, rows, folds):
    """The case in `folder`, made when it is not there."""
    if not (folder / "case.json").is_file():
        case.build(folder, case.from_archive(photos_zip, rows), folds)
    return Bench(folder, folds)


def main(photos_zip, folder, rows, folds, count):
    bench = made(Path(photos_zip), Path(folder), int(rows), int(folds))
    if not int(count):
        ablation(bench)
        return
    public_batch, our_batches, table = sweep(bench)
    print(f"by batch: {table}; chosen: {public_batch}, {our_batches}", flush=True)
    print(json.dumps(rounded(summary(pairs(bench, int(count), public_batch, our_batches)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
