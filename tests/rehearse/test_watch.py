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
    assert watch.tree_memory(process.pid) == 0


def test_tree_memory_includes_children() -> None:
    hold = "x = bytearray(100 << 20); print('ready', flush=True); input()"
    nest = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}])"
    with subprocess.Popen([sys.executable, "-c", nest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert len(enter.descendants(process.pid)) == 1
        assert watch.tree_memory(process.pid) > 100 << 20
        process.communicate("go\n")
    assert process.returncode == 0
