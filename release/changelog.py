"""The changelog's gate: a release says what someone can now do, and nothing waits for a later one unsaid."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["changelog_problems", "notes"]

_HEADING = re.compile(r"^## +(?P<title>\S.*?) *$", re.MULTILINE)
_RELEASED = re.compile(r"\[?(?P<version>\d[^\s\]]*)\]? +- +(?P<day>\S+)")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNRELEASED = "unreleased"


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    text: str

    @property
    def unreleased(self) -> bool:
        return self.title.strip("[]").lower() == _UNRELEASED

    @property
    def version(self) -> str:
        """Empty where the heading has another form."""
        found = _RELEASED.fullmatch(self.title)
        return found["version"] if found else ""

    @property
    def day(self) -> str:
        found = _RELEASED.fullmatch(self.title)
        return found["day"] if found else ""


def _sections(text: str) -> list[_Section]:
    found = list(_HEADING.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)][: len(found)]
    return [
        _Section(match["title"], text[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    ]


def changelog_problems(text: str, version: str) -> list[str]:
    """Why this version can't be released with that changelog."""
    sections = _sections(text)
    problems = [
        f"CHANGELOG.md: `Unreleased` is not empty. Move its lines below `## {version} - DAY`."
        for section in sections
        if section.unreleased and section.text
    ]
    mine = [section for section in sections if section.version == version]
    if not mine:
        return [*problems, f"CHANGELOG.md has no section `## {version} - DAY`."]
    if not _DAY.fullmatch(mine[0].day):
        problems.append(f"CHANGELOG.md: {version} has {mine[0].day!r} where its day belongs, as 2026-01-31.")
    if not mine[0].text:
        problems.append(f"CHANGELOG.md: the section of {version} is empty.")
    newest = next(section for section in sections if section.version)
    if newest.version != version:
        problems.append(f"CHANGELOG.md: the newest section is that of {newest.version}, not of {version}.")
    return problems


def notes(text: str, version: str) -> str:
    """What the changelog says of a version; empty if nothing."""
    return next((section.text for section in _sections(text) if section.version == version), "")
