"""Tables without frames: they read the same on a screen, in a file and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.table import Table

from massgen_mcp.cli.consoles import console_for, is_screen
from massgen_mcp.cli.streams import say

__all__ = ["show_table", "table"]


def table(*headings: str, wrap_last: bool = False) -> Table:
    """An empty table. On a screen that is too narrow its last column gives way: cut, or wrapped."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings[:-1]:
        made.add_column(heading, no_wrap=True)
    made.add_column(
        headings[-1], no_wrap=not wrap_last, overflow="fold" if wrap_last else "ellipsis", ratio=1
    )
    return made


def show_table(made: Table, environ: Mapping[str, str]) -> None:
    """Print it on stdout."""
    console = console_for(sys.stdout, environ)
    if is_screen(console):
        made.expand = True  # the last column gets what the others leave
        console.print(made)
        return
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        say(sys.stdout, line.rstrip())
