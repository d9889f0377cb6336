"""Before anybody compares their speed: the public loop and the runtime give the same answers, as whole processes."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import case, throughput

LARGEST_DP = 1e-5
PHOTOS = 4


def photos():
    """Coarse noise of several shapes: unlike each other, and unlike their mirror images."""
    rng = np.random.default_rng(5)
    named = {}
    for number in range(PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((300 + 40 * number, 260), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        named[f"{number}.jpg"] = stream.getvalue()
    return named


@pytest.mark.slow
def test_the_public_loop_and_the_runtime_answer_alike(tmp_path):
    case.build(tmp_path / "case", photos(), folds=1, architectures=("resnet18",))
    bench = throughput.Bench(tmp_path / "case", 1)
    _, expected = bench.public(batch=2)
    _, found, record = bench.ours({"resnet18": 3})
    assert [unit["view"] for unit in record["units"]] == ["identity", "hflip"]
    assert np.abs(found - expected).max() <= LARGEST_DP
    assert np.ptp(expected, axis=0).max() > 0.1  # photos differ, so a mixed-up order would show
