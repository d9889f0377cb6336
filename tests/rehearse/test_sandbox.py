"""Laying out a session's folder and tidying up, without running anything."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from builder.rehearse import sandbox
from builder.rehearse.isolation import NONE, Level
from tests.rehearse.conftest import Make


def test_only_the_output_remains(make: Make) -> None:
    session = make("print(1)")
    with sandbox.prepared(session, Level(NONE)):
        assert (session.folder / "kaggle" / "input" / "competitions" / "digits" / "test.csv").read_text() == "id\n1\n"
        (session.folder / "kaggle" / "tmp" / "scratch.bin").write_text("x")
    assert [path.name for path in session.folder.iterdir()] == ["working"]
    assert (session.inputs["competitions/digits"] / "test.csv").read_text() == "id\n1\n"


def test_mirror_shows_every_file_and_refuses_new_ones(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "a.txt").write_text("a")
    sandbox.mirror(source, target)
    assert (target / "deep" / "er" / "a.txt").read_text() == "a"
    for folder in (target, target / "deep", target / "deep" / "er"):
        assert folder.stat().st_mode & 0o222 == 0
    sandbox.remove(target)
    assert not target.exists()
    assert (source / "deep" / "er" / "a.txt").read_text() == "a"


def test_remove_takes_what_was_locked_and_leaves_what_links_lead_to(tmp_path: Path) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "folder"
    (folder / "locked" / "deeper").mkdir(parents=True)
    kept.mkdir()
    (kept / "x").touch()
    (folder / "link").symlink_to(kept)
    (folder / "locked" / "deeper").chmod(0)
    (folder / "locked").chmod(0)
    sandbox.remove(folder)
    assert not folder.exists()
    assert (kept / "x").exists()


def test_links_within_the_output_stay(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "inside").symlink_to("a")
    (tmp_path / "out").symlink_to(tmp_path.parent)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "out").symlink_to("../../elsewhere")
    assert list(sandbox.drop_links(tmp_path)) == ["deep/out", "out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "deep", "inside"]


def test_only_plain_files_folders_and_links_between_them_stay(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    for name in ("a", "locked/b"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o6751)
    os.mkfifo(tmp_path / "locked" / "fifo")
    (tmp_path / "to-fifo").symlink_to("locked/fifo")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "folder").symlink_to("locked")
    (tmp_path / "locked").chmod(0o7000)
    tmp_path.chmod(0o7777)
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "s"))
        dropped = sandbox.drop_links(tmp_path)
    assert list(dropped) == ["circle", "locked/fifo", "nowhere", "s", "to-fifo"]
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "folder", "locked", "locked/b"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, *tmp_path.rglob("*"))}
    assert modes == {tmp_path.name: 0o777, "a": 0o751, "b": 0o751, "folder": 0o700, "locked": 0o700}


def test_a_link_in_the_outputs_place_goes_and_what_it_leads_to_is_untouched(tmp_path: Path) -> None:
    elsewhere, working = tmp_path / "elsewhere", tmp_path / "working"
    elsewhere.mkdir()
    (elsewhere / "out").symlink_to("/etc")
    (elsewhere / "suid").touch()
    (elsewhere / "suid").chmod(0o4755)
    working.symlink_to(elsewhere)
    assert sandbox.drop_links(working) == {".": "no folder any more"}
    assert not working.is_symlink()
    assert sorted(path.name for path in elsewhere.iterdir()) == ["out", "suid"]
    assert stat.S_IMODE((elsewhere / "suid").stat().st_mode) == 0o4755
    assert sandbox.drop_links(working) == {}


@pytest.mark.parametrize("rerun", [True, False])
def test_environment_is_made_from_nothing(make: Make, monkeypatch: pytest.MonkeyPatch, rerun: bool) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    session = make("print(1)", rerun=rerun, environment={"HOME": "/elsewhere", "EXTRA": "1"})
    variables = sandbox.environment(session, home="/h", temporary="/t", site_packages="/s", kaggle="/k")
    assert "secret" not in variables.values()
    assert (variables["HOME"], variables["EXTRA"], variables["KKB_KAGGLE"]) == ("/elsewhere", "1", "/k")
    assert variables.get("KAGGLE_IS_COMPETITION_RERUN") == ("1" if rerun else None)
