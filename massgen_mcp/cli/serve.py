"""`massgen-mcp serve`: the MCP server, for hosts that are set up with a command."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

from massgen_mcp.cli.roots import with_roots
from massgen_mcp.errors import RequestRefused
from massgen_mcp.server.entry import serve_host

if TYPE_CHECKING:
    from massgen_mcp.cli.world import MakeRuns

__all__ = ["run"]


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Serve on stdin and stdout until the host leaves.

    Raises:
        RequestRefused: HTTP was asked for.
    """
    del make_runs
    if args.http:
        raise RequestRefused(
            "serve --http is not available yet. Without --http it serves on stdin and stdout, for a host on "
            "this machine."
        )
    return serve_host(config_dirs=args.config_dirs, environ=with_roots(environ, args.roots))
