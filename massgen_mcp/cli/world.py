"""The world that a command works in: runs, inside one event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import anyio
from anyio.abc import TaskGroup

from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs import Runs
from massgen_mcp.runs.open import open_runs

__all__ = ["MakeRuns", "named_team", "team_typed", "within_runs"]

_TEAM_FILES = (".yaml", ".yml")


class MakeRuns(Protocol):
    """How the world is assembled: see `massgen_mcp.runs.open.open_runs`."""

    def __call__(
        self,
        tasks: TaskGroup,
        *,
        place: Literal["terminal", "server"],
        config_dirs: Sequence[Path] = (),
        environ: Mapping[str, str] = ...,
    ) -> AbstractAsyncContextManager[Runs]:
        """Runs for the time of the block; their work lives in `tasks`."""
        ...


def named_team(team: str, config_dirs: Sequence[Path]) -> tuple[str, Sequence[Path]]:
    """A team that may be a file, and the folders to look in.

    Who types a file's path at a terminal may run it, wherever it lies; in a server the operator's folders
    decide.
    """
    path = Path(team)
    if path.suffix not in _TEAM_FILES or not path.is_file():
        return team, config_dirs
    whole = path.absolute()
    return str(whole), (whole.parent, *config_dirs)


@contextmanager
def team_typed(team: str) -> Generator[None]:
    """Where the team that was typed is not known, say what a person may have meant by it.

    Raises:
        RequestRefused: as it came, or in words about the file.
    """
    try:
        yield
    except RequestRefused as error:
        unknown = f'Unknown team "{team}".'
        words = str(error).removeprefix(unknown)
        if words == str(error) or not (meant := _file_meant(team)):
            raise
        known = words.replace(" A path must name a file inside one of the approved folders.", "")
        raise RequestRefused(f"{meant}{known}") from error


def _file_meant(team: str) -> str:
    path = Path(team)
    if path.is_dir():
        return f"{path.absolute()} is a folder. Name a team file in it."
    if path.suffix in _TEAM_FILES:
        return f"There is no file {path.absolute()}."
    for suffix in _TEAM_FILES:
        if (file := path.with_name(path.name + suffix)).is_file():
            return f'Unknown team "{team}". Did you mean the file {file}? Type it with its ending.'
    return ""


def within_runs(
    work: Callable[[Runs], Awaitable[int]],
    *,
    make_runs: MakeRuns | None,
    environ: Mapping[str, str],
    config_dirs: Sequence[Path] = (),
) -> int:
    """Do `work` with the runs of this machine, in an event loop of its own, and return its exit code.

    Raises:
        Exception: whatever `work` or the assembly raised, not wrapped in a group.
    """
    make = make_runs or open_runs

    async def begin() -> int | Exception:
        ended: int | Exception = ExitCode.INTERRUPTED
        async with anyio.create_task_group() as tasks:
            try:
                async with make(tasks, place="terminal", config_dirs=config_dirs, environ=environ) as runs:
                    ended = await work(runs)
            except Exception as error:  # noqa: BLE001 - raised again below, outside of the task group that would wrap it
                ended = error
            # What is still in motion was not waited for on purpose.
            tasks.cancel_scope.cancel()
        return ended

    ended = anyio.run(begin)
    if isinstance(ended, Exception):
        raise ended
    return ended
