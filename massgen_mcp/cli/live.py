"""Watching a run: a view that moves where there is a terminal, a line for each event where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TextIO

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from massgen_mcp.cli.spectator import Spectator
from massgen_mcp.cli.stopping import Stopping
from massgen_mcp.cli.streams import say
from massgen_mcp.cli.view import draw
from massgen_mcp.runs import RunHandle
from massgen_mcp.runs.lines import Lines

__all__ = ["console_for", "watch"]

_FRAMES = 8
"""Frames a second."""

Redact = Callable[[str], str]


def console_for(stream: TextIO, environ: Mapping[str, str]) -> Console:
    """rich on that stream: no markup, no emoji codes, no guesses at what to highlight."""
    return Console(file=stream, markup=False, emoji=False, highlight=False, _environ=environ)


async def watch(
    handle: RunHandle, stopping: Stopping, *, environ: Mapping[str, str], redact: Redact
) -> None:
    """Show the run on stderr until it is over."""
    console = console_for(sys.stderr, environ)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        await _watch_live(handle, stopping, console, redact)
    else:
        await _tell(handle, redact)


async def _tell(handle: RunHandle, redact: Redact) -> None:
    lines = Lines([agent.id for agent in handle.run.spec.agents], redact=redact)
    with handle.listen() as records:
        async for record in records:
            line = lines.line(record)
            if line and record.kind != "Finished":  # the footer says how it ended
                say(sys.stderr, line)


async def _watch_live(handle: RunHandle, stopping: Stopping, console: Console, redact: Redact) -> None:
    spectator = Spectator(handle, redact)
    frame = spectator.frame()

    # A thread of rich's draws the newest frame, so that a terminal that is held (Ctrl-S) holds up no agent.
    def newest() -> Text:
        return draw(frame, width=console.width, height=console.height)

    with (
        handle.listen() as records,
        Live(
            get_renderable=newest,
            console=console,
            refresh_per_second=_FRAMES,
            transient=True,
            redirect_stdout=False,
        ),
    ):
        async with anyio.create_task_group() as tasks:

            async def hear() -> None:
                async for record in records:
                    spectator.hear(record)
                tasks.cancel_scope.cancel()

            tasks.start_soon(hear)
            while True:
                frame = spectator.frame(stopping=stopping.asked)
                await anyio.sleep(1 / _FRAMES)
