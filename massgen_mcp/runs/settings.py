"""The operator's own settings: the variables of the server's environment, read once at start."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import platformdirs

from massgen_mcp.runs.ask import Allowance
from massgen_mcp.runs.places import machine_memory
from massgen_mcp.workspace.depth import depth_problem

__all__ = ["APP", "OnDisconnect", "Settings", "read_settings"]

APP = "massgen-mcp"
_MAX_RUNS = 16
_AGENTS_A_RUN = 8
"""Where no limit on agents is set, runs as large as this all fit."""
_MEMORY = 2_048
"""MiB, where a limit can't be read and the system does not say how much there is."""
_UNREAD_USD_PER_DAY = 1.0
"""Where a limit of the day is set and can't be read."""
_KEEP_DAYS = 30.0
_FOREVER = "forever"
_DEFAULT = Allowance(usd=1.0, tokens=200_000, seconds=600.0)

OnDisconnect: TypeAlias = Literal["auto", "keep", "cancel"]
"""What a caller who goes away means for the run: it depends on why, it goes on, it stops."""
_ON_DISCONNECT: Final[tuple[OnDisconnect, ...]] = ("auto", "keep", "cancel")


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
    usd_per_day: float | None = None
    """US dollars of all runs on the state folder that begin in one day, UTC; None: no limit."""
    max_runs: int = _MAX_RUNS
    """In motion at once in this process; more wait."""
    max_agents: int = _MAX_RUNS * _AGENTS_A_RUN
    """Of all runs in motion."""
    max_memory: int | None = None
    """MiB of the agents in motion; None: any amount."""
    keep_days: float | None = _KEEP_DAYS
    """How long runs are kept once they are over; None: until `runs prune`."""
    on_disconnect: OnDisconnect = "auto"
    """What becomes of a run whose caller goes away."""
    resume: bool = False
    """A server goes on with interrupted runs as soon as it starts."""
    problems: tuple[str, ...] = ()
    """Settings that could not be read, and what holds instead."""
    too_deep: str = ""
    """Why no team may be asked here: this server was started by teams of teams."""


class _Reader:
    """The variables of an environment, and what could not be read of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        text = self.text(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = 0.0
        if math.isfinite(value) and value > 0 and value >= least:
            return value
        wanted = f"a number of at least {least:g}" if least else "a number above zero"
        self.problems.append(f"{name} is not {wanted}; {default:g} holds.")
        return default

    def whole(self, name: str, default: int) -> int:
        return int(self.number(name, default, least=1))

    def keep_days(self) -> float | None:
        if self.text("MASSGEN_MCP_KEEP_DAYS").lower() == _FOREVER:
            return None
        return self.number("MASSGEN_MCP_KEEP_DAYS", _KEEP_DAYS)

    def usd_per_day(self) -> float | None:
        name = "MASSGEN_MCP_MAX_USD_PER_DAY"
        # What was meant as a limit and can't be read must not become none at all.
        return self.number(name, _UNREAD_USD_PER_DAY) if self.text(name) else None

    def memory(self) -> int | None:
        half = (machine_memory() or 0) // 2
        if not half and not self.text("MASSGEN_MCP_MAX_MEMORY"):
            return None
        return self.whole("MASSGEN_MCP_MAX_MEMORY", half or _MEMORY)

    def switch(self, name: str) -> bool:
        text = self.text(name).lower()
        if text not in {"", "on", "off"}:
            self.problems.append(f"{name} is neither on nor off; off holds.")
        return text == "on"

    def on_disconnect(self) -> OnDisconnect:
        text = self.text("MASSGEN_MCP_ON_DISCONNECT").lower()
        for choice in _ON_DISCONNECT:
            if text == choice:
                return choice
        if text:
            self.problems.append(
                f"MASSGEN_MCP_ON_DISCONNECT is not one of {', '.join(_ON_DISCONNECT)}; auto holds."
            )
        return "auto"


def read_settings(environ: Mapping[str, str], *, config_dirs: tuple[Path, ...] = ()) -> Settings:
    """The settings of this environment. A value that can't be read is told, and its default holds."""
    read = _Reader(environ)
    max_runs = read.whole("MASSGEN_MCP_MAX_RUNS", _MAX_RUNS)
    named = tuple(Path(part) for part in environ.get("MASSGEN_MCP_CONFIG_DIRS", "").split(os.pathsep) if part)
    state = environ.get("MASSGEN_MCP_STATE_DIR", "")
    return Settings(
        state_dir=Path(state).expanduser() if state else platformdirs.user_state_path(APP),
        cache_dir=platformdirs.user_cache_path(APP),
        config_dirs=(*config_dirs, *(folder.expanduser() for folder in named)),
        team=environ.get("MASSGEN_MCP_TEAM") or None,
        allowance=Allowance(
            usd=read.number("MASSGEN_MCP_MAX_USD", 1.0),
            tokens=read.whole("MASSGEN_MCP_MAX_TOKENS", 200_000),
            seconds=read.number("MASSGEN_MCP_MAX_SECONDS", 600.0),
        ),
        usd_per_day=read.usd_per_day(),
        max_runs=max_runs,
        max_agents=read.whole("MASSGEN_MCP_MAX_AGENTS", max_runs * _AGENTS_A_RUN),
        max_memory=read.memory(),
        keep_days=read.keep_days(),
        on_disconnect=read.on_disconnect(),
        resume=read.switch("MASSGEN_MCP_RESUME"),
        problems=tuple(read.problems),
        too_deep=depth_problem(environ),
    )
