"""The published JSON Schema of a team file, made from the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.registry import BACKENDS, options_class
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.massgen_keys import IGNORED
from massgen_mcp.config.models import AgentKeys, TeamKeys

__all__ = ["SCHEMA_ID", "json_schema"]

SCHEMA_ID = "massgen://schema/config"

_TEXT = {"type": "string"}
_MAPPING = {"type": "object"}
_WIDER: Mapping[str, list[dict[str, Any]]] = {
    "mcp_servers": [{"type": "object", "additionalProperties": {"type": "object"}}],
    "safety_settings": [{"type": "object", "additionalProperties": _TEXT}],
    "llm_config": [_MAPPING, {"type": "array", "items": _MAPPING}],
    "code_execution_config": [_MAPPING, {"const": False}],
    "agent_type": [{"enum": ["assistant", "conversable"]}],
    "sandbox": [{"type": "boolean"}],
}
"""Fields whose validators take more forms than the one they hold."""


def json_schema() -> dict[str, Any]:
    """The schema, JSON Schema 2020-12. Independent of variables and of what is installed."""
    definitions: dict[str, Any] = {}
    shared = _properties(AgentTools, definitions, "backend")
    blocks = [_block(info, shared, definitions) for info in BACKENDS.values() if not info.hidden]
    agent = _object(AgentKeys, definitions, "agent")
    agent["properties"]["backend"] = {"$ref": "#/$defs/Backend"}
    agent["required"] = ["id", "backend"]
    team = _object(TeamKeys, definitions, "team")
    _nest_ignored(definitions)
    team["properties"] |= {
        "agents": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Agent"}},
        "agent": {"$ref": "#/$defs/Agent"},
    }
    definitions |= {"Agent": agent, "Backend": {"oneOf": blocks}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "A massgen-mcp team file",
        **team,
        "oneOf": [{"required": ["agents"]}, {"required": ["agent"]}],
        "$defs": dict(sorted(definitions.items())),
    }


def _object(model: type[BaseModel], definitions: dict[str, Any], section: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": _properties(model, definitions, section),
        "additionalProperties": False,
    }


def _properties(model: type[BaseModel], definitions: dict[str, Any], section: str) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/$defs/{model}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[name] = _widened(definition)
    properties = _widened(schema).get("properties", {})
    for key, reason in IGNORED[section].items():
        properties.setdefault(key, {"description": f"Accepted, not used here: {reason}."})
    return properties


def _block(info: BackendInfo, shared: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    model = options_class(info)
    properties = shared | _properties(model, definitions, "backend")
    properties |= dict.fromkeys(model.forms, _MAPPING)
    properties["type"] = {"const": info.type}
    models: dict[str, Any] = {"examples": [known.name for known in info.models[:8]]} if info.models else {}
    properties["model"] = {"type": ["string", "null"], "minLength": 1, **models}
    return {
        "title": info.title,
        "type": "object",
        "properties": properties,
        "required": ["type"],
        "additionalProperties": False,
    }


def _nest_ignored(definitions: dict[str, Any]) -> None:
    """The keys of MassGen's that nested sections take as well."""
    for name, section in (
        ("Orchestrator", "orchestrator"),
        ("Coordination", "coordination"),
        ("McpServer", "mcp_server"),
    ):
        properties = definitions[name]["properties"]
        for key, reason in IGNORED[section].items():
            properties.setdefault(key, {"description": f"Accepted, not used here: {reason}."})
    server = definitions["McpServer"]
    server["properties"]["type"] = {"enum": ["stdio", "http", "streamable-http", "streamable_http"]}
    server["properties"]["command"] = {"type": ["string", "array", "null"]}


def _widened(schema: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, value in schema.get("properties", {}).items():
        wider = _WIDER.get(key) or _forms(value)
        properties[key] = {"anyOf": [value, *wider]} if wider else value
    return {**schema, "properties": properties} if properties else schema


def _forms(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists of names may be one name; masked text may be a number; switches may be `on` and `off`."""
    if value.get("items") == _TEXT or {"items": _TEXT, "type": "array"} in value.get("anyOf", ()):
        return [_TEXT]
    return []
