"""The reference is made from the code, is current, and leaves nothing out."""

import re

import pytest
from pydantic import Field

from builder import config as configs
from builder.cli import reference, reference_keys
from builder.config.values import Section
from tests.cli import typed

PAGES = reference.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_page_is_current(page):
    assert page.read_text("utf-8") == PAGES[page], f"the code has changed; renew the page with: {reference.RENEW}"


def test_renewing_a_current_page_changes_nothing():
    for page, text in PAGES.items():
        assert reference._below_mark(text, text.partition(reference.MARK)[2]) == text, page


def test_what_a_person_wrote_above_the_mark_stays():
    kept = reference._below_mark(f"# Mine\n\nwords\n\n{reference.MARK}\n\nold\n", "new")
    assert kept == f"# Mine\n\nwords\n\n{reference.MARK}\n\nnew\n"


def test_every_command_is_there_with_its_example():
    found = {tuple(one.words.split()[1:]): one for one in reference.commands()}
    assert {words for words in found if words} == set(typed.commands())
    for words, one in found.items():
        if words:
            assert one.told, words
            assert any(when == "Example" for when, _ in one.examples), words
            assert all(parameter.words for parameter in one.parameters if parameter.default != "required"), words


def test_every_key_is_there():
    def keys(section, path=""):
        for name, field in section.model_fields.items():
            inner = reference_keys._section_in(field.annotation)
            if inner:
                yield from keys(inner, f"{path}{name}.")
            else:
                yield f"{path}{field.alias or name}"

    shown = {f"{table.path}.{key.name}" for table in reference_keys.tables() for key in table.keys}
    assert shown == set(keys(configs.Config))
    assert len(shown) > 50


def test_every_table_says_what_it_is_for():
    assert [table.path for table in reference_keys.tables() if not table.told] == []


class _Inner(Section):
    """`[outer.inner]`: of use.

    Attributes:
        one, two: What both are,
            in two lines.
        sure: A word: with a colon.
    """

    one: int = Field(default=3, ge=1, le=9)
    two: float | None = None
    sure: bool = False
    plain: tuple[str, ...] = ("a", "b")
    limit: configs.Seconds = 5400.0
    share: configs.Fraction = 0.05
    bytes: configs.Bytes = 20_000_000_000
    path: configs.Inside = ""
    either: str | tuple[str, ...] = ""


class _Outer(Section):
    inner: _Inner = _Inner()


def test_keys_are_told_in_words(monkeypatch):
    monkeypatch.setattr(configs, "Config", _Outer)
    (found,) = reference_keys.tables()
    assert (found.head, found.told) == ("[inner]", "Of use.")
    told = {key.name: (key.takes, key.default, key.words) for key in found.keys}
    assert told["one"] == ("whole number, at least 1, at most 9", "`3`", "What both are, in two lines.")
    assert told["two"] == ("number", "", "What both are, in two lines.")
    assert told["sure"] == ("`true`, `false`", "`false`", "A word: with a colon.")
    assert told["plain"] == ("list of text", '`["a", "b"]`', "")
    assert told["limit"] == ("duration: `9h`, `90min`, `45s`", "`90min`", "")
    assert told["share"][:2] == ("share: `5%`", "`5%`")
    assert told["bytes"][:2] == ("size: `20GB`, `500MB`", "`20GB`")
    assert told["path"][:2] == ("path", "")
    assert told["either"][:2] == ("text, or list of text", "")


def test_a_cell_cannot_break_its_table():
    made = reference.table(("a", "b"), [("x|y", "<slug>"), ("", "`<slug>`")])
    assert made.splitlines()[2:] == ["| x\\|y | &lt;slug> |", "| | `<slug>` |"]
    rows = [line for text in PAGES.values() for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    assert not [line for line in rows if re.search(r"(?<!`)<[a-z]+>(?!`)", re.sub(r"`[^`]*`", "", line))]


def test_every_key_says_what_it_means():
    silent = [f"{table.path}.{key.name}" for table in reference_keys.tables() for key in table.keys if not key.words]
    assert silent == [], "write it under Attributes: of the section's docstring"
