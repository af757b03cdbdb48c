"""Scripted teams: what each agent says, as fixtures for aimock and as a team file for our server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import StdioServerParameters

from tests.e2e.aimock import Fixture

__all__ = ["KEY", "Player", "Stage", "fixtures_for"]

KEY = "key-of-the-end-to-end-tests"
_PROJECT = Path(__file__).parents[2]
_LABELS = tuple(f"agent{number}.1" for number in range(1, 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One agent and its script. Its model is `team-ID`."""

    id: str
    answer: str
    conclusion: str
    votes_for: str = ""
    """The beginning of the answer it votes for: labels are shuffled for each run."""
    presents: str = ""

    @property
    def model(self) -> str:
        return f"team-{self.id}"


def fixtures_for(players: Sequence[Player]) -> list[Fixture]:
    """Answer, then vote, then present, each by the number of this agent's turns before."""
    return [fixture for player in players for fixture in _script(player)]


def _script(player: Player) -> list[Fixture]:
    first = _calls(player, 0, "new_answer", {"content": player.answer, "conclusion": player.conclusion})
    votes = [
        _calls(
            player,
            1,
            "vote",
            {"answer": label, "reason": f"{player.id} holds it to be right."},
            _shown(label, player),
        )
        for label in _LABELS
    ]
    present = {"content": player.presents, "conclusion": player.conclusion}
    last = _calls(player, 2, "new_answer", present)
    return [first, *(votes if player.votes_for else []), *([last] if player.presents else [])]


def _shown(label: str, player: Player) -> dict[str, str]:
    """A pattern for the answers shown: this label heads the fenced answer that the player votes for."""
    return {"regex": rf"{re.escape(label)}(?: \(yours\))?:\n<data-\w+>\n{re.escape(player.votes_for)}"}


def _calls(
    player: Player, turn: int, tool: str, arguments: dict[str, str], said: dict[str, str] | None = None
) -> Fixture:
    return {
        "match": {"model": player.model, "turnIndex": turn, **({"userMessage": said} if said else {})},
        "response": {"toolCalls": [{"name": tool, "arguments": arguments}]},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Our server's surroundings: its team files, its state folder, its home, its environment."""

    folder: Path

    @property
    def mark(self) -> str:
        """What only this test's server has in its command line and its environment."""
        return str(self.folder / "state")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PYTHONPATH": str(_PROJECT),
            "MASSGEN_MCP_CONFIG_DIRS": str(self._made("teams")),
            "MASSGEN_MCP_STATE_DIR": self.mark,
            "E2E_KEY": KEY,
        }

    @property
    def home(self) -> Path:
        return self._made("home")

    @property
    def project(self) -> Path:
        """The working folder of the host and so of the server."""
        return self._made("project")

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def command(self) -> list[str]:
        """The server as a host starts it; Python passes over an -X option that it doesn't know."""
        return [sys.executable, "-X", f"e2e={self.mark}", "-m", "massgen_mcp"]

    @property
    def server(self) -> StdioServerParameters:
        """The server for the SDK's own client."""
        program, *arguments = self.command
        return StdioServerParameters(command=program, args=arguments, env=self.environment, cwd=self.project)

    def terminal(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """`massgen-mcp` with these arguments, as a person without a terminal window would run it."""
        return subprocess.run(  # noqa: S603 - our own program
            [*self.command, *arguments],
            env={"PATH": os.environ["PATH"], **self.environment},
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def write_team(self, name: str, players: Sequence[Player], urls: Sequence[str]) -> None:
        """A team file with one `chatcompletion` agent per player, each at its base URL."""
        blocks = {
            player.id: {"type": "chatcompletion", "model": player.model, "base_url": f"{url}/v1"}
            for player, url in zip(players, urls, strict=True)
        }
        self.write_agents(name, blocks)

    def write_agents(self, name: str, blocks: Mapping[str, Mapping[str, Any]]) -> None:
        """A team file with an agent for each backend block, all with the key of these tests."""
        agents = [
            {"id": agent, "backend": {"api_key": "${E2E_KEY}", **block}} for agent, block in blocks.items()
        ]
        self.write_raw_team(name, agents)

    def write_raw_team(self, name: str, agents: Sequence[Mapping[str, Any]]) -> None:
        """A team file with these agents as they are."""
        # JSON is YAML.
        (self._made("teams") / f"{name}.yaml").write_text(json.dumps({"agents": agents}, indent=2))
