"""What an export costs, and what it gains: seconds and memory of the export, ONNX beside torch on the same threads."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from tests.export import memory

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


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_fold_of_a_hundred_megabytes_takes_a_minute_and_twice_its_size(precision, tmp_path):
    told = memory.measured(tmp_path, precision, "apart")
    print(f"export of resnet50 in {precision}:", {key: round(value, 1) for key, value in told.items()})
    assert told["above_mb"] <= 2 * told["weights_mb"]
    assert told["seconds"] <= 60


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
