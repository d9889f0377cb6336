"""Every family comes out equal, in single and in half precision, and every fault that is planted in it is refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from builder.export import convert, onnx_format, parity, precision, record
from builder.runtime import backends

pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("transformers")

from tests.export import zoo

PLANNED = 32
FAST = ("lstm",)
FAMILIES = [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in (*zoo.IMAGES, *zoo.TEXTS, "custom")]
ELSEWHERE = """
import sys, numpy as np, onnxruntime
assert onnxruntime.__version__ == sys.argv[1], onnxruntime.__version__
feeds = dict(np.load(sys.argv[3]))
session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
names = [value.name for value in session.get_outputs()]
parts = [session.run(names, {k: v[i : i + 32] for k, v in feeds.items()}) for i in range(0, len(next(iter(feeds.values()))), 32)]
np.savez(sys.argv[4], **{name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)})
"""
KAGGLE_ONNXRUNTIME = "1.26.0"


@dataclass
class Exported:
    """A family with its files in single and in half precision, and what its source says."""

    case: zoo.Case
    single: Path
    half: Path
    expected: dict[str, np.ndarray]

    def gap(self, path: Path, feeds: dict[str, np.ndarray] | None = None) -> record.Gap:
        return record.gap(self.expected, parity.predict(backends.open(path, threads=2).logits, feeds or self.case.feeds, PLANNED))


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    case = zoo.case(request.param)
    graph = onnx_format.trace(case.source)
    single, half = folder / "fp32.onnx", folder / "fp16.onnx"
    onnx_format.save(graph, single)
    onnx_format.save(onnx_format.split(precision.halved(graph.whole())), half)
    return Exported(case, single, half, parity.predict(case.source.answers, case.feeds, PLANNED))


def test_the_rows_are_awake(exported):
    """Otherwise even an all-zero input would pass."""
    case = exported.case
    logits = case.source.answers(case.feeds)["logits"]
    assert len(logits) == 256
    assert logits.std(axis=0).min() >= 1
    assert len(set(logits.argmax(axis=1))) >= 5
    assert record.gap(exported.expected, {k: np.roll(v, 1, axis=0) for k, v in exported.expected.items()}).max_abs_diff > 0.1


def test_single_precision_is_equal(exported):
    seen = exported.gap(exported.single)
    assert seen.max_abs_diff <= 1e-4
    assert seen.argmax_equal == 1


def test_half_precision_is_close(exported):
    assert exported.half.stat().st_size < 0.75 * exported.single.stat().st_size, "a tiny graph has more nodes than weights"
    seen = exported.gap(exported.half)
    assert seen.max_abs_diff <= 5e-3
    assert seen.argmax_equal >= 0.995


@pytest.mark.parametrize("kind", ["single", "half"])
def test_every_batch_and_size_is_equal(exported, kind):
    case, limit = exported.case, {"single": 1e-4, "half": 5e-3}[kind]
    sizes = [{"tokens": n} for n in (5, 16, 24)] if "tokens" in case.source.sizes else [{}]
    few = {name: values[:40] for name, values in case.feeds.items()}
    run = backends.open(getattr(exported, kind), threads=2).logits
    rungs = []
    for size in sizes:
        cut = {name: values[:, : size.get("tokens")] if values.ndim == 2 else values for name, values in few.items()}
        expected = parity.predict(case.source.answers, cut, convert.SOURCE_BATCH)
        rungs += parity.ladder(expected, run, kind, parity.Case(cut, sizes=size), PLANNED)
    assert [one.batch for one in rungs[:4]] == ["1", "2", "32", "32, ragged"]
    assert len(rungs) == 4 * len(sizes)
    assert parity.worst(rungs, limit) is None


@contextlib.contextmanager
def faulty(case, fault):
    """(feeds, source) with a fault planted in one of them."""
    import torch

    module, feeds = case.source.module, dict(case.feeds)
    first = next(iter(feeds))
    if fault == "bgr":
        feeds["image"] = np.ascontiguousarray(feeds["image"][..., ::-1])
    elif fault == "swapped tokens":
        feeds["input_ids"] = feeds["input_ids"].copy()
        feeds["input_ids"][:, [1, 2]] = feeds["input_ids"][:, [2, 1]]
    elif fault == "other rows":
        feeds[first] = np.roll(feeds[first], 1, axis=0)
    if fault == "no mean and std":
        kept = module.scale.clone(), module.shift.clone()
        module.scale.fill_(1 / 255)
        module.shift.zero_()
        yield feeds, case.source
        module.scale.copy_(kept[0])
        module.shift.copy_(kept[1])
    elif fault == "one layer":
        layers = [part for part in module.modules() if isinstance(part, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.Conv1d))]
        weight = layers[len(layers) // 2].weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.01)
        yield feeds, case.source
        with torch.no_grad():
            weight.copy_(kept)
    else:
        yield feeds, case.source


@pytest.mark.parametrize("fault", ["bgr", "no mean and std", "swapped tokens", "one layer", "other rows"])
def test_a_fault_is_refused(exported, fault):
    """Between a source and an export that do not agree about the fault, the gate is shut."""
    case = exported.case
    inputs = set(case.feeds)
    if (fault in {"bgr", "no mean and std"} and "image" not in inputs) or (
        fault == "swapped tokens" and "input_ids" not in inputs
    ):
        pytest.skip("not of this kind")
    if fault == "no mean and std" and not hasattr(case.source.module, "scale"):
        pytest.skip("its arithmetic is another")
    run, few = backends.open(exported.single, threads=2).logits, slice(PLANNED + 1)  # of more rows it is only the worse
    with faulty(case, fault) as (feeds, source):
        wrong, right = ({name: values[few] for name, values in rows.items()} for rows in (feeds, case.feeds))
        seen = record.gap(parity.predict(source.answers, wrong, PLANNED), parity.predict(run, right, PLANNED))
    assert parity.worst([parity.rung("fp32", "identity", str(PLANNED), seen)], parity.LIMITS["fp32"])


def test_the_generation_of_kaggle_says_the_same(exported, tmp_path):
    """The files, opened by the onnxruntime that Kaggle's CUDA can use, in another environment."""
    own = Path(__file__).parents[2] / ".venv-2026-08" / "bin" / "python"
    python = Path(os.environ.get("KKB_KAGGLE_PYTHON", own))
    if not python.is_file():
        pytest.skip("no environment with Kaggle's onnxruntime: make test-images, or set KKB_KAGGLE_PYTHON")
    np.savez(tmp_path / "feeds.npz", **exported.case.feeds)
    for path, limit in ((exported.single, 1e-4), (exported.half, 5e-3)):
        command = [python, "-c", ELSEWHERE, KAGGLE_ONNXRUNTIME, path, tmp_path / "feeds.npz", tmp_path / "out.npz"]
        subprocess.run(command, check=True, timeout=300, capture_output=True)
        found = {name: parity.probabilities(values) for name, values in np.load(tmp_path / "out.npz").items()}
        assert record.gap(exported.expected, found).max_abs_diff <= limit
