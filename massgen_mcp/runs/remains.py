"""What the agents of a run that broke had done by then: they may have changed the project."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import anyio

from massgen_mcp.errors import RunTaken
from massgen_mcp.team import TeamSpec
from massgen_mcp.team.spec import Charge, Made, OpenWorkshop, Tell, Workshop

__all__ = ["Remains"]

_LOOKING_SECONDS = 10.0


class Remains:
    """Of one run."""

    def __init__(self, open_workshop: OpenWorkshop) -> None:
        self.made = Made()
        """What was changed, once the run has broken."""
        self._open = open_workshop

    @asynccontextmanager
    async def open_workshop(
        self, run_id: str, spec: TeamSpec, tell: Tell, charge: Charge
    ) -> AsyncGenerator[Workshop]:
        """The workshop, looked at before it closes if the run breaks in it."""
        async with self._open(run_id, spec, tell, charge) as workshop:
            try:
                yield workshop
            except Exception as error:
                if not _is_taken(error):  # then its new driver tells
                    with anyio.move_on_after(_LOOKING_SECONDS):
                        self.made = await workshop.made(None)
                raise


def _is_taken(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return cast("ExceptionGroup[Exception]", error).subgroup(RunTaken) is not None
    return isinstance(error, RunTaken)
