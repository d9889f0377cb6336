"""Every page says what is true of the code: its commands can be typed, its keys written, its files and links opened."""

import functools
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer

from builder import cli, metrics
from builder import config as configs
from builder.cli import reference, reference_keys
from builder.cli.app import app
from builder.rehearse import findings
from builder.remote import diagnosis
from builder.remote.preflight import record as preflight

from .pages import INLINE, LINK, PAGES, ROOT, blocks, headings, name_of, prose, text_of, typed

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
SHELL = [block for page in PAGES for block in blocks(page, "sh")]
TOML = [block for page in PAGES for block in blocks(page, "toml")]
OTHER_PROGRAMS = {"cd", "env", "eval", "gh", "kaggle", "make", "pip", "pre-commit", "python", "sed", "tar", "."}
# Files that are the reader's own, or come to be on the reader's machine.
READERS = re.compile(r"hooks\.py|models\.py|kernel\.toml|train\.py|metric\.py|kernels/(NAME|my-digits|photos)/.*")
SUFFIXES = r"\.(?:py|toml|md|yml|j2|css|txt)"
TABLES = {table.path: {key.name for key in table.keys} for table in reference_keys.tables()}
SECTION = "|".join(sorted((re.escape(path) for path in TABLES), key=len, reverse=True))
FILE_LIKE_A_KEY = re.compile(r"\w+\.(csv|json|py|toml)")
CAPITALS = re.compile(r"\b_?[A-Z]{2,}(?:_[A-Z]+)*\b")
WHOLE = {"competition": {"slug": "some"}, "model": [{"name": "some", "backbone": "timm/resnet18"}]}


@functools.cache
def root_command():
    cli.run(["--version"])  # registers all commands
    return typer.main.get_command(app)


def command_of(words):
    """The command that `words` (after `kkb`) start with, and how many of them name it."""
    command, count = root_command(), 0
    while count < len(words) and words[count] in getattr(command, "commands", {}):
        command, count = command.commands[words[count]], count + 1
    return command, count


def test_there_is_something_to_look_at():
    assert len(PAGES) > 15
    assert len(SHELL) > 40
    assert len(TOML) > 10


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.where)
def test_what_stands_in_a_block_can_be_typed(block):
    for words in typed(block):
        program, *rest = words
        if program.endswith("kkb"):
            understood(rest)
        elif program == "make":
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
            assert set(rest) <= targets, words
        else:
            assert Path(program).name in OTHER_PROGRAMS, words


def understood(words):
    """Parsed by the real application: the command exists, its options exist, its arguments are as many as it takes."""
    command, count = command_of(words)
    if hasattr(command, "commands"):  # kkb --install-completion
        assert not words[count:] or words[count].startswith("--"), words
        assert {option for option in words[count:] if option.startswith("-")} <= options(command), words
        return
    with command.make_context(command.name, list(words[count:])) as context:
        inner = context.params.get("command")
    if words[:2] == ["ci", "run"]:
        understood(inner)


def options(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help", "-h"}


@each_page
def test_commands_in_the_text_exist_with_the_options_that_are_named(page):
    for text in INLINE.findall(prose(page)):
        for words in (part.split() for part in re.split(r" / ", text)):
            if words[0] != "kkb" or len(words) == 1 or words[1] == "COMMAND":
                continue
            command, count = command_of(words[1:])
            own = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(words[1:]).partition(" -- ")[0]))
            assert count or own, f"{text}: no such command"
            assert own <= options(command), text


@pytest.mark.parametrize("block", TOML, ids=lambda block: block.where)
def test_what_stands_in_a_block_is_a_kernel_toml(block):
    given = tomllib.loads(block.text)
    configs.Config.model_validate({**WHOLE, **given, "competition": {**WHOLE["competition"], **given.get("competition", {})}})


@each_page
def test_keys_in_the_text_exist(page):
    for text in INLINE.findall(prose(page)):
        for pattern in (rf"({SECTION})\.([a-z_]+)\b", rf"\[\[?({SECTION})\]\]? ([a-z_]+)\b"):
            found = re.match(pattern, text)
            if found and not FILE_LIKE_A_KEY.fullmatch(text) and f"{found[1]}.{found[2]}" not in TABLES:
                assert found[2] in TABLES[found[1]], text


@each_page
def test_files_in_the_text_exist(page):
    for text in INLINE.findall(prose(page)):
        if re.fullmatch(rf"[\w./-]+{SUFFIXES}|(?:tests|builder)/[\w./-]+", text) and not READERS.fullmatch(text):
            assert any((place / text).exists() for place in (page.parent, ROOT, ROOT / "builder")), text


@functools.cache
def sources():
    """Every name in capitals in the Python of this repository, and in what is rendered from templates."""
    files = [path for room in ("builder", "tests") for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".j2"}]
    return {name for path in files for name in CAPITALS.findall(path.read_text("utf-8"))}


@each_page
def test_names_of_constants_in_the_text_exist(page):
    named = {text for text in INLINE.findall(prose(page).partition(reference.MARK)[0]) if CAPITALS.fullmatch(text)}
    assert named <= sources()


@each_page
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@each_page
def test_lines_can_be_read(page):
    written = text_of(page).partition(reference.MARK)[0]
    assert [line for line in written.splitlines() if len(line) > 150 and not line.startswith("|")] == []


def test_the_page_of_labels_knows_every_label_and_every_code():
    page = ROOT / "builder" / "rehearse" / "README.md"
    labels = [line.split(" | ")[0].strip("| ") for line in text_of(page).splitlines() if line.startswith("| ")]
    assert set(diagnosis.LABELS) <= set(labels)
    causes = {code for _, code, _ in findings.CAUSES} | {f"too-much-{what}" for what in findings.EXCEEDED}
    causes |= {"input-missing", "input-not-attached", "mount-path", "unanswered-rows", "fallback"}
    named = {text for text in INLINE.findall(prose(page)) if re.fullmatch(r"[a-z]+(-[a-z]+)+", text)}
    assert named <= causes | set(preflight.CHECKS)
    assert len(named) > 20


def test_the_metric_that_is_shown_scores(tmp_path):
    (block,) = blocks(ROOT / "builder" / "metrics" / "README.md", "python")
    (tmp_path / "metric.py").write_text(block.text)
    assert metrics.get("metric.py:my_score", tmp_path)(np.array([1.0, 2.0]), np.array([[1.0], [4.0]])) == 1.0


def test_readme_is_short_enough_to_be_read():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 220
