"""Measure everything and print one table: what, bar, measured."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import backends, journal, load, requests, resume, runtimes, sandbox, start, teams, workspace

Figure = tuple[str, str, str, bool]
PARTS: dict[str, Callable[[], list[Figure]]] = {
    "start": start.figures,
    "teams": teams.figures,
    "requests": requests.figures,
    "load": load.figures,
    "journal": journal.figures,
    "resume": resume.figures,
    "workspace": workspace.figures,
    "sandbox": sandbox.figures,
    "backends": backends.figures,
    "runtimes": runtimes.figures,
}


def main() -> int:
    """Run the parts named, or all; exit 1 when a bar is missed."""
    wanted = sys.argv[1:] or list(PARTS)
    missed = 0
    for name in wanted:
        for what, bar, measured, held in PARTS[name]():
            missed += not held
            print(f"{'ok  ' if held else 'MISS'} {what:58} bar {bar:26} measured {measured}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
