"""A run as a person at the terminal follows it: watched on stderr, answered on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress

import anyio

from massgen_mcp.cli.closing import exit_code, show_footer, show_markdown
from massgen_mcp.cli.codes import ExitCode
from massgen_mcp.cli.live import watch
from massgen_mcp.cli.stopping import Stopping
from massgen_mcp.cli.streams import say, say_json
from massgen_mcp.errors import JournalError
from massgen_mcp.runs import RunHandle, RunResult, Runs
from massgen_mcp.runs.result import Detail
from massgen_mcp.secrets import Secrets

__all__ = ["answer_from"]


async def answer_from(
    runs: Runs, handle: RunHandle, *, detail: Detail, as_json: bool, environ: Mapping[str, str]
) -> int:
    """Watch the run to its end and say what came of it. Returns the exit code."""
    result = await _watched(handle, runs.secrets, environ)
    if result is None:
        await _leave(runs, handle)
        return ExitCode.INTERRUPTED
    if as_json:
        say_json(sys.stdout, runs.secrets.redact_value(result.public(detail)))
    else:
        if result.answer:
            show_markdown(runs.secrets.redact(result.answer), environ)
        show_footer(result, detail, environ, redact=runs.secrets.redact)
    if result.status != "interrupted":
        await runs.deliver(handle.run_id)
    return exit_code(result)


async def _leave(runs: Runs, handle: RunHandle) -> None:
    """Who stops a run twice does not want a server to go on with it by itself."""
    run_id = handle.run_id
    with anyio.CancelScope(shield=True), suppress(JournalError):
        await (await runs.journal_of(run_id)).request_cancel(run_id, "the person at the terminal left it")
    say(sys.stderr, f"Left it. What it has so far: massgen-mcp runs show {run_id} --answers")
    if handle.result is None:
        say(sys.stderr, f"To go on with it: massgen-mcp runs resume {run_id}")


async def _watched(handle: RunHandle, secrets: Secrets, environ: Mapping[str, str]) -> RunResult | None:
    """The result; None when the person at the terminal did not want to wait for it."""
    stopping = Stopping(handle)
    result: RunResult | None = None
    with stopping.taken():
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as waiting:
                tasks.start_soon(stopping.listen, waiting)
                await watch(handle, stopping, environ=environ, redact=secrets.redact)
                result = await handle.wait()
            stopping.close()
    return result
