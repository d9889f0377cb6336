"""Help that can be read: in a group, what every command does stands on one line, whole, on a screen of 80 columns."""

import typer
from typer.testing import CliRunner

from builder.cli.app import app

from .typed import commands


def groups():
    """The group itself, and those in it, as the words that one types."""
    return sorted({words[:-1] for words in commands()})


def test_no_command_is_cut_short():
    assert len(groups()) > 3
    for words in groups():
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}, terminal_width=80)
        listed = shown.stdout.partition("Commands:\n")[2].splitlines()
        assert listed, shown.output
        assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []
        assert all(line[2] != " " for line in listed), "one line each"


def test_every_command_is_listed_once_in_the_order_of_the_work():
    top = typer.main.get_command(app)
    with top.make_context("kkb", [], resilient_parsing=True) as context:
        names = top.list_commands(context)
    assert sorted(names) == sorted({words[0] for words in commands()})
    work = ["new", "fetch", "train", "export", "plan", "bundle", "render", "rehearse", "push", "submit"]
    assert [name for name in names if name in work] == work
