"""The real runs of a server, assembled when the first call needs them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio.abc import TaskGroup

from massgen_mcp.server.service import MakeRuns

if TYPE_CHECKING:
    from massgen_mcp.runs import Runs, User
    from massgen_mcp.server.stdio import LogFormat

__all__ = ["make_server_runs", "resumes"]


def resumes(environ: Mapping[str, str]) -> bool:
    """Whether interrupted runs are gone on with as soon as a server starts."""
    return environ.get("MASSGEN_MCP_RESUME", "").strip().lower() == "on"


def make_server_runs(
    log: LogFormat,
    *,
    config_dirs: Sequence[Path],
    environ: Mapping[str, str],
    http: bool = False,
    users: Callable[[str], User | None] | None = None,
) -> MakeRuns:
    """How the runs of this process are made. Their secrets stay out of the log from then on.

    `http` and `users` are those of `massgen_mcp.runs.open.open_runs`.
    """

    @asynccontextmanager
    async def make_runs(tasks: TaskGroup) -> AsyncGenerator[Runs]:
        # In a thread: loading takes a second, and messages are read meanwhile.
        module = await anyio.to_thread.run_sync(import_module, "massgen_mcp.runs.open")
        async with module.open_runs(
            tasks, place="server", config_dirs=config_dirs, environ=environ, http=http, users=users
        ) as runs:
            log.secrets = runs.secrets
            yield runs

    return make_runs
