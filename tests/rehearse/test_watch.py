"""Memory of a tree and size of a folder, as seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from builder.rehearse import enter, watch


def test_folder_size_counts_files_not_links(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.bin").write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "a.bin")
    (tmp_path / "loop").symlink_to(tmp_path)
    size = watch.folder_size(tmp_path)
    assert 1 << 20 <= size < 2 << 20


def test_missing_folder_and_dead_process_have_no_size(tmp_path: Path) -> None:
    assert watch.folder_size(tmp_path / "missing") == 0
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert watch.memory(watch.members(process.pid)) == 0


def test_tree_memory_includes_children() -> None:
    hold = "x = bytearray(100 << 20); print('ready', flush=True); input()"
    nest = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen([sys.executable, "-c", nest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(enter.descendants(process.pid)) == 1
        assert watch.memory(watch.members(process.pid)) > 100 << 20
        process.communicate("go\n")
    assert process.returncode == 0


SHARED_AND_OWN = """
import os, sys, time
x = bytearray(os.urandom(1 << 20)) * 200
for _ in range(2):
    if os.fork() == 0:
        y = bytearray(os.urandom(1 << 20)) * 50
        print("ready", flush=True)
        time.sleep(60)
        os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


def test_tree_memory_is_right_within_a_tenth() -> None:
    """200 MB that three processes share, and 50 MB that two have to themselves; an interpreter takes some MB itself."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    ) as idle:
        assert idle.stdout is not None
        idle.stdout.readline()
        own = watch.memory(watch.members(idle.pid))
        idle.kill()
    with subprocess.Popen([sys.executable, "-c", SHARED_AND_OWN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        used, resident = watch.memory(watch.members(process.pid)), watch.resident(watch.members(process.pid))
        for pid in (*enter.descendants(process.pid), process.pid):
            os.kill(pid, 9)
    expected = (200 << 20) + 2 * (50 << 20) + own
    assert expected * 0.9 < used < expected * 1.1
    assert resident > 650 << 20


def test_processor_time_is_that_of_the_work() -> None:
    work = "import time; s = time.process_time()\nwhile time.process_time() - s < 0.5: pass\nprint(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert watch.processor_s([process.pid]) >= 0.5
        process.kill()
