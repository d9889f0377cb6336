"""Rows per second of the runtime beside a public notebook's loop: 3 architectures x 5 folds x 2 views on real photos, on the CPU.

The case, the loop and how both are run: tests/benchmarks/. A pair takes about six minutes on two idle cores, all half an hour.
"""

import os
from pathlib import Path

import pytest

from tests.benchmarks import throughput

pytestmark = pytest.mark.bench

PHOTOS = throughput.ROOT / os.environ.get("KKB_PHOTOS", "../shared/data/photos.zip")
ROWS, FOLDS, PAIRS = 200, 5, 3
RATIO, LARGEST_DP = 3.5, 1e-4


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    if not PHOTOS.is_file():
        pytest.skip(f"no photos at {PHOTOS}: set KKB_PHOTOS to a .zip of at least {ROWS} JPEG photos")
    return throughput.made(PHOTOS, Path(tmp_path_factory.mktemp("throughput")) / "case", ROWS, FOLDS)


def test_rows_per_second_of_all_units(bench):
    assert bench.told["rows"] == ROWS
    public_batch, our_batches, table = throughput.sweep(bench)
    print(f"\n{ROWS} photos; by batch: {table}; chosen: {public_batch}, {our_batches}")
    found = throughput.summary(throughput.pairs(bench, PAIRS, public_batch, our_batches))
    low, high = found["ratio_range"]
    print(
        f"{found['ours_rows_per_s']:.2f} photos/s against {found['public_rows_per_s']:.2f}: {found['ratio']:.2f} times "
        f"({low:.2f} to {high:.2f}); {found['over_floor']:.2f} times the compute floor; largest |dp| {found['largest_dp']:.1e}"
    )
    assert found["largest_dp"] <= LARGEST_DP
    assert found["ratio"] >= RATIO


def test_what_each_part_of_it_is_worth(bench):
    """One change at a time; the answers are the same under each."""
    found = throughput.ablation(bench)
    base = found["as it is"]["answers"]
    assert all(abs(each["answers"] - base).max() <= LARGEST_DP for each in found.values())
