"""A command in the sandbox, against the same command as it is."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio

from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.landlock import Landlock
from massgen_mcp.workspace.run_command import Launcher, command_environment, run_command
from massgen_mcp.workspace.sandbox import Sandbox, find_sandbox

__all__ = ["figures"]

_ROUNDS = 40
_BAR = 40.0


class _Plain:
    """No launcher at all."""

    level = "plain"

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        del confinement
        return tuple(argv)


async def _measure(launchers: dict[str, Launcher], folder: Path) -> dict[str, float]:
    """Milliseconds of `sh -c true`, the median; the launchers take turns, so that noise meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in launchers}
    confinement = Confinement(cwd=folder, write=(folder,))
    for _ in range(_ROUNDS):
        for name, launcher in launchers.items():
            begun = time.perf_counter()
            ended = await run_command(
                launcher, ("sh", "-c", "true"), confinement, environ=command_environment()
            )
            taken[name].append((time.perf_counter() - begun) * 1000)
            assert ended.succeeded, ended.output
    return {name: statistics.median(times) for name, times in taken.items()}


def figures() -> list[tuple[str, str, str, bool]]:
    """Each level's cost per command."""
    sandbox = anyio.run(find_sandbox)
    landlock = Sandbox("landlock", "", Landlock(root=os.geteuid() == 0))
    launchers: dict[str, Launcher] = {"plain": _Plain(), sandbox.level: sandbox, "landlock": landlock}
    with tempfile.TemporaryDirectory() as folder:
        medians = anyio.run(partial(_measure, launchers, Path(folder)))
    plain = medians.pop("plain")
    return [
        (
            f"a command in the sandbox ({name})",
            f"<= plain + {_BAR:.0f} ms" if name == sandbox.level else "-",
            f"{taken:.1f} ms, plain {plain:.1f} ms",
            taken - plain <= _BAR or name != sandbox.level,
        )
        for name, taken in medians.items()
    ]
