"""The published JSON Schema of a team file, made from the models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import options_class, public_backends
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.massgen_keys import IGNORED
from massgen_mcp.config.models import AgentKeys, TeamKeys

__all__ = ["SCHEMA_ID", "json_schema"]

SCHEMA_ID = "massgen://schema/config"

_TEXT = {"type": "string"}
_MAPPING = {"type": "object"}
_WIDER: Mapping[str, list[dict[str, Any]]] = {
    "mcp_servers": [{"type": "object", "additionalProperties": {"$ref": "#/$defs/McpEntry"}}],
    "safety_settings": [{"type": "object", "additionalProperties": _TEXT}],
    "llm_config": [{"$ref": "#/$defs/LlmEntry"}, {"type": "array", "items": {"$ref": "#/$defs/LlmEntry"}}],
    "code_execution_config": [{"const": False}],
    "executor": [_MAPPING, _TEXT],
    "agent_type": [{"enum": ["assistant", "conversable"]}],
    "sandbox": [{"type": "boolean"}],
    "journal": [{"enum": ["on", "off"]}],
    "enable_multimodal_tools": [{"enum": ["on", "off"]}],
    "env": [{"type": "object", "additionalProperties": {"type": ["string", "number"]}}],
    "args": [{"type": "array", "items": {"type": ["string", "number"]}}],
    "command": [{"type": "array", "items": _TEXT}],
}
"""Fields whose validators take more forms than the one they hold."""
_SECTIONS = {
    "Orchestrator": "orchestrator",
    "Coordination": "coordination",
    "McpServer": "mcp_server",
    "AgentKeys": "agent",
    "TeamKeys": "team",
    "AgentTools": "backend",
    "Timeouts": "timeout_settings",
    "CustomTool": "custom_tool",
}
_NULL = {"type": "null"}
_QUALIFIED = re.compile(r"massgen_mcp__backends__(\w+?)__(\w+)")


def json_schema() -> dict[str, Any]:
    """The schema, JSON Schema 2020-12. Independent of variables and of what is installed."""
    rows = public_backends()
    options = {info.module: options_class(info) for info in rows}
    definitions = _definitions(options)
    agent = definitions.pop("AgentKeys")
    agent["properties"]["backend"] = {"$ref": "#/$defs/Backend"}
    agent["required"] = ["id", "backend"]
    team = definitions.pop("TeamKeys")
    team["properties"] |= {
        "agents": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Agent"}},
        "agent": {"$ref": "#/$defs/Agent"},
    }
    definitions |= {
        "Agent": agent,
        "Backend": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": [info.type for info in rows]}},
            "allOf": [_block(info) for info in rows],
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **team,
        "title": "A massgen-mcp team file",
        "description": "A team of models that answer a question together.",
        "oneOf": [{"required": ["agents"]}, {"required": ["agent"]}],
        "$defs": dict(sorted(definitions.items())),
    }


def _definitions(options: Mapping[str, type[Options]]) -> dict[str, Any]:
    models: list[type[BaseModel]] = [TeamKeys, AgentKeys, AgentTools, *options.values()]
    refs, schema = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    found = cast("dict[str, Any]", _renamed(schema["$defs"]))
    blocks = {
        module: _short(refs[model, "validation"]["$ref"].rpartition("/")[2])
        for module, model in options.items()
    }
    for name, definition in found.items():
        widened = _widened(definition, IGNORED.get(_SECTIONS.get(name, ""), {}))
        found[name] = _emptied(widened) if name in _SECTIONS or name in blocks.values() else widened
    for module, model in options.items():
        name = _options_name(module)
        found[name] = _open(found.pop(blocks[module]), dict.fromkeys(model.forms, _below(name)))
    found["AgentTools"] = _open(found["AgentTools"], {})
    found["McpEntry"] = {**found["McpServer"], "title": "McpEntry", "required": []}
    return found


def _options_name(module: str) -> str:
    return f"{module}.Options"


def _short(name: str) -> str:
    return _QUALIFIED.sub(lambda match: f"{match.group(1)}.{match.group(2)}", name)


def _renamed(value: Any) -> Any:
    """Definitions under their short names; where several modules have one of a name, with the module's."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_short(key): _renamed(item) for key, item in items}
    if isinstance(value, list):
        return [_renamed(item) for item in cast("list[Any]", value)]
    return _short(value) if isinstance(value, str) and value.startswith("#/$defs/") else value


def _below(name: str) -> dict[str, Any]:
    """The same keys once more, one level down."""
    return {"anyOf": [{"type": "object", "$ref": f"#/$defs/{name}"}, _NULL]}


def _open(schema: dict[str, Any], forms: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a block, which takes further keys: the block as a whole refuses those that no part knows."""
    properties = schema["properties"] | forms
    left_out = ("additionalProperties", "required", "title")
    return {key: value for key, value in schema.items() if key not in left_out} | {"properties": properties}


def _block(info: BackendInfo) -> dict[str, Any]:
    """What holds for a block of this type: a mistake in it is told as such, not as fitting no type at all."""
    examples: dict[str, Any] = {"examples": [known.name for known in info.models[:8]]} if info.models else {}
    return {
        "if": {"required": ["type"], "properties": {"type": {"const": info.type}}},
        "then": {
            "title": info.title,
            "properties": {"model": examples},
            "allOf": [{"$ref": f"#/$defs/{_options_name(info.module)}"}, {"$ref": "#/$defs/AgentTools"}],
            "unevaluatedProperties": False,
        },
    }


def _widened(schema: dict[str, Any], ignored: Mapping[str, str]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, value in schema.get("properties", {}).items():
        wider = _WIDER.get(key) or _forms(value)
        properties[key] = {"anyOf": [value, *wider]} if wider else value
    for key, reason in ignored.items():
        properties.setdefault(key, {"description": f"Accepted, not used here: {reason}."})
    if "name" in properties and "command" in properties:
        properties["type"] = {"enum": ["stdio", "http", "streamable-http", "streamable_http"]}
    return {**schema, "properties": properties} if properties else schema


def _emptied(schema: dict[str, Any]) -> dict[str, Any]:
    """A section whose keys may stand there without a value, as when all below one is commented out."""
    required: list[str] = schema.get("required", [])
    return schema | {
        "properties": {
            key: value if key in required or _takes_null(value) else _or_null(value)
            for key, value in schema.get("properties", {}).items()
        }
    }


def _takes_null(value: dict[str, Any]) -> bool:
    described = {"description", "title"}
    return _NULL in value.get("anyOf", ()) or described.issuperset(value)


def _or_null(value: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in value:
        return {**value, "anyOf": [*value["anyOf"], _NULL]}
    return {"anyOf": [value, _NULL]}


def _forms(value: dict[str, Any]) -> list[dict[str, Any]]:
    """A list of names may be one name."""
    if value.get("items") == _TEXT or {"items": _TEXT, "type": "array"} in value.get("anyOf", ()):
        return [_TEXT]
    return []
