"""What an export costs, and what it gains: seconds and memory of the export, ONNX beside torch on the same threads."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.bench

THREADS = 1  # as each worker of a CPU notebook has
SIDE, BATCH, PAIRS = 224, 4, 7
BACKBONES = {
    "resnet": "resnet18",
    "resnext": "resnext50_32x4d",
    "seresnet": "seresnet18",
    "mobilenetv2": "mobilenetv2_100",
    "efficientnet": "efficientnet_b0",
    "convnext": "convnext_atto",
    "vgg": "vgg11",
    "vit": "vit_tiny_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "deit": "deit_tiny_patch16_224",
}
CHILD = """
import json, sys, threading, time
import numpy as np, onnxruntime, timm, torch
from pathlib import Path
from builder import metrics, models
from builder.export import convert, fold, onnx_format, source

def module(name, side):
    return source.image(models.portable(timm.create_model(name, num_classes=10), (0.5,) * 3, (0.2,) * 3).eval(), side, side)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

folder = Path(sys.argv[1])
onnx_format.save(onnx_format.trace(module("test_resnet", 32)), folder / "warm.onnx")  # imports are not the model's
taken = module("resnet50", 224)
pixels = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), dtype=np.uint8)
taken.answers({"image": pixels[:32]})
size = sum(p.numel() * 4 for p in taken.module.parameters()) / 1e6
before, peak, done = resident(), [0.0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())

threading.Thread(target=watch, daemon=True).start()
started = time.perf_counter()
graph = onnx_format.trace(taken)
onnx_format.save(graph, folder / "model.onnx")
written, write_peak = time.perf_counter() - started, peak[0] - before
del graph
recipe = fold.Recipe(folder, "onnx", "fp32", ("identity",), 32, None, metrics.get("accuracy"), np.arange(64) % 10, "cpu", 2, "")
started = time.perf_counter()
fold.export(recipe, "m", 0, taken, pixels, np.arange(32))
whole = time.perf_counter() - started
done.set()
print(json.dumps({"size_mb": size, "write_s": written, "write_mb": write_peak, "fold_s": whole, "fold_mb": peak[0] - before}))
"""


def test_a_fold_of_a_hundred_megabytes_takes_a_minute_and_twice_its_size(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "2"}
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, tmp_path], check=True, stdout=subprocess.PIPE, env=environment
    )
    told = json.loads(ran.stdout.splitlines()[-1])
    print("export of resnet50:", {key: round(value, 1) for key, value in told.items()})
    assert told["fold_s"] <= 60
    assert told["write_mb"] <= 2 * told["size_mb"]


@pytest.mark.parametrize("family", BACKBONES)
def test_onnx_is_as_fast_as_torch(family, tmp_path):
    """Interleaved, so that whatever else the machine does hits both."""
    import timm
    import torch

    from builder import models
    from builder.export import onnx_format, source
    from builder.runtime import backends

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    backbone = timm.create_model(BACKBONES[family], pretrained=False, num_classes=10)
    taken = source.image(models.portable(backbone, (0.5,) * 3, (0.2,) * 3).eval(), SIDE, SIDE)
    (path, *_) = onnx_format.save(onnx_format.trace(taken), tmp_path / "m.onnx")
    exported = backends.open(path, threads=THREADS)
    feeds = {"image": np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8)}
    spent = {"torch": [], "onnx": []}
    for _ in range(PAIRS + 1):
        for name, run in (("torch", taken.answers), ("onnx", exported.logits)):
            started = time.perf_counter()
            run(feeds)
            spent[name].append((time.perf_counter() - started) * 1e3 / BATCH)
    eager, graph = (statistics.median(spent[name][1:]) for name in ("torch", "onnx"))
    print(
        f"{family} ({BACKBONES[family]}): torch {eager:.1f} ms, onnx {graph:.1f} ms per sample: {eager / graph:.2f} times as fast"
    )
    assert graph <= eager
