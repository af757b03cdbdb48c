"""Reading the agents of a team file: variables, keys and backend block, each agent by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.backends.registry import backend_info, options_class, public_backends, suggest
from massgen_mcp.config.agent_tools import AgentTools, CustomTool
from massgen_mcp.config.environment import Environment
from massgen_mcp.config.expand import expand_agent
from massgen_mcp.config.models import AgentConfig, AgentKeys
from massgen_mcp.config.paths import KeyPath
from massgen_mcp.config.seat import Seat
from massgen_mcp.config.sections import Sections
from massgen_mcp.config.servers import McpServer
from massgen_mcp.config.sift import keys_of
from massgen_mcp.config.tree import Value

__all__ = ["agents_in", "read_agent"]

_MOST_AGENTS = 64
_BESIDE = ("path", "model_path", "cli_path")
"""Options that name a file, which lies beside the team file."""


def agents_in(value: dict[str, Value], sections: Sections) -> Iterator[tuple[KeyPath, dict[str, Value]]]:
    """The agents of a file, with their places."""
    if "agents" in value and "agent" in value:
        sections.error(("agent",), "give agents or agent, not both.")
        return
    if "agent" in value:
        found: Value = [value["agent"]]
    elif "agents" in value:
        found = value["agents"]
    else:
        sections.error((), "no agents: give `agents:` with at least one.")
        return
    if not isinstance(found, list) or not found:
        sections.error(("agents",), "must be a list of at least one agent.")
        return
    if len(found) > _MOST_AGENTS:
        sections.error(("agents", _MOST_AGENTS), f"more than {_MOST_AGENTS} agents.")
    for index, agent in enumerate(found[:_MOST_AGENTS]):
        path: KeyPath = ("agent",) if "agent" in value else ("agents", index)
        if isinstance(agent, dict):
            yield path, agent
        else:
            sections.error(path, "must be a mapping of keys.")


def read_agent(
    raw: dict[str, Value],
    path: KeyPath,
    sections: Sections,
    *,
    environment: Environment,
    inline: bool,
    beside: Path | None,
) -> Seat | None:
    """The agent as far as it can be read; None where it has no backend, or nothing can be made of it.

    Args:
        raw: as written.
        path: its place.
        sections: of the file; takes what is wrong.
        environment: the variables.
        inline: it came over the wire; nothing is expanded.
        beside: the team file's folder.
    """
    expansion = expand_agent(raw, path, environment=environment, places=sections.places, inline=inline)
    sections.problems += expansion.problems
    agent = dict(expansion.value)
    block = agent.pop("backend", None)
    keys, _ = sections.validate(AgentKeys, sections.sift(agent, path, "agent", AgentKeys.model_fields), path)
    at = (*path, "backend")
    if not isinstance(block, dict):
        missing = "backend" not in expansion.value
        sections.error(at, "required, and missing." if missing else "must be a mapping of keys.")
        return None
    info = _info(block, at, sections)
    if info is None:
        return None
    options, tools, broken = _block(block, options_class(info), at, sections)
    if keys is None or options is None or tools is None:
        return None
    return Seat(
        agent=AgentConfig(
            **{name: getattr(keys, name) for name in keys.model_fields_set},
            backend=_placed(options, beside),
            tools=tools,
            unset=expansion.unset,
        ),
        info=info,
        path=path,
        places=sections.places,
        environment=environment,
        inline=inline,
        raw=raw,
        references=expansion.references,
        broken=broken,
    )


def _info(block: dict[str, Value], path: KeyPath, sections: Sections) -> BackendInfo | None:
    at = (*path, "type")
    kind = block.get("type")
    known = ", ".join(sorted(row.type for row in public_backends()))
    if not isinstance(kind, str):
        said = "required, and missing." if kind is None else "must be text."
        sections.error(at, said, f"Known backends: {known}.")
        return None
    info = backend_info(kind)
    if info is None:
        meant = suggest(kind)
        hint = f"Did you mean {meant!r}?" if meant else f"Known: {known}."
        sections.error(at, f"unknown backend {kind[:40]!r}.", hint)
    return info


def _block(
    block: dict[str, Value], model: type[Options], path: KeyPath, sections: Sections
) -> tuple[Options | None, AgentTools | None, frozenset[str]]:
    """The provider's options, the agent's tools, and the keys that are broken."""
    options_keys = keys_of(model)
    kept = sections.sift(block, path, "backend", options_keys | keys_of(AgentTools))
    for key, section, part in (
        ("mcp_servers", "mcp_server", McpServer),
        ("custom_tools", "custom_tool", CustomTool),
    ):
        if key in kept:
            kept[key] = _each(kept[key], (*path, key), section, part.model_fields, sections)
    # A key may be both: claude_code is told itself which of its native tools are refused.
    own = {key: value for key, value in kept.items() if key in options_keys}
    shared = {key: value for key, value in kept.items() if key in AgentTools.model_fields}
    options, wrong = sections.validate(model, own, path, shown=kept)
    tools, wrong_too = sections.validate(AgentTools, shared, path, shown=kept)
    return options, tools, wrong | wrong_too


def _each(value: Value, path: KeyPath, section: str, known: Collection[str], sections: Sections) -> Value:
    """The entries of a list, or of a mapping of names, each sifted."""

    def sifted(entry: Value, at: KeyPath) -> Value:
        return sections.sift(entry, at, section, known) if isinstance(entry, dict) else entry

    match value:
        case list():
            return [sifted(entry, (*path, index)) for index, entry in enumerate(value)]
        case dict():
            return {name: sifted(entry, (*path, name)) for name, entry in value.items()}
        case _:
            return value


def _placed(options: Options, beside: Path | None) -> Options:
    """The options with the files they name by whole paths."""
    if beside is None:
        return options
    named = {key: getattr(options, key, None) for key in _BESIDE}
    placed = {
        key: type(path)(beside / path)
        for key, path in named.items()
        if path is not None and not str(path).startswith("~") and not Path(path).is_absolute()
    }
    return options.model_copy(update=placed) if placed else options
