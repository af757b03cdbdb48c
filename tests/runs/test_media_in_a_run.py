"""Media tools in a run: what is made comes back with the answer, and what it cost is counted."""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path

import pytest
import yaml
from mcp import Client

from massgen_mcp.runs.open import open_runs
from massgen_mcp.server.app import build_server
from tests.backends.responses_events import call, said
from tests.backends.wire import http_json, wire
from tests.server.shown import data, text

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
    )
).decode()
DRAWN = {
    "created": 1,
    "data": [{"b64_json": PIXEL}],
    "usage": {"input_tokens": 10, "output_tokens": 1_000, "total_tokens": 1_010},
}


async def test_a_picture_that_an_agent_makes_comes_back_and_is_paid_for(tmp_path: Path):
    for name in ("home", "teams", "project"):
        (tmp_path / name).mkdir()
    draw = call(json.dumps({"prompt": "A dot."}), name="generate_image")
    answer = call(json.dumps({"content": "It is drawn.", "conclusion": "drawn"}), name="new_answer")
    async with wire(said(draw), http_json(200, DRAWN), said(answer)) as server:
        backend = {
            "type": "openai",
            "model": "gpt-5",
            "base_url": f"{server.url}",
            "api_key": "sk-test-0123456789",
            "enable_image_generation": True,
        }
        team = {"agents": [{"id": "painter", "backend": backend}]}
        (tmp_path / "teams" / "mine.yaml").write_text(yaml.safe_dump(team))
        make_runs = partial(
            open_runs,
            place="server",
            config_dirs=[tmp_path / "teams"],
            environ={"MASSGEN_MCP_STATE_DIR": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"},
            home=tmp_path / "home",
            here=tmp_path / "project",
            config_folder=tmp_path / "config",
        )
        async with Client(build_server(make_runs)) as client:
            reply = await client.call_tool("ask_team", {"question": "Draw a dot.", "team": "mine"})
            result = data(reply)
            path = result["files"][0]["path"]
            whole = await client.call_tool(
                "get_run", {"run_id": result["run_id"], "detail": "files", "path": path}
            )
    assert result["answer"] == "It is drawn.", text(reply)
    assert server.requests[1].target == "/v1/images/generations"
    assert result["files"][0]["mime"] == "image/png"
    assert result["usage"]["requests"] == 3
    assert result["usage"]["output"] > 1_000
    assert [part.type for part in whole.content] == ["text", "image"]
