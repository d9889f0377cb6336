"""Every command that a message, a page or a comment names between backticks or after 'to do' exists: advice can be followed."""

import re
from pathlib import Path

import typer

from builder import cli
from builder.cli.app import app

ROOT = Path(__file__).parents[1]
# `kkb has a bug`, `kkb digest <digits>`, `kkb runtime 0.1.0`, `kkb machine probe` (a title): no commands
SENTENCES = {"has", "digest", "runtime", "machine probe"}
NAMED = re.compile(r"[`\"'(]kkb ((?:standin |machine )?[a-z][a-z-]*)")


def known():
    cli.run(["--version"])  # registers all commands
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        yield name
        yield from (f"{name} {sub}" for sub in getattr(command, "commands", {}))


def test_advice_names_commands_that_exist():
    commands = set(known())
    pages = [*ROOT.glob("builder/**/*.py"), *ROOT.glob("builder/**/*.html*"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    named = {(found, path.name) for path in pages for found in NAMED.findall(path.read_text("utf-8"))}
    assert len(named) > 50
    assert {(found, page) for found, page in named if found.strip() not in commands | SENTENCES} == set()
