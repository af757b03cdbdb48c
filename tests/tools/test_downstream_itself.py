"""Our own server as a tool of its teams: once, and no deeper."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from massgen_mcp.tools.downstream import Entry
from tests.tools.downstream import ask, opened

pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]

ROOT = str(Path(__file__).parents[2])


def ourselves(folder: Path) -> Entry:
    environ = (("PYTHONPATH", ROOT), ("MASSGEN_MCP_STATE_DIR", str(folder / "state")))
    return Entry(
        name="massgen", command=(sys.executable, "-m", "massgen_mcp"), environ=environ, sandbox="off"
    )


async def test_a_team_may_ask_a_team(tmp_path: Path) -> None:
    async with opened(ourselves(tmp_path), tmp_path) as tools:
        assert {spec.name for spec in tools.specs} == {
            f"massgen__{name}"
            for name in ("ask_team", "get_run", "cancel_run", "list_backends", "validate_config")
        }
        assert tools.warnings == ()
        assert tools.side_effects("massgen__ask_team")
        assert not tools.side_effects("massgen__list_backends")
        result = await ask(tools, "massgen__ask_team", question="1 + 1?", team="no-such-team")

        assert result.is_error
        assert "no-such-team" in result.content, "it was looked for: the depth is no obstacle"


async def test_the_team_of_a_team_asks_nobody(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "MASSGEN_MCP_DEPTH": "1"}
    async with opened(ourselves(tmp_path), tmp_path, environ=environ) as tools:
        result = await ask(tools, "massgen__ask_team", question="1 + 1?")

        assert result.is_error
        assert "started by a team, 2 deep; the limit is 1." in result.content
        assert result.content.endswith("Nothing was spent.")
