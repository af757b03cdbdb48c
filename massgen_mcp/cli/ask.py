"""`massgen-mcp ask`: a question to a team, watched on stderr, answered on stdout."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping

import anyio
from rich.markdown import Markdown

from massgen_mcp.backends.registry import backend_info, suggest
from massgen_mcp.cli.closing import exit_code, footer
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.live import console_for, watch
from massgen_mcp.cli.stopping import Stopping
from massgen_mcp.cli.streams import read_stdin, say, say_json
from massgen_mcp.cli.world import MakeRuns, within_runs
from massgen_mcp.errors import RequestRefused
from massgen_mcp.runs import Allowance, Ask, RunHandle, RunResult, Runs
from massgen_mcp.text import visible

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Ask, watch, answer.

    Raises:
        MassgenError: it can't be asked; nothing was spent.
    """
    ask = _ask(args)

    async def work(runs: Runs) -> int:
        return await _answer(runs, ask, args, environ)

    return within_runs(work, make_runs=make_runs, environ=environ, config_dirs=args.config_dirs)


async def _answer(runs: Runs, ask: Ask, args: Namespace, environ: Mapping[str, str]) -> int:
    handle: RunHandle | None = None
    result: RunResult | None = None
    async with anyio.create_task_group() as tasks:
        stopping = Stopping(tasks.cancel_scope)
        await tasks.start(stopping.listen)
        handle = await runs.start(ask)
        stopping.of(handle)
        await watch(handle, stopping, environ=environ, redact=runs.secrets.redact)
        result = await handle.wait()
        tasks.cancel_scope.cancel()
    if result is None:
        _say_left(handle)
        return ExitCode.INTERRUPTED
    _show(result, args, environ, runs)
    return exit_code(result)
