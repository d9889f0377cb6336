"""The list of mounts, as a function of session and interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from builder.errors import UserError
from builder.rehearse import engine, mounts
from builder.rehearse.session import COMPLETE
from tests.rehearse.conftest import Make

READ = """
import os
from pathlib import Path
data = Path(os.environ["KKB_KAGGLE"], "input/data")
print([(data / name).read_text() for name in ("plain.csv", "images/1.txt", "big.csv")], (data / "dangling").exists())
"""


def linked(tmp_path: Path) -> Path:
    """An input as people make it who keep images on another disk."""
    (tmp_path / "disk" / "images").mkdir(parents=True)
    (tmp_path / "disk" / "images" / "1.txt").write_text("one")
    (tmp_path / "disk" / "big.csv").write_text("two")
    data = tmp_path / "data"
    data.mkdir()
    (data / "plain.csv").write_text("three")
    (data / "images").symlink_to(tmp_path / "disk" / "images")
    (data / "big.csv").symlink_to("../disk/big.csv")
    (data / "dangling").symlink_to(tmp_path / "nowhere")
    return data


def test_links_in_an_input_lead_somewhere(make: Make, level: str, tmp_path: Path) -> None:
    heard: list[str] = []
    outcome = engine.run(make(READ, inputs={"data": linked(tmp_path)}), on_log=lambda entry: heard.append(entry["data"]))
    assert "".join(heard) == "['three', 'one', 'two'] False\n"
    assert outcome.status == COMPLETE


def test_input_with_links_is_sealed(tmp_path: Path) -> None:
    listed = mounts.of_input(linked(tmp_path), "/kaggle/input/data")
    assert {mount.kind for mount in listed[1:-1]} == {"ro"}
    assert (listed[0].kind, listed[-1]) == ("tmpfs", mounts.Mount("seal", "", "/kaggle/input/data"))


def test_plain_input_is_one_mount(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert mounts.of_input(tmp_path, "/kaggle/input/x") == [mounts.Mount("ro", str(tmp_path), "/kaggle/input/x")]


def test_too_many_entries_beside_a_link_are_refused(tmp_path: Path) -> None:
    for number in range(mounts.MOST_ENTRIES + 1):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="hard links will do"):
        mounts.of_input(tmp_path, "/kaggle/input/x")


def test_extras_among_inputs_come_before_the_seal(tmp_path: Path) -> None:
    extra = {"/kaggle/input/late": tmp_path, "/kaggle/else": tmp_path}
    listed = mounts.of_session(tmp_path, tmp_path, tmp_path, {"first": tmp_path}, extra)
    order = [mount.target for mount in listed]
    seal = next(index for index, mount in enumerate(listed) if mount.kind == "seal")
    assert order.index("/kaggle/input") < order.index("/kaggle/input/first") < seal
    assert order.index("/kaggle/input/late") < seal < order.index("/kaggle/else")


def test_interpreter_is_found_through_all_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, alias, venv = tmp_path / "python-3.99.7", tmp_path / "python-3.99", tmp_path / "project"
    for folder in (real / "bin", real / "lib", venv / "bin", venv / "lib", venv / "secrets"):
        folder.mkdir(parents=True)
    alias.symlink_to(real)
    (real / "bin" / "python3").touch()
    (venv / "bin" / "python").symlink_to(alias / "bin" / "python3")
    for name, value in {"prefix": venv, "exec_prefix": venv, "base_prefix": alias, "base_exec_prefix": alias}.items():
        monkeypatch.setattr(sys, name, str(value))
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    found = set(mounts.of_python())
    assert {str(folder / part) for folder in (real, alias, venv) for part in ("bin", "lib")} <= found
    assert not any("secrets" in path or path == str(venv) for path in found)
