"""rich, set up so that nothing anybody wrote is taken for markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.text import Text

from massgen_mcp.cli.streams import say
from massgen_mcp.text import visible

__all__ = ["console_for", "is_screen", "tell"]

_WIDE = 10_000
"""Columns of a table that goes to a file or another program: nothing in it is cut or wrapped."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Tell that the reader has left as every stream does; rich would end the program by itself."""
        raise BrokenPipeError


def console_for(stream: TextIO, environ: Mapping[str, str]) -> Console:
    """A console on that stream: no markup, no emoji codes, no guesses at what to highlight."""
    return _Console(
        file=stream,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if stream.isatty() else _WIDE,
        _environ=environ,
    )


def is_screen(console: Console) -> bool:
    """Whether somebody looks at it: a terminal that can move its cursor and show our characters."""
    return console.file.isatty() and not console.is_dumb_terminal and console.encoding.startswith("utf")


def tell(stream: TextIO, text: str, environ: Mapping[str, str], *, style: str = "") -> None:
    """A line: on a screen wrapped between words and in a style, as it is everywhere else."""
    console = console_for(stream, environ)
    if is_screen(console):
        console.print(Text(visible(text), style=style))
    else:
        say(stream, text)
