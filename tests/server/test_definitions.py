"""The tool definitions: what is served is what is checked in, small and complete."""

from __future__ import annotations

import json
from typing import Any, cast

import jsonschema
import pytest
from mcp import Client

from massgen_mcp.server.app import build_server
from massgen_mcp.server.catalogue import INSTRUCTIONS
from massgen_mcp.server.definitions import build, render
from massgen_mcp.server.snapshot import SNAPSHOT
from tests.teams import scripted_team

pytestmark = pytest.mark.anyio

NAMES = ["ask_team", "get_run", "cancel_run", "list_backends", "validate_config"]


def size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def test_the_checked_in_definitions_are_those_that_the_models_give():
    assert SNAPSHOT.read_text(encoding="utf-8") == render(build()), (
        "Run python -m massgen_mcp.server.definitions and look at the difference."
    )


def test_they_stay_small():
    tools = build()
    assert size([{key: tool[key] for key in tool if key != "outputSchema"} for tool in tools]) < 6_000
    assert size(tools) < 8_000
    assert len(tools[0]["description"].encode()) < 2_000
    assert len(INSTRUCTIONS.encode()) < 2_000


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_a_client_is_given_is_the_snapshot_in_its_order(mode: str):
    async with Client(build_server(scripted_team()), mode=mode) as client:
        listed = await client.list_tools()
    found = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in listed.tools]
    assert found == build()
    assert [tool["name"] for tool in found] == NAMES


def test_every_tool_carries_all_four_annotations():
    hints = {tool["name"]: list(tool["annotations"].values()) for tool in build()}
    assert list(build()[0]["annotations"]) == [
        "readOnlyHint",
        "destructiveHint",
        "idempotentHint",
        "openWorldHint",
    ]
    assert hints == {
        "ask_team": [False, False, False, True],
        "get_run": [True, False, True, False],
        "cancel_run": [False, False, True, False],
        "list_backends": [True, False, True, True],
        "validate_config": [True, False, True, False],
    }


def test_hosts_that_defer_tools_are_asked_to_show_ask_team_at_once():
    assert build()[0]["_meta"] == {"anthropic/alwaysLoad": True, "anthropic/maxResultSizeChars": 200_000}


def test_the_schemas_are_valid_and_closed_to_unknown_arguments():
    for tool in build():
        jsonschema.Draft202012Validator.check_schema(tool["inputSchema"])
        jsonschema.Draft202012Validator.check_schema(tool["outputSchema"])
        assert tool["inputSchema"]["additionalProperties"] is False
        assert tool["outputSchema"]["additionalProperties"] is True
        assert not {"$ref", "anyOf", "title", "default"} & set(_keys(tool["inputSchema"]))


def _keys(schema: dict[str, Any]) -> list[str]:
    """Every keyword of a schema, nested ones included."""
    inner = [cast("dict[str, Any]", value) for value in schema.values() if isinstance(value, dict)]
    return [*schema, *(key for value in inner for key in _keys(value))]


def test_a_full_call_fits_the_schema():
    call = {
        "question": "?",
        "team": "fast",
        "agents": ["openai/gpt-5"],
        "context": "x",
        "strategy": "auto",
        "budget": {"usd": 0.5, "tokens": 1000, "requests": 3, "seconds": 60},
        "wait_seconds": 0,
        "detail": "votes",
    }
    jsonschema.validate(call, build()[0]["inputSchema"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(call | {"wait": 1}, build()[0]["inputSchema"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_server_says_who_it_is_and_when_to_use_it(mode: str):
    async with Client(build_server(scripted_team()), mode=mode) as client:
        assert client.instructions == INSTRUCTIONS
        about = client.server_info
    assert about is not None
    assert (about.name, about.title) == ("massgen", "MassGen")
    for needed in ("When:", "Not for", "cannot see this conversation", "Cost:", "running"):
        assert needed in INSTRUCTIONS


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_greedy_clients_get_empty_prompts_and_constant_lists(mode: str):
    async with Client(build_server(scripted_team()), mode=mode) as client:
        assert (await client.list_prompts()).prompts == []
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
    assert [str(found.uri) for found in resources] == [
        "massgen://backends",
        "massgen://strategies",
        "massgen://schema/config",
    ]
    assert [found.uri_template for found in templates] == [
        "massgen://runs/{run_id}",
        "massgen://runs/{run_id}/answers/{label}",
        "massgen://runs/{run_id}/files/{path}",
        "massgen://runs/{run_id}/transcript",
        "massgen://teams/{name}",
    ]


async def test_lists_may_be_cached_for_an_hour():
    async with Client(build_server(scripted_team())) as client:
        listed = [await client.list_tools(), await client.list_prompts(), await client.list_resources()]
    assert [(found.ttl_ms, found.cache_scope) for found in listed] == [(3_600_000, "public")] * 3
