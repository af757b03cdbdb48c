"""A client of a server with a team of scripted agents that have tools."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from mcp import Client

from massgen_mcp.runs.open import open_runs
from massgen_mcp.server.app import build_server
from tests.server.shown import data, text

__all__ = ["agent", "answer", "ask", "call", "calls", "host", "transcript", "vote"]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"calls": [{"name": name, "arguments": arguments}]}


def calls(*several: dict[str, Any]) -> dict[str, Any]:
    """All in one reply."""
    return {"calls": [one for reply in several for one in reply["calls"]]}


def answer(content: str) -> dict[str, Any]:
    return call("new_answer", content=content, conclusion=content)


def vote(label: str) -> dict[str, Any]:
    return call("vote", answer=label, reason="its tests pass")


def agent(name: str, *replies: dict[str, Any], **backend: Any) -> dict[str, Any]:
    return {"id": name, "backend": {"type": "scripted", "replies": list(replies), **backend}}


@asynccontextmanager
async def host(place: Path, *agents: dict[str, Any], **orchestrator: Any) -> AsyncGenerator[Client]:
    """A client of a server in which the team `mine` can be asked. Labels follow the agents' order."""
    for name in ("home", "teams", "project"):
        (place / name).mkdir(exist_ok=True)
    team = {"agents": list(agents), "orchestrator": {"shuffle_seed": 4, **orchestrator}}
    (place / "teams" / "mine.yaml").write_text(yaml.safe_dump(team), encoding="utf-8")
    make_runs = partial(
        open_runs,
        place="server",
        config_dirs=[place / "teams"],
        environ={"MASSGEN_MCP_STATE_DIR": str(place / "state"), "PATH": "/usr/bin:/bin"},
        home=place / "home",
        here=place / "project",
        config_folder=place / "config",
    )
    async with Client(build_server(make_runs)) as client:
        yield client


async def ask(client: Client, **more: Any) -> dict[str, Any]:
    reply = await client.call_tool(
        "ask_team", {"question": "Mend it.", "team": "mine", "detail": "votes", **more}
    )
    assert not reply.is_error, text(reply)
    return data(reply)


async def transcript(client: Client, run_id: str) -> str:
    """All pages of it, as JSON."""
    found = data(await client.call_tool("get_run", {"run_id": run_id, "detail": "transcript"}))
    entries = found["transcript"]
    while cursor := found.get("cursor"):
        arguments = {"run_id": run_id, "detail": "transcript", "cursor": cursor}
        found = data(await client.call_tool("get_run", arguments))
        entries += found["transcript"]
    return json.dumps(entries, ensure_ascii=False)
