"""Serving over stdin and stdout, the way hosts start this program."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

import anyio
from mcp.server.lowlevel import Server

from massgen_mcp.secrets import Secrets
from massgen_mcp.server.app import build_server
from massgen_mcp.server.guard import Wire, end_quietly
from massgen_mcp.server.service import MakeRuns, Service
from massgen_mcp.server.wire import wire_streams
from massgen_mcp.text import visible

__all__ = [
    "BY_SIGNAL",
    "LogFormat",
    "end_if_stuck",
    "first_signal",
    "limit_the_end",
    "log_to_stderr",
    "serve",
    "serve_stdio",
]

_logger = logging.getLogger(__name__)

_GRACE = 8.0
"""Seconds that an orderly end may take; then the process ends all the same."""
_JOIN = 0.3
"""Seconds for a thread that has nothing to do to notice that it may go."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
BY_SIGNAL = 128
"""And the number of the signal: the exit code."""


class LogFormat(logging.Formatter):
    """One line a record on stderr, without secrets."""

    def __init__(self) -> None:
        super().__init__("massgen-mcp: %(levelname)s: %(name)s: %(message)s")
        self.secrets = Secrets()
        """Until the runs are made, keys are known by their shape alone."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text as it may be shown."""
        return visible(self.secrets.redact(super().format(record)))


def log_to_stderr(environ: Mapping[str, str]) -> LogFormat:
    """Send all logging to stderr, at the level that `MASSGEN_MCP_LOG` names."""
    wanted = environ.get("MASSGEN_MCP_LOG", "").strip().upper() or "WARNING"
    levels = logging.getLevelNamesMapping()
    form = LogFormat()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    logging.basicConfig(level=levels.get(wanted, logging.WARNING), handlers=[handler], force=True)
    if wanted not in levels:
        _logger.warning("MASSGEN_MCP_LOG is %r; known levels: %s", wanted, ", ".join(levels))
    return form


def serve_stdio(wire: Wire, make_runs: MakeRuns, *, at_once: bool = False) -> int:
    """Serve one host until it closes the pipe or sends a signal. Returns the exit code.

    `at_once`: the runs are made without waiting for a call that needs them.
    """
    server = build_server(make_runs, opened=Service.open_soon if at_once else None)
    try:
        code = anyio.run(serve, server, wire)
    except KeyboardInterrupt:  # where signals can't be awaited
        code = BY_SIGNAL + signal.SIGINT
    end_quietly()
    end_if_stuck(code)
    return code


async def serve(server: Server[Service], wire: Wire, *, limit: Callable[[int], None] | None = None) -> int:
    """Serve until the other side closes (0), or a signal comes (128 and its number).

    `limit` is called with the exit code when the end begins, to see to it that it comes.
    """
    limit = limit or limit_the_end
    code = 0
    async with anyio.create_task_group() as tasks:

        async def obey_signals() -> None:
            nonlocal code
            code = BY_SIGNAL + await first_signal()
            limit(code)
            tasks.cancel_scope.cancel()

        tasks.start_soon(obey_signals)
        async with wire_streams(wire) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
        limit(code)
        tasks.cancel_scope.cancel()
    return code


async def first_signal() -> int:
    """Wait for a signal. From then on another one ends the process at once."""
    if sys.platform == "win32":  # signals can't be awaited there: an interrupt is a KeyboardInterrupt
        await anyio.sleep_forever()
    try:
        with anyio.open_signal_receiver(*_SIGNALS) as signals:
            return await anext(signals)
    finally:
        end_quietly()


def limit_the_end(code: int, *, seconds: float = _GRACE) -> None:
    """Whatever hangs from here on, the process ends after `seconds`."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


def end_if_stuck(code: int) -> None:
    """End the process here if a thread still waits for a host that does not read: Python waits for it."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(_JOIN)
            if thread.is_alive():
                logging.shutdown()
                os._exit(code)
