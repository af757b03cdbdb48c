"""`massgen-mcp runs resume`: an interrupted run, taken up where it stopped."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from massgen_mcp.cli.answering import answer_from
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.roots import with_roots
from massgen_mcp.cli.wording import nothing_spent_unless
from massgen_mcp.cli.world import MakeRuns, named_team, within_runs
from massgen_mcp.errors import RunNotFound
from massgen_mcp.runs import RunHandle, Runs

__all__ = ["earlier_run", "run"]

_LOOKED_AT = 100
"""Latest runs among which an interrupted one is looked for."""


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Take the run up, watch, answer.

    Raises:
        RunNotFound: there is no such run, or none that was interrupted.
        MassgenError: it can't be taken up; nothing was spent.
    """
    begun: list[RunHandle] = []
    environ = with_roots(environ, args.roots)
    with nothing_spent_unless(begun):
        run_id, config_dirs = earlier_run(
            args.run_id, make_runs=make_runs, environ=environ, config_dirs=args.config_dirs
        )

        async def work(runs: Runs) -> int:
            begun.append(await runs.resume(run_id))
            return await answer_from(runs, begun[0], detail=args.detail, as_json=args.json, environ=environ)

        return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=config_dirs)


def earlier_run(
    run_id: str | None,
    *,
    make_runs: MakeRuns | None,
    environ: Mapping[str, str],
    config_dirs: Sequence[Path],
) -> tuple[str, Sequence[Path]]:
    """A run that is gone on from, the latest interrupted one if None, and the folders its team is found in.

    A team that was named by its file lies in a folder that has to be known from the beginning.

    Raises:
        RunNotFound: there is no such run, or none that was interrupted.
        JournalError: its first record can't be read.
    """
    found: dict[str, str] = {}

    async def look(runs: Runs) -> int:
        found["run_id"] = run_id or await _latest(runs)
        found["team"] = await runs.team_of(found["run_id"])
        return ExitCode.ANSWER

    within_runs(look, make_runs=make_runs, environ=environ, config_dirs=config_dirs)
    return found["run_id"], named_team(found["team"], config_dirs)[1]


async def _latest(runs: Runs) -> str:
    rows = await runs.rows(limit=_LOOKED_AT)
    latest = next((row.run_id for row in rows if row.state == "interrupted"), None)
    if latest is None:
        raise RunNotFound("No run was interrupted. `massgen-mcp runs list` shows all there are.")
    return latest
