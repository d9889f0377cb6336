"""How many samples go on together."""

from types import SimpleNamespace

import pytest
from kkb_runtime.chunks import chunk_size

LIMIT = 9 * 3600.0


def units(batch=8, seconds=0.03):
    return [SimpleNamespace(batch=batch, seconds=seconds), SimpleNamespace(batch=1, seconds=seconds)]


@pytest.mark.parametrize("samples", [96, 97, 130, 200, 1000, 5000, 40_000, 123_457])
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_of_a_cpu_end_together(samples, workers):
    size = chunk_size(units(), samples, LIMIT, "cpu")
    chunks = -(-samples // size)
    longest = -(-chunks // workers) * size
    assert 24 <= size <= 512
    assert longest <= 1.04 * samples / workers, "nobody has a chunk more than the others to do alone"


def test_few_samples_are_whole_batches_wherever_they_run():
    assert [chunk_size(units(), samples, LIMIT, "cpu") for samples in (1, 20, 95)] == [8, 8, 8]


@pytest.mark.parametrize("samples", [1, 96, 200, 5000, 123_457])
def test_a_gpu_has_whole_batches(samples):
    assert chunk_size(units(32), samples, LIMIT, "cuda") % 32 == 0


def test_a_lost_chunk_costs_a_small_share_of_the_time():
    assert chunk_size(units(seconds=30.0), 5000, LIMIT, "cpu") * 30.0 <= LIMIT / 200
