"""From a bare process to a server on stdin and stdout, in an order that keeps stdout clean."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from massgen_mcp.server.guard import claim_wire, close_memory, end_quietly

__all__ = ["serve_host"]


def serve_host(*, config_dirs: Sequence[Path] = (), environ: Mapping[str, str] = os.environ) -> int:
    """Serve the host that started this process, until it closes the pipe or sends a signal.

    Returns the exit code: 0, or 128 and the signal's number.

    Raises:
        OSError: stdin or stdout is closed.
    """
    if sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write(
            "massgen-mcp waits for an MCP host on stdin. To ask from here: massgen-mcp ask QUESTION; "
            "all commands: massgen-mcp --help. Ctrl-C ends it.\n"
        )
    end_quietly()
    wire = claim_wire()
    close_memory()
    # Only now: whatever these print while they load does not get between messages.
    from massgen_mcp.server.opening import make_server_runs  # noqa: PLC0415
    from massgen_mcp.server.stdio import log_to_stderr, serve_stdio  # noqa: PLC0415

    make_runs = make_server_runs(log_to_stderr(environ), config_dirs=config_dirs, environ=environ)
    return serve_stdio(wire, make_runs)
