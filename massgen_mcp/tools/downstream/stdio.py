"""A server as a child process that speaks in lines."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from massgen_mcp.tools.downstream.failures import WireLost
from massgen_mcp.tools.downstream.launching import Plan
from massgen_mcp.tools.downstream.wire import MAX_MESSAGE, Wire, read_message
from massgen_mcp.workspace.children import Child, ChildLost, launch

__all__ = ["open_child"]

_LAST_LINES = 8
_LAST_WORDS = 1500


class _ChildWire:
    """Lines of a child as messages."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.received = 0

    async def send(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        del headers
        line = json.dumps(message, separators=(",", ":")).encode()
        try:
            await self._child.send(line)
        except ChildLost as error:
            raise WireLost(self._ending(error)) from error

    async def receive(self) -> object:
        while True:
            try:
                line = await self._child.receive()
            except ChildLost as error:
                raise WireLost(self._ending(error)) from error
            self.received += len(line)
            if line.strip():
                return read_message(line)

    def last_words(self) -> str:
        return self._child.last_words(_LAST_LINES, _LAST_WORDS)

    def _ending(self, error: ChildLost) -> str:
        """How it ended, with more of its last words than the launcher gives."""
        how = str(error).partition(": ")[0]
        words = self.last_words()
        return f"{how}. Its last words: {words}" if words else how


@asynccontextmanager
async def open_child(plan: Plan, *, grace: float) -> AsyncGenerator[Wire]:
    """Start a server; it and all it started are gone when the block is left.

    It has `grace` seconds to end with its input, and again after SIGTERM.

    Raises:
        WireLost: it can't be started.
    """
    try:
        child = await launch(
            plan.command,
            environ=plan.environ,
            cwd=plan.cwd,
            max_line=MAX_MESSAGE,
            grace=grace,
            term_grace=grace,
            patient_errors=True,
        )
    except OSError as error:
        raise WireLost(f"{plan.command[0]} can't be started: {error.strerror or error}") from error
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.watch_errors)
            yield _ChildWire(child)
            tasks.cancel_scope.cancel()
    finally:
        await child.stop()
