"""Links and paths in the documentation lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:benchmarks|configs|docs|massgen_mcp|scripts|tests)/[\w./*-]*)`")
_PLACEHOLDER = "NAME"


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" not in target:
                yield page, target


def _anchors(page: Path) -> set[str]:
    """The anchors that headings get where such pages are shown."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), [*_links()], ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_to_a_file_and_a_heading(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.exists()
    assert found.is_relative_to(ROOT)
    assert not anchor or anchor in _anchors(found)


def test_a_path_that_is_named_is_there() -> None:
    named = {path for page in PAGES for path in _PATH.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 5
    missing = [
        path for path in sorted(named) if _PLACEHOLDER not in path and not any(ROOT.glob(path.rstrip("/")))
    ]
    assert missing == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = [target for source, target in _links() if source == page]
        found = [(page.parent / target.partition("#")[0]).resolve() for target in targets]
        waiting += [other for other in found if other in PAGES and other not in reached]
    assert set(PAGES) <= reached
