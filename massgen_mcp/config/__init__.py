"""Team files: YAML to frozen models, with every problem at its line.

Importing this builds no model: each name is fetched from its module at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from massgen_mcp.config.environment import Environment, default_environment
    from massgen_mcp.config.load import Loaded, load_file, load_text
    from massgen_mcp.config.models import AgentConfig, TeamConfig
    from massgen_mcp.config.problems import report
    from massgen_mcp.config.readiness import Readiness, agent_readiness, key_for, readiness
    from massgen_mcp.config.schema import json_schema
    from massgen_mcp.config.search import (
        Search,
        TeamFile,
        default_search,
        find_team,
        list_teams,
        shipped_configs,
    )
    from massgen_mcp.config.shorthand import resolve_agents
    from massgen_mcp.config.trust import trust, trusted, untrust

__all__ = [
    "AgentConfig",
    "Environment",
    "Loaded",
    "Readiness",
    "Search",
    "TeamConfig",
    "TeamFile",
    "agent_readiness",
    "default_environment",
    "default_search",
    "find_team",
    "json_schema",
    "key_for",
    "list_teams",
    "load_file",
    "load_text",
    "readiness",
    "report",
    "resolve_agents",
    "shipped_configs",
    "trust",
    "trusted",
    "untrust",
]

_HOMES = {
    "environment": ("Environment", "default_environment"),
    "load": ("Loaded", "load_file", "load_text"),
    "models": ("AgentConfig", "TeamConfig"),
    "problems": ("report",),
    "readiness": ("Readiness", "agent_readiness", "key_for", "readiness"),
    "schema": ("json_schema",),
    "search": ("Search", "TeamFile", "default_search", "find_team", "list_teams", "shipped_configs"),
    "shorthand": ("resolve_agents",),
    "trust": ("trust", "trusted", "untrust"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
