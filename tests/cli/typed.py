"""Commands as one types them, run in this process."""

import typer

from builder import cli
from builder.cli.app import app


def commands():
    """Every command, groups included, as the words that one types."""

    def walk(command, words):
        subcommands = getattr(command, "commands", {})
        if not subcommands:
            yield words
        for name, sub in sorted(subcommands.items()):
            yield from walk(sub, (*words, name))

    cli.run(["--version"])  # registers all of them
    return list(walk(typer.main.get_command(app), ()))


def run(capsys, *typed):
    """(exit code, stdout, stderr)."""
    capsys.readouterr()
    code = cli.run(list(typed))
    out, err = capsys.readouterr()
    return code, out, err
