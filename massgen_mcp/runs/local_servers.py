"""What the servers on this machine have: models in memory, and models on disk that they load when asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.lms import find_lms
from massgen_mcp.backends.pool import Pool
from massgen_mcp.backends.registry import public_backends, runs_elsewhere
from massgen_mcp.config.environment import Environment
from massgen_mcp.runs.default_team import listed_models, loaded_models

__all__ = ["LocalServer", "LocalServers", "local_servers", "starts_when_asked"]


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


async def local_servers(pool: Pool, rows: Iterable[BackendInfo] | None = None) -> dict[str, LocalServer]:
    """What each server of this machine has; nothing for one that is not there. None is made to load.

    Args:
        pool: to ask them.
        rows: the registry's, unless given.
    """
    found: dict[str, LocalServer] = {}

    async def look(info: BackendInfo) -> None:
        found[info.type] = await _asked(info, pool)

    async with anyio.create_task_group() as tasks:
        for info in rows or public_backends():
            if info.executes and info.local and info.base_url is not None:
                tasks.start_soon(look, info)
    return found


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
