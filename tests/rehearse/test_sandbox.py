"""Laying out a session's folder and tidying up, without running anything."""

from __future__ import annotations

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
    assert sandbox.drop_links(tmp_path) == ["deep/out", "out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "deep", "inside"]


@pytest.mark.parametrize("rerun", [True, False])
def test_environment_is_made_from_nothing(make: Make, monkeypatch: pytest.MonkeyPatch, rerun: bool) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "secret")
    session = make("print(1)", rerun=rerun, environment={"HOME": "/elsewhere", "EXTRA": "1"})
    variables = sandbox.environment(session, home="/h", temporary="/t", site_packages="/s", kaggle="/k")
    assert "secret" not in variables.values()
    assert (variables["HOME"], variables["EXTRA"], variables["KKB_KAGGLE"]) == ("/elsewhere", "1", "/k")
    assert variables.get("KAGGLE_IS_COMPETITION_RERUN") == ("1" if rerun else None)
