"""Tables without frames, so that they read the same on a screen, in a file and in a pipe."""

from __future__ import annotations

from rich.table import Table

__all__ = ["table"]


def table(*headings: str, whole: int = 1) -> Table:
    """An empty table. Cells of the first `whole` columns are never cut, those of others where needed."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        made.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=0 if number >= whole else None)
    return made
