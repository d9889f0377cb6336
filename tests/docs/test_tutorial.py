"""The tutorial is a program: its files are written and its commands typed, in an empty folder, until there is a score."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from builder.cli.reference import MARK

from .pages import PAGES, ROOT, blocks, text_of, typed

KKB = [sys.executable, "-m", "builder.cli"]
PAGE = ROOT / "kernels" / "README.md"
FIRST, LAST = "## Tutorial", "## hooks.py"
KAGGLE = "### 6. On Kaggle"
MOST_COMMANDS = 8


def steps(begin, end):
    """The blocks of the tutorial between two headings, in order."""
    text = text_of(PAGE)
    place = text.index
    return [block for block in blocks(PAGE) if place(begin) < place(f"```{block.language}\n{block.text}") < place(end)]


def commands(found):
    return [line for block in found if block.language == "sh" for line in block.lines]


def test_it_takes_few_commands():
    assert 3 <= len(commands(steps(FIRST, KAGGLE))) <= MOST_COMMANDS
    assert 3 <= len(commands(steps(KAGGLE, LAST))) <= MOST_COMMANDS


def test_every_file_of_it_has_a_place():
    for block in steps(FIRST, LAST):
        if block.language != "sh":
            assert block.file in {"kernels/my-digits/models.py", "kernels/my-digits/kernel.toml", "train.py"}
            assert (block.language, Path(block.file).suffix) in {("python", ".py"), ("toml", ".toml")}


class Reader:
    """Somebody who does what the page says. `kkb`, `python` and `kaggle` are on the path."""

    def __init__(self, home):
        from tests.e2e.test_demo import Shell  # imports torch

        self.shell = Shell(home)
        tools = home / "tools"
        tools.mkdir()
        for name, command in {"kkb": KKB, "python": [sys.executable]}.items():
            (tools / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            (tools / name).chmod(0o755)
        self.shell.environment["PATH"] = os.pathsep.join([str(tools), self.shell.environment["PATH"]])

    def type(self, words):
        """What a command tells people. Of `kkb demo`, which tests/e2e/test_demo.py types, only what it leaves behind is made."""
        if words == ["kkb", "demo"]:
            from builder import demo

            private, slug = self.shell.folder / ".kkb", demo.SLUG
            parts = demo.write(private / "demo")
            shutil.copytree(parts.data, private / "data" / slug)
            data = ("--data", str(parts.data), "--hidden", str(parts.hidden))
            words = ["kkb", "standin", "add-competition", slug, *data, "--limit", "20min", "--daily", str(demo.DAILY)]
        return self.shell.run(*words).stderr

    def follow(self, found, **instead):
        """Write and type every block; returns what the commands told people, in one text."""
        told = []
        for block in found:
            if block.language == "sh":
                told += [self.type([instead.get(word, word) for word in shlex.split(line)]) for line in block.lines]
            else:
                path = self.shell.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
        return "\n".join(told)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("tutorial"))
    yield made
    made.shell.run(*KKB, "standin", "down", check=False)


@pytest.fixture(scope="module")
def told(reader):
    """What somebody reads who follows the tutorial up to the score on the stand-in."""
    return reader.follow(steps(FIRST, KAGGLE))


@pytest.fixture(scope="module")
def led(reader, told):
    """The same shell with the stand-in's variables: every command that talks to Kaggle talks to it."""
    reader.shell.environment |= reader.shell.kkb("standin", "env")
    return reader


@pytest.mark.slow
def test_it_ends_in_a_score_on_the_standin(reader, told):
    names = (r"CV \(out of fold\)", "rehearsed", "submitted")
    scores = [float(re.findall(rf"^ *{name} +([0-9.]+)", told, re.MULTILINE)[-1]) for name in names]
    assert min(scores) > 0.9
    assert max(scores) - min(scores) < 0.06, "they should be close"
    for again in (["adopt"], ["push", "--standin"], ["submit", "--standin"]):
        stage, *options = again
        assert reader.shell.kkb(stage, "my-digits", *options)["fresh"] is False, "run again, nothing happens"


