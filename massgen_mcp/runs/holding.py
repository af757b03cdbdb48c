"""Which sandbox holds agents' programs here, found out beside everything else, for who asks later."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from massgen_mcp.workspace.sandbox import SandboxUnavailable, find_sandbox

__all__ = ["Holding"]

_PATIENCE = 0.1


class Holding:
    """The sandbox of this machine, in words."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known = anyio.Event()
        self._words = ""
        self._begun = False

    async def find_out(self) -> None:
        """Try the sandboxes, once."""
        self._begun = True
        try:
            sandbox = await find_sandbox(self._environ)
            self._words = f"{sandbox.level}: {sandbox.why}" if sandbox.why else sandbox.level
        except SandboxUnavailable as error:
            self._words = f"none: {error}"
        self._known.set()

    async def words(self) -> str:
        """The level in force and what it does not hold. A trial under way is waited for only a moment."""
        if not self._begun:
            await self.find_out()
        with anyio.move_on_after(_PATIENCE):
            await self._known.wait()
        return self._words or "being tried; ask again"
