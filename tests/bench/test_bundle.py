"""What bundling costs: a gigabyte of weights, read once and then never again, and stored once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from builder.bundle import stage
from builder.bundle.record import Content, Dataset
from builder.config import Bundle
from builder.workspace import sha256_file

pytestmark = pytest.mark.bench

FILES, SIZE = 10, 100_000_000  # ten folds of 100 MB


@pytest.fixture
def weights(tmp_path):
    """1 GB of models that nobody has touched for long."""
    paths = [tmp_path / "exports" / f"net-f{number}-fp32.onnx" for number in range(FILES)]
    paths[0].parent.mkdir()
    for path in paths:
        with path.open("wb") as stream:
            for _ in range(SIZE // 1_000_000):
                stream.write(os.urandom(1_000_000))
        os.utime(path, ns=(10**18, 10**18))
    with ThreadPoolExecutor(2) as pool:
        digests = list(pool.map(sha256_file, paths))
    files = tuple(Content(path.name, path, SIZE, digest) for path, digest in zip(paths, digests, strict=True))
    return Dataset("v001:net", "net-bench", "net v001 folds 0-9 fp32", files)


def used(folder):
    """Bytes on disk below a folder, each file once however many names it has."""
    found = {(status.st_dev, status.st_ino): status.st_blocks * 512 for status in (path.lstat() for path in folder.rglob("*"))}
    return sum(found.values())


def test_a_gigabyte_is_bundled_at_the_speed_of_the_disk_and_then_for_nothing(weights, workspace, tmp_path):
    def bundle(**options):
        started = time.perf_counter()
        (made,) = stage.write([weights], workspace, "me", Bundle(), **options)
        return time.perf_counter() - started, made.changed

    before = used(tmp_path)
    first, made = bundle()
    assert made
    extra = (used(tmp_path) - before) / weights.bytes
    again, made = bundle()
    assert not made
    verified, _ = bundle(verify=True)
    for path in (workspace.datasets / weights.slug).iterdir():
        path.unlink()
    (workspace.datasets / weights.slug).rmdir()
    relinked, made = bundle()
    assert made
    for name, seconds in (
        ("not hashed before", first),
        ("unchanged", again),
        ("--verify", verified),
        ("hashed, made anew", relinked),
    ):
        print(f"bundle of {weights.bytes / 1e9:.1f} GB, {name}: {seconds:.2f} s, {weights.bytes / 1e6 / seconds:.0f} MB/s")
    print(f"extra disk: {extra:.4%}")
    assert first <= 10
    assert verified <= 10
    assert again <= 5
    assert relinked <= 5
    assert extra <= 0.01
