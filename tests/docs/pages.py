"""The documentation as its readers find it: pages, fenced blocks, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "PAGES", "README", "ROOT", "Block", "all_blocks", "tables"]

ROOT = Path(__file__).resolve().parent.parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")))

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<kind>.*)$")
_RULE = re.compile(r"^[|\s:-]+$")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    kind: str
    """All that stands behind the opening fence: `yaml`, `yaml wrong`."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def all_blocks(*kinds: str) -> list[Block]:
    """Every block of these kinds, in all pages."""
    return [block for page in PAGES for block in _blocks(page) if block.kind in kinds]


def _blocks(page: Path) -> Iterator[Block]:
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if opened is None and match:
            opened, lines = (number, match["ticks"], match["kind"].strip()), []
        elif opened is not None and line == opened[1]:
            yield Block(page, opened[0], opened[2], "\n".join(lines) + "\n")
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page.name}: the block opened in line {opened[0]} is not closed"


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the head first."""
    found: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
            inside = True
        if not _RULE.match(line):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found
