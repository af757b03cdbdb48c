"""Watching a run: a view that moves where there is a screen, a line for each event where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from massgen_mcp.cli.consoles import console_for, is_screen
from massgen_mcp.cli.spectator import Spectator
from massgen_mcp.cli.stopping import Stopping
from massgen_mcp.cli.streams import say
from massgen_mcp.cli.view import draw
from massgen_mcp.runs import RunHandle
from massgen_mcp.runs.lines import Lines

__all__ = ["watch"]

_FRAMES = 8
"""Frames a second."""


async def watch(
    handle: RunHandle, stopping: Stopping, *, environ: Mapping[str, str], redact: Callable[[str], str]
) -> None:
    """Show the run on stderr until it is over."""
    console = console_for(sys.stderr, environ)
    if is_screen(console):
        await _show(handle, stopping, console, redact)
    else:
        # Whoever reads the progress may leave: the run goes on.
        with suppress(BrokenPipeError):
            await _tell(handle, redact)


async def _tell(handle: RunHandle, redact: Callable[[str], str]) -> None:
    lines = Lines([agent.id for agent in handle.run.spec.agents], redact=redact)
    for record in handle.past:
        lines.line(record)  # how far it was
    with handle.listen() as records:
        async for record in records:
            line = lines.line(record)
            if line and record.kind != "Finished":  # the footer says how it ended
                say(sys.stderr, line)


async def _show(
    handle: RunHandle, stopping: Stopping, console: Console, redact: Callable[[str], str]
) -> None:
    spectator = Spectator(handle, redact)
    frame = spectator.frame()

    def newest() -> Text:
        return draw(frame, width=console.width, height=console.height)

    async def hear(over: anyio.CancelScope) -> None:
        async for record in records:
            spectator.hear(record)
        over.cancel()

    # A thread of rich's draws the newest frame, so that a screen that is held (Ctrl-S) holds up no agent.
    live = Live(
        get_renderable=newest,
        console=console,
        refresh_per_second=_FRAMES,
        transient=True,
        redirect_stdout=False,
    )
    with handle.listen() as records, live:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear, tasks.cancel_scope)
            while True:
                frame = spectator.frame(stopping=stopping.asked)
                await anyio.sleep(1 / _FRAMES)