@pytest.mark.slow
def test_the_commands_for_kaggle_go_all_the_way_where_kaggle_is_the_standin(led):
    parts = {shipping: [one for one in steps(KAGGLE, LAST) if ("ship" in one.text) is shipping] for shipping in (False, True)}
    led.follow(parts[False], SLUG="kkb-digits")
    kernels = led.shell.folder / "kernels"
    assert "train_images/{image_id}.png" in (kernels / "photos" / "kernel.toml").read_text(), "what fetch found in the files"
    for name in ("kernel.toml", "models.py"):  # "as in step 4"
        (kernels / "photos" / name).write_text((kernels / "my-digits" / name).read_text())
    assert "Scored" in led.follow(parts[True], SLUG="kkb-digits")


# Commands of all pages that are done in seconds, in an order in which none spoils another's; the others are parsed.
QUICK = (
    *("doctor", "machine list", "machine show", "standin status", "standin env", "standin exec"),
    *("export", "bundle", "render", "preflight", "status", "logs", "output", "collect"),
    *("prune", "ci weights", "ci run", "plan", "standin fault"),
)
INSTEAD = {**dict.fromkeys(("NAME", "digits", "cassava"), "my-digits"), **dict.fromkeys(("SLUG", "photos"), "kkb-digits")}
INSTEAD["local/digits"] = "local/my-digits"
MAY_REFUSE = {"doctor": {2, 3}, "preflight": {3}}  # they found something, which is their work: no wheels, no credentials


# The others are typed by tests that make for them what they need.
ELSEWHERE = {
    "ci tiny": ("cli/test_init.py", "Rehearsal on the stand-in"),
    "init": ("cli/test_init.py", '"init"'),
    "machine capture": ("capture/test_cli.py", '"capture"'),
    "push": ("cli/test_init.py", 'ok("push"'),
    "rehearse": ("cli/test_rehearse.py", '"--notebook"'),
    "simulate": ("plan/test_units.py", '"simulate"'),
    "standin add-competition": ("e2e/test_own_competition.py", '"add-competition"'),
    "standin down": ("e2e/test_own_competition.py", '"down"'),
    "submit": ("cli/test_init.py", "kkb submit"),
}


def shown(*, reference):
    """What follows `kkb` in the blocks of all pages; in those of the reference, too, when asked."""
    found = set()
    for page in PAGES:
        by_hand = text_of(page).partition(MARK)[0]
        some = [block for block in blocks(page, "sh") if reference or block.text in by_hand]
        found |= {tuple(words[1:]) for block in some for words in typed(block) if words[0] == "kkb"}
    return sorted(words for words in found if "--units" not in words)


def is_of(command, words):
    return command.split() == list(words[: command.count(" ") + 1])


def quick():
    """Each of them as the pages show it: (command, words after `kkb`)."""
    written, all_shown = shown(reference=False), shown(reference=True)
    for one in QUICK:
        lines = [words for words in written if is_of(one, words)] or [words for words in all_shown if is_of(one, words)][:1]
        yield from ((one, words) for words in lines)


def test_every_command_that_a_page_shows_is_run_by_a_test():
    followed = {" ".join(words[1:]) for block in steps(FIRST, LAST) if block.language == "sh" for words in typed(block)}
    rest = [
        words for words in shown(reference=False) if words and " ".join(words) not in followed and not words[0].startswith("-")
    ]
    run = {*QUICK, *ELSEWHERE, *(" ".join(line.split()[:1]) for line in followed)}
    assert [words for words in rest if not any(is_of(one, words) for one in run)] == []
    for file, needle in ELSEWHERE.values():
        assert needle in (ROOT / "tests" / file).read_text("utf-8"), file


@pytest.mark.slow
def test_what_other_pages_tell_people_to_type_works(led):
    for one, words in quick():
        ran = led.shell.run("kkb", *(INSTEAD.get(word, word) for word in words), check=False)
        assert ran.returncode in {0} | MAY_REFUSE.get(one, set()), f"{words}\n{ran.stderr}"
    led.shell.run("kkb", "standin", "fault", "--clear")
