"""The project's Markdown pages as values: their headings, code blocks and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

_LINE = re.compile(r"^(?:(?P<fence>```+)(?P<language>\S*)|## (?P<section>.+))$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. ``line`` is that of its fence, from 1; ``section`` the heading of level 2 above it."""

    page: Path
    line: int
    section: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page, those in folders that are no part of the project left out."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf-8")


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """The code blocks of a page, in order. A fence that is not closed is an error."""
    found = list[Block]()
    section, opened, lines = "", None, list[str]()
    for number, line in enumerate(text_of(page).splitlines(), 1):
        match = _LINE.match(line)
        if opened is not None:
            if line == "```":
                found.append(Block(page, opened[0], section, opened[1], "".join(f"{each}\n" for each in lines)))
                opened = None
            else:
                lines.append(line)
        elif match and match["fence"]:
            opened, lines = (number, match["language"]), []
        elif match:
            section = match["section"]
    assert opened is None, f"{page}: the code block of line {opened} is not closed"
    return tuple(found)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def sections(page: Path) -> dict[str, str]:
    """The text under each heading of level 2."""
    _, *parts = re.split(r"^## ", text_of(page), flags=re.MULTILINE)
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def links(page: Path) -> list[str]:
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may have behind its ``#``, as GitHub makes it."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(prose(page))}


def table_column(text: str, column: int = 0) -> list[str]:
    """The cells of one column of the Markdown tables in a text, headings included."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row[column].strip() for row in rows if len(row) > column and not set(row[column]) <= {"-", "|", " "}]
