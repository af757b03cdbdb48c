"""A terminal for tests: commands through `main`, over a scripted team."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TextIO

import pytest
from anyio.abc import TaskGroup

from massgen_mcp.cli import main
from massgen_mcp.runs import Runs
from tests.teams import ScriptedTeam

__all__ = ["Ended", "Screen", "Terminal"]


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    code: int
    out: str
    err: str


class Screen(io.StringIO):
    """A stream that a person looks at."""

    encoding = "utf-8"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride] - as real streams have it

    def isatty(self) -> bool:
        return True


@dataclass
class Terminal:
    """Where a person types commands. It remembers how its worlds were made."""

    streams: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    environ: Mapping[str, str] = field(
        default_factory=lambda: {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    )
    made: list[tuple[str, Sequence[Path], Mapping[str, str]]] = field(
        default_factory=list[tuple[str, Sequence[Path], Mapping[str, str]]]
    )

    def run(self, team: ScriptedTeam, *argv: str, stdin: str | TextIO = "") -> Ended:
        """One command, without a screen."""
        self.patch.setattr("sys.stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        code = main(argv, make_runs=self.maker(team), environ=self.environ)
        out, err = self.streams.readouterr()
        return Ended(code, out, err)

    def look(self, team: ScriptedTeam, *argv: str) -> Ended:
        """One command, on a screen."""
        out, err = Screen(), Screen()
        with self.patch.context() as patch:
            patch.setattr("sys.stdout", out)
            patch.setattr("sys.stderr", err)
            code = main(argv, make_runs=self.maker(team), environ=self.environ)
        return Ended(code, out.getvalue(), err.getvalue())

    def maker(self, team: ScriptedTeam) -> _Maker:
        """How the world of the next command is made."""
        return _Maker(team, self)


@dataclass(frozen=True)
class _Maker:
    team: ScriptedTeam
    terminal: Terminal

    @asynccontextmanager
    async def __call__(
        self,
        tasks: TaskGroup,
        *,
        place: Literal["terminal", "server"],
        config_dirs: Sequence[Path] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> AsyncGenerator[Runs]:
        self.terminal.made.append((place, config_dirs, environ))
        async with self.team(tasks) as runs:
            yield runs
