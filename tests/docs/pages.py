"""The pages of this repository, taken apart: fenced blocks, commands as one types them, words between backticks, links."""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / room / "README.md" for room in ("kernels", "weights", "tests")),
                *ROOT.glob("builder/**/README.md")})  # fmt: skip
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"`([\w./-]+\.(?:py|toml))`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its language, its text, and the prose before it (since the block before that)."""

    page: Path
    language: str
    text: str
    before: str

    @property
    def where(self):
        return f"{name_of(self.page)}: {self.text.strip().splitlines()[0] if self.text.strip() else ''}"

    @property
    def file(self):
        """The last file that the prose before it names: what its text belongs into."""
        return NAMED_FILE.findall(self.before)[-1]

    @property
    def lines(self):
        """Of a block of shell: lines without comments."""
        stripped = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in self.text.splitlines())
        return [line for line in stripped if line]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@functools.cache
def text_of(page):
    return page.read_text("utf-8")


def blocks(page, language=None):
    """The fenced blocks of a page, in order."""
    text, end, found = text_of(page), 0, []
    for match in FENCE.finditer(text):
        found.append(Block(page, match[1], match[2], text[end : match.start()]))
        end = match.end()
    return [block for block in found if language in {None, block.language}]


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def typed(block):
    """The programs that a block of shell starts, each as a list of words."""
    found = []
    for line in block.lines:
        words = shlex.split(re.sub(r'"?\$\(|\)"?', " ; ", line))
        command = []
        for word in [*words, ";"]:
            if word in {";", "&&", "|", "||"}:
                found += [command] if command else []
                command = []
            else:
                command.append(word)
    return found


def headings(page):
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
