"""kkb rehearse: which options go together, and which exit code a verdict has."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from builder import cli
from builder.cli import rehearse
from builder.cli.screen import Screen
from builder.rehearse.findings import Finding
from builder.rehearse.record import Rehearsal, Run

RUN = Run("rerun", "60 hidden rows", "Scored", True, "", 60, 0, 0, {"4": 60}, 12.0, 200.0, 0.1, {"predict": 2.0})
GOOD = Rehearsal("Scored", 0.9, 60, 12.0, 200.0, 0.1, (), ("no network",), (), {}, "folder", runs=(RUN,), page="page.html")
FORECAST = Finding("must-fix", "forecast", "120,000 rows will not fit", "fewer units", "")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "nothing to rehearse"),
        (["animals", "--notebook", "a.ipynb"], "exclude each other"),
        (["animals", "--machine", "cpu"], "--machine goes with --notebook only"),
        (["animals", "--dataset", "me/x=y"], "--dataset goes with --notebook only"),
        (["--notebook", "a.ipynb", "--all"], "--all goes with a rehearsal of a kernel here only"),
        (["--notebook", "a.ipynb", "--on", "kaggle"], "--on makes no sense"),
        (["animals", "--on", "kagle"], "--on makes no sense"),
        (["--on", "kaggle"], "nothing to rehearse"),
        (["animals", "--standin"], "--standin goes with --on kaggle only"),
        (["animals", "--no-wait"], "--no-wait goes with --on kaggle only"),
        (["animals", "--on", "kaggle", "--limit", "20min"], "--limit goes with"),
        (["animals", "--on", "kaggle", "--keep"], "--keep goes with"),
        (["animals", "--on", "kaggle", "--memory", "2GB"], "--memory goes with --notebook only"),
    ],
)
def test_options_that_do_not_go_together_are_2(capsys, workspace, typed, message):
    assert cli.run(["rehearse", *typed, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert message in told["message"]
    assert told["remedy"]


def test_the_help_fits_on_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert cli.run(["rehearse", "--help"]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) <= 32
    assert all(option in told for option in ("--on kaggle", "--rows", "--notebook FILE"))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (GOOD, 0),
        (replace(GOOD, findings=(Finding("note", "x", "y", "z", ""),)), 0),
        (replace(GOOD, findings=(FORECAST,)), 3),
        (replace(GOOD, label="Notebook Timeout", findings=(replace(FORECAST, code="too-much-time"),)), 5),
        (replace(GOOD, runs=(replace(RUN, ok=False),), findings=(replace(FORECAST, code="unanswered-rows"),)), 5),
    ],
    ids=["scored", "note", "forecast over the limit", "a failed run", "rows without an answer"],
)
def test_a_verdict_has_its_exit_code(found, code):
    screen = Screen(as_json=False)
    rehearse.show(screen, found)
    if code:
        with pytest.raises(typer.Exit) as caught:
            rehearse._refuse(screen, found)
        assert caught.value.exit_code == code
    else:
        rehearse._refuse(screen, found)


def test_what_is_shown_begins_with_what_was_not_enforced(capsys):
    rehearse.show(Screen(as_json=False), replace(GOOD, not_enforced=("no network: no sandbox here",)))
    told = capsys.readouterr().err
    assert told.startswith("NOT enforced here: no network")
    assert "page: page.html" in told
    assert Path(GOOD.page).name in told
