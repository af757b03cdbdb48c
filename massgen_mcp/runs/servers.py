"""Entries of `mcp_servers` with everything looked up, and where large results of theirs are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import anyio.to_thread

from massgen_mcp.config.servers import McpServer
from massgen_mcp.runs.made import SPILLED
from massgen_mcp.tools.downstream.entry import Entry, Spill
from massgen_mcp.tools.filters import NameLists
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.beneath import PathRefused
from massgen_mcp.workspace.trees import names_in
from massgen_mcp.workspace.writing import write_bytes

__all__ = ["entry_of", "names_workspace", "spill_to"]

_CWD = "${cwd}"
_SPILLING = threading.Lock()


def spill_to(areas: Areas) -> Spill:
    """Keep what is too large for a model in the agent's workspace, under a name that is free there."""

    async def spill(name: str, data: bytes) -> str:
        try:
            return await anyio.to_thread.run_sync(_spill, areas, name, data)
        except (PathRefused, OSError) as error:
            return f"no file, since it could not be written: {error}"

    return spill


def _spill(areas: Areas, name: str, data: bytes) -> str:
    with _SPILLING:
        try:
            with areas.workspace.root.in_folder((SPILLED,)) as folder:
                # Those of a process that died in this run are there still, and agents know their names.
                taken = [there.partition("-")[0] for there in names_in(folder)]
        except OSError:
            taken = []
        number = 1 + max((int(one) for one in taken if one.isdecimal()), default=0)
        path = f"{SPILLED}/{number}-{name}"
        write_bytes(areas, path, data)
    return path


def _texts(server: McpServer) -> tuple[str, ...]:
    args = (word.get_secret_value() for word in (*server.args, *server.env.values()))
    return (server.command or "", server.cwd or "", *args)


def names_workspace(server: McpServer) -> bool:
    """Whether an entry works in its agent's folder."""
    return any(_CWD in text for text in _texts(server))


def entry_of(server: McpServer, *, workspace: Path | None, beside: Path | None) -> Entry:
    """An entry of a team file with everything looked up."""

    def put(text: str) -> str:
        return text.replace(_CWD, str(workspace)) if workspace is not None else text

    command = ()
    if server.command is not None:
        command = (put(server.command), *(put(word.get_secret_value()) for word in server.args))
    cwd = None
    if server.cwd is not None:
        cwd = Path(put(server.cwd))
        cwd = cwd if cwd.is_absolute() else (beside or Path.cwd()) / cwd
    return Entry(
        name=server.name,
        command=command,
        url=server.url.get_secret_value() if server.url else "",
        environ=tuple((name, put(value.get_secret_value())) for name, value in server.env.items()),
        headers=tuple((name, value.get_secret_value()) for name, value in server.headers.items()),
        cwd=cwd,
        timeout=server.timeout,
        lists=NameLists(
            allowed=server.allowed_tools,
            refused=tuple(dict.fromkeys((*server.disallowed_tools, *server.exclude_tools))),
        ),
        sandbox=server.sandbox,
        # One that works in an agent's folder is that agent's alone.
        stateless=server.stateless and not names_workspace(server),
        side_effects=tuple(server.side_effects.items()),
    )
