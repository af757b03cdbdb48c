"""The operator's own settings: the variables of the server's environment, read once at start."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from massgen_mcp.runs.ask import Allowance
from massgen_mcp.runs.places import machine_memory
from massgen_mcp.workspace.depth import depth_problem

__all__ = ["APP", "Settings", "read_settings"]

APP = "massgen-mcp"
_MAX_RUNS = 16
_AGENTS_A_RUN = 8
"""Where no limit on agents is set, runs as large as this all fit."""
_MEMORY = 2_048
"""MiB, where a limit can't be read and the system does not say how much there is."""
_KEEP_DAYS = 30.0
_FOREVER = "forever"
_DEFAULT = Allowance(usd=1.0, tokens=200_000, seconds=600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator has decided for this process."""

    state_dir: Path
    cache_dir: Path
    config_dirs: tuple[Path, ...] = ()
    team: str | None = None
    """The team that answers when a call names none."""
    allowance: Allowance = _DEFAULT
    """What a run may use where no team file says otherwise."""
    max_runs: int = _MAX_RUNS
    """In motion at once in this process; more wait."""
    max_agents: int = _MAX_RUNS * _AGENTS_A_RUN
    """Of all runs in motion."""
    max_memory: int | None = None
    """MiB of the agents in motion; None: any amount."""
    keep_days: float | None = _KEEP_DAYS
    """How long runs are kept once they are over; None: until `runs prune`."""
    problems: tuple[str, ...] = ()
    """Settings that could not be read, and what holds instead."""
    too_deep: str = ""
    """Why no team may be asked here: this server was started by teams of teams."""


def read_settings(environ: Mapping[str, str], *, config_dirs: tuple[Path, ...] = ()) -> Settings:
    """The settings of this environment. A value that can't be read is told, and its default holds."""
    problems: list[str] = []

    def number(name: str, default: float, *, least: float = 0.0) -> float:
        text = environ.get(name, "").strip()
        try:
            value = float(text) if text else default
        except ValueError:
            value = 0.0
        if math.isfinite(value) and value > 0 and value >= least:
            return value
        wanted = f"a number of at least {least:g}" if least else "a number above zero"
        problems.append(f"{name} is not {wanted}; {default:g} holds.")
        return default

    def kept() -> float | None:
        if environ.get("MASSGEN_MCP_KEEP_DAYS", "").strip().lower() == _FOREVER:
            return None
        return number("MASSGEN_MCP_KEEP_DAYS", _KEEP_DAYS)

    def memory() -> int | None:
        half = (machine_memory() or 0) // 2
        if not half and not environ.get("MASSGEN_MCP_MAX_MEMORY", "").strip():
            return None
        return int(number("MASSGEN_MCP_MAX_MEMORY", half or _MEMORY, least=1))

    max_runs = int(number("MASSGEN_MCP_MAX_RUNS", _MAX_RUNS, least=1))
    named = tuple(Path(part) for part in environ.get("MASSGEN_MCP_CONFIG_DIRS", "").split(os.pathsep) if part)
    state = environ.get("MASSGEN_MCP_STATE_DIR", "")
    return Settings(
        state_dir=Path(state).expanduser() if state else platformdirs.user_state_path(APP),
        cache_dir=platformdirs.user_cache_path(APP),
        config_dirs=(*config_dirs, *(folder.expanduser() for folder in named)),
        team=environ.get("MASSGEN_MCP_TEAM") or None,
        allowance=Allowance(
            usd=number("MASSGEN_MCP_MAX_USD", 1.0),
            tokens=int(number("MASSGEN_MCP_MAX_TOKENS", 200_000, least=1)),
            seconds=number("MASSGEN_MCP_MAX_SECONDS", 600.0),
        ),
        max_runs=max_runs,
        max_agents=int(number("MASSGEN_MCP_MAX_AGENTS", max_runs * _AGENTS_A_RUN, least=1)),
        max_memory=memory(),
        keep_days=kept(),
        problems=tuple(problems),
        too_deep=depth_problem(environ),
    )
