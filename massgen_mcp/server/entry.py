"""From a bare process to a server on stdin and stdout, in an order that keeps stdout clean."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from massgen_mcp.server.guard import claim_wire, close_memory, end_quietly

if TYPE_CHECKING:
    from massgen_mcp.server.service import MakeRuns

__all__ = ["serve_host"]


def serve_host(
    *,
    config_dirs: Sequence[Path] = (),
    environ: Mapping[str, str] = os.environ,
    make_runs: MakeRuns | None = None,
) -> int:
    """Serve the host that started this process, until it closes the pipe or sends a signal.

    Returns the exit code: 0, 128 and the signal's number, or 1 when there is nobody to serve. `make_runs`
    replaces the real world: teams, models and journal.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write(
            "massgen-mcp waits for an MCP host on stdin. To ask from here: massgen-mcp ask QUESTION; "
            "all commands: massgen-mcp --help. Ctrl-C ends it.\n"
        )
    end_quietly()
    try:
        wire = claim_wire()
    except OSError as error:
        sys.stderr.write(
            f"massgen-mcp: stdin or stdout is closed ({error.strerror}): no host can be served.\n"
        )
        return 1
    close_memory()
    # Only now: whatever these print while they load does not get between messages.
    from massgen_mcp.server.opening import make_server_runs, resumes  # noqa: PLC0415
    from massgen_mcp.server.stdio import log_to_stderr, serve_stdio  # noqa: PLC0415

    log = log_to_stderr(environ)
    make = make_runs or make_server_runs(log, config_dirs=config_dirs, environ=environ)
    return serve_stdio(wire, make, at_once=resumes(environ))
