"""Which keys of a section mean something here: kept, passed over with a notice, or unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel

from massgen_mcp.backends.options import Options
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.config.massgen_keys import IGNORED, MOVED, V1
from massgen_mcp.config.models import Coordination, Orchestrator, TeamKeys, Timeouts
from massgen_mcp.config.paths import KeyPath, Places
from massgen_mcp.config.problems import unknown_key
from massgen_mcp.config.tree import Value
from massgen_mcp.errors import Problem

__all__ = ["keys_of", "sift"]

_EXTRA_BODY = "What else the provider knows goes in extra_body: {...}."
_MOST_SUGGESTIONS = 50
"""Looking for close names costs; a file with more problems than that needs other help."""
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "orchestrator": Orchestrator,
    "timeout_settings": Timeouts,
    "orchestrator.coordination": Coordination,
}


def keys_of(model: type[BaseModel]) -> frozenset[str]:
    """Every key a model takes, with those that a validator folds into its fields."""
    forms = model.forms if issubclass(model, Options) else frozenset[str]()
    return frozenset(model.model_fields) | forms


def sift(
    mapping: Mapping[str, Value],
    path: KeyPath,
    section: str,
    known: Collection[str],
    places: Places,
    problems: list[Problem],
) -> dict[str, Value]:
    """The mapping without what has no meaning here, which gets a notice, or is unknown, an error.

    A key without a value, as when all below it is commented out, is not given.
    """
    ignored = IGNORED[section]
    kept: dict[str, Value] = {}
    for key, value in mapping.items():
        at = (*path, key)
        if key in known:
            if value is not None:
                kept[key] = value
        elif key in ignored:
            problems += _passed_over(at, ignored[key], value, places)
        else:
            more = _EXTRA_BODY if section == "backend" else ""
            close = known if len(problems) < _MOST_SUGGESTIONS else ()
            problems.append(unknown_key(key, at, close, places, elsewhere=_home(key, section), more=more))
    return kept


def _passed_over(path: KeyPath, reason: str, value: Value, places: Places) -> list[Problem]:
    """A notice; for the terminal's section one for each of its keys, as people look for those."""
    below = value if path == ("ui",) and isinstance(value, dict) else {}
    return [
        places.problem(at, f"{reason}; not used here", severity="notice")
        for at in [(*path, key) for key in below] or [path]
    ]


def _home(key: str, section: str) -> str:
    """Where a key that is unknown in this section belongs; empty when it is known nowhere."""
    if section == "backend":
        return f"It belongs {MOVED[key]}." if key in MOVED else ""
    if section == "team" and key in V1:
        return f"That is MassGen's first format: {V1[key]}."
    if section != "team" and key in TeamKeys.model_fields:
        return "It belongs at the top of the file."
    for home, model in _SECTIONS.items():
        if key in model.model_fields and not home.endswith(section):
            return f"It belongs in `{home}`."
    if section == "agent" and (key in Options.model_fields or key in AgentTools.model_fields):
        return "It belongs in `backend`."
    return ""
