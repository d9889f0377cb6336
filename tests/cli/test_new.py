"""`kkb new` for each task: what is printed, and the task that is taken from the files or from the person."""

import tomllib
from pathlib import Path

import pytest

from tests import tables

from .typed import run


def made(capsys, *typed):
    code, out, err = run(capsys, "new", "kernel", "--competition", "tiny", *typed, "--yes")
    assert code == 0, err
    return out, err


def test_what_was_concluded_is_shown(workspace, capsys):
    tables.texts(workspace.private / "data" / "tiny", groups=20)
    _, err = made(capsys)
    for told in ("text-classification", "document", "movie_id", "auc", "8 words"):
        assert told in err
    assert "next: kkb ship kernel" in err


@pytest.mark.parametrize("task", ["text-classification", "tabular-classification"])
def test_a_chosen_task_is_written_down_and_its_files_come_later(workspace, capsys, task):
    _, err = made(capsys, "--task", task)
    assert "next: kkb fetch kernel" in err
    written = tomllib.loads((Path(workspace.kernels) / "kernel" / "kernel.toml").read_text())
    assert written["data"] == {"task": task}


@pytest.mark.parametrize(("typed", "meant"), [("tabular", "tabular"), ("text-clasification", "text")])
def test_a_task_that_there_is_not_is_told_the_one_that_was_meant(workspace, capsys, typed, meant):
    code, _, err = run(capsys, "new", "kernel", "--competition", "tiny", "--task", typed)
    assert code == 2
    assert f"did you mean '{meant}-classification'?" in err
