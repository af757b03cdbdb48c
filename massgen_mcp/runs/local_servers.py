"""What the servers on this machine have: models in memory, and models on disk that they load when asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio

from massgen_mcp.address import is_loopback
from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.lms import find_lms
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import public_backends, runs_elsewhere
from massgen_mcp.config.environment import Environment
from massgen_mcp.runs.default_team import listed_models, loaded_models
from massgen_mcp.runs.knocking import nobody_at

__all__ = ["Here", "LocalServer", "LocalServers", "local_servers", "starts_when_asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """One server, as it answered now; both empty for one that is not there."""

    loaded: tuple[str, ...] = ()
    on_demand: tuple[str, ...] = ()
    """On its disk and not in its memory: loaded by the first request."""

    @property
    def models(self) -> tuple[str, ...]:
        """What could be asked for, what is in memory first."""
        return (*self.loaded, *self.on_demand)


LocalServers: TypeAlias = Mapping[str, LocalServer]
"""By the type of their backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What this machine has beside keys, as it was found a moment ago."""

    servers: LocalServers
    logged_in: bool = False
    """Whether a subscription could pay for Claude Code."""

    def server(self, kind: str) -> LocalServer:
        """The server of that type; an empty one where there is none."""
        return self.servers.get(kind, LocalServer())

    def nobody_at(self, kind: str) -> bool:
        """Whether that is a type of server, and none with a model answers."""
        return kind in self.servers and not self.servers[kind].models


async def local_servers(pool: Pool, rows: Iterable[BackendInfo] | None = None) -> dict[str, LocalServer]:
    """What each server of this machine has; nothing for one that is not there. None is made to load.

    Args:
        pool: to ask them.
        rows: the registry's, unless given.
    """
    asked = [info for info in rows or public_backends() if info.executes and info.local and info.base_url]
    absent = nobody_at(port for info in asked if (port := _port_here(info)) is not None)
    found = {info.type: LocalServer() for info in asked}

    async def look(info: BackendInfo) -> None:
        found[info.type] = await _asked(info, pool)

    async with anyio.create_task_group() as tasks:
        for info in asked:
            if _port_here(info) not in absent:
                tasks.start_soon(look, info)
    return found


def _port_here(info: BackendInfo) -> int | None:
    """The port of this machine that a row's address names, where it names one."""
    address = urlsplit(info.base_url or "")
    return address.port if address.hostname is not None and is_loopback(address.hostname) else None


async def _asked(info: BackendInfo, pool: Pool) -> LocalServer:
    loaded: list[str] = []
    listed: list[str] = []

    async def in_memory() -> None:
        loaded.extend(await loaded_models(info, pool))

    async def on_disk() -> None:
        listed.extend(await listed_models(info, pool))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_memory)
        if info.on_demand:
            tasks.start_soon(on_disk)
    # What a server only hands on stands in its list too, and is refused by a backend for what stays here.
    here = [name for name in listed if not runs_elsewhere(info, name)]
    return LocalServer(loaded=tuple(loaded), on_demand=tuple(name for name in here if name not in loaded))


def starts_when_asked(info: BackendInfo, environment: Environment) -> bool:
    """Whether a server that is not there is started by the first request: LM Studio, where `lms` is."""
    return info.type == "lmstudio" and find_lms(environment.merged()) is not None
