"""The reference pages, made from the code that they describe: every command, and every key of kernel.toml.

    python -m builder.cli.reference      # renews builder/cli/README.md and builder/config/README.md

Expects: words in the code: help and examples in docstrings of commands, meanings of keys under `Attributes:` of sections.
Produces: all of a page below its line MARK; what stands above it was written by a person, and stays.
Never: what depends on the terminal, the machine or the release of the library that parses command lines.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

RENEW = "python -m builder.cli.reference"
MARK = f"<!-- What follows is made from the code: {RENEW} -->"
PACKAGE = Path(__file__).parents[1]
EXAMPLE = re.compile(r"(?P<when>Example|[A-Z][a-z ]+): (?P<line>(?:kkb|env) .+)")
METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command, as one types it; `default` is empty where nothing is a default."""

    typed: str
    default: str
    words: str


@dataclass(frozen=True)
class Command:
    """One command: what one types, what it does (paragraphs), examples with the case that each is for, its parameters."""

    words: str
    told: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]
    parameters: tuple[Parameter, ...]


def pages() -> dict[Path, str]:
    """Page -> its text as it should be."""
    from builder.cli import reference_keys

    made = {PACKAGE / "cli" / "README.md": _commands_page(), PACKAGE / "config" / "README.md": reference_keys.page()}
    return {path: _below_mark(path.read_text("utf-8") if path.is_file() else "", text) for path, text in made.items()}


def _below_mark(page: str, text: str) -> str:
    return f"{page.partition(MARK)[0].rstrip()}\n\n{MARK}\n\n{text.strip()}\n"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    titles = list(header)
    lines = [titles, ["---"] * len(titles), *[[safe(cell).replace("|", "\\|") for cell in row] for row in rows]]
    return "\n".join(re.sub(" +", " ", f"| {' | '.join(cells)} |") for cells in lines)


def safe(text: str) -> str:
    """Text of which Markdown takes nothing for a tag: `<slug>` stands for itself, between backticks or not."""
    parts = text.split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def commands() -> list[Command]:
    """Every command that is not hidden, by name; options of `kkb` itself come first, under the name `kkb`."""
    from typer.main import get_command

    from builder import cli
    from builder.cli.app import app

    for module in pkgutil.iter_modules(cli.__path__):  # each registers its commands
        if module.name != "__main__":
            importlib.import_module(f"{cli.__name__}.{module.name}")
    return list(_walked(get_command(app), "kkb"))


def _walked(command: Any, words: str) -> Iterator[Command]:
    parameters = tuple(_parameters(command))
    told, examples = _told(command.help or "")
    if not hasattr(command, "commands") or parameters:
        yield Command(words, told, examples, parameters)
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        if not sub.hidden:
            yield from _walked(sub, f"{words} {name}")


def _told(text: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Paragraphs of a help text, and its examples, each with what it is an example of."""
    told, examples = [], []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        plain = " ".join(paragraph.split())
        if found := EXAMPLE.fullmatch(plain):
            examples.append((found["when"], found["line"]))
        elif plain:
            told.append(plain)
    return tuple(told), tuple(examples)


def _parameters(command: Any) -> Iterator[Parameter]:
    hints = get_type_hints(command.callback) if command.callback else {}
    for parameter in command.params:
        if parameter.name in hints and not parameter.hidden:
            yield _parameter(parameter, hints[parameter.name])


def _parameter(parameter: Any, kind: Any) -> Parameter:
    options = [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("-")]
    words, default = " ".join((parameter.help or "").split()), _default(parameter)
    if not options:
        name = f"`{(parameter.metavar or parameter.name).upper()}`"
        return Parameter(name, "required" if parameter.required else default, words)
    metavar = parameter.metavar or METAVARS.get(_plain(kind), "TEXT")
    shown = ", ".join(f"`{name}`" for name in options)
    return Parameter(shown if _plain(kind) is bool else f"{shown} {metavar}", default, words)


def _plain(kind: Any) -> Any:
    """`int` of `int | None` and of `list[int]`."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    return _plain(inner[0]) if inner else kind


def _default(parameter: Any) -> str:
    found = parameter.default
    if found is None or found is False or found in ("", []) or callable(found):
        return ""
    if found is True:  # of a pair: its first name
        return f"`{parameter.opts[0]}`"
    return f"`{found}`"


def _commands_page() -> str:
    found = commands()
    parts = [
        "## All commands",
        " · ".join(f"[{one.words.removeprefix('kkb ')}](#{one.words.replace(' ', '-')})" for one in found),
    ]
    for one in found:
        parts += [f"### {one.words}", *map(safe, one.told)]
        if one.examples:
            lines = [line if when == "Example" else f"{line}    # {when.lower()}" for when, line in one.examples]
            parts.append("\n".join(["```sh", *lines, "```"]))
        if one.parameters:
            rows = [(parameter.typed, parameter.default, parameter.words) for parameter in one.parameters]
            parts.append(table(("typed", "default", "meaning"), rows))
    return "\n\n".join(parts)


def main() -> None:
    """Write the pages that are stale, and say which."""
    from builder.workspace import write_text

    for path, text in pages().items():
        fresh = path.is_file() and path.read_text("utf-8") == text
        if not fresh:
            write_text(path, text)
        sys.stdout.write(f"{'up to date' if fresh else 'written'}: {path.relative_to(PACKAGE.parent)}\n")


if __name__ == "__main__":
    main()
