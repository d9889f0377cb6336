"""How much memory an export of a fold takes above what a process holds that only has the source, the whole tree counted."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HOLDS = """
import sys
import pandas, sklearn.metrics  # what kkb itself has loaded by then
from builder.export import onnx_format, stage
from tests.export import memory, zoo
onnx_format.trace(zoo.image_case("tiny").source)  # what the exporter imports is not the model's
taken = memory.Resnet()()
print(sum(p.numel() * 4 for p in taken.module.parameters()) / 1e6, flush=True)
sys.stdin.read()
"""
EXPORTS = """
import json, sys, time
import numpy as np
import pandas, sklearn.metrics
from pathlib import Path
from builder import metrics
from builder.export import fold, stage
from builder.runtime.contract import Input
from builder.shown import Pixels
from tests.export import memory

assert "torch" not in sys.modules
folder = Path(sys.argv[1])
np.save(folder / "pixels.npy", np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8))
pixels = np.load(folder / "pixels.npy", mmap_mode="r")
kind = sys.argv[2]
recipe = fold.Recipe(folder, "onnx", kind, ("identity",), 32, None, metrics.get("accuracy"), np.arange(64) % 10, "cpu", 2, "")
given = fold.Given("m", 0, memory.Resnet(), Input(224, 224), Pixels({"identity": pixels}), apart=sys.argv[3] == "apart")
started = time.perf_counter()
made = fold.export(recipe, given, np.arange(32))
print(json.dumps({"seconds": time.perf_counter() - started, "bytes": made.model.bytes}))
"""


class Resnet:
    """Makes a source of a hundred megabytes."""

    def __call__(self):
        import timm
        import torch

        from builder import models
        from builder.export import source

        torch.manual_seed(0)
        network = timm.create_model("resnet50", num_classes=10)
        return source.image(models.portable(network, (0.5,) * 3, (0.2,) * 3).eval(), 224, 224)


def resident(pid: int) -> float:
    """MB of a process and all below it that are no file's: pages of libraries are there once for all, and can be dropped."""
    total = 0.0
    with contextlib.suppress(OSError):  # it may end while we look
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
        told = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
        total = (int(told["Pss_Anon"]) + int(told["Pss_Shmem"])) * 1024 / 1e6
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (task / "children").read_text("utf-8").split())
    return total


def start(code: str, *arguments: object):
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def measured(folder: Path, precision: str, how: str) -> dict[str, float]:
    """What an export of a fold took, and its peak over a process that only holds the source, in MB."""
    with start(HOLDS) as holder:
        weights = float(holder.stdout.readline())
        before = resident(holder.pid)
        holder.kill()
    peak = 0.0
    with start(EXPORTS, folder, precision, how) as export:
        while export.poll() is None:
            peak = max(peak, resident(export.pid))
            time.sleep(0.02)
        told = json.loads(export.stdout.readlines()[-1])
    return {**told, "weights_mb": weights, "source_mb": before, "peak_mb": peak, "above_mb": peak - before}
