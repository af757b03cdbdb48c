"""`massgen-mcp serve`: the MCP server, for a host that starts it, or for people over HTTP."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from massgen_mcp.cli.roots import with_roots
from massgen_mcp.errors import RequestRefused
from massgen_mcp.server.entry import serve_host

if TYPE_CHECKING:
    from massgen_mcp.cli.world import MakeRuns

__all__ = ["run"]

_FOR_HTTP = ("tokens", "tls_cert", "tls_key", "behind_proxy", "allowed_hosts")


def run(args: Namespace, *, make_runs: MakeRuns | None, environ: Mapping[str, str]) -> int:
    """Serve on stdin and stdout until the host leaves, or over HTTP until a signal comes.

    Raises:
        RequestRefused: an option that HTTP alone has was given without `--http`.
        ConfigError: it can't be served over HTTP like that.
    """
    del make_runs
    environ = with_roots(environ, args.roots)
    if args.http:
        return _serve_http(args, environ)
    if given := [name for name in _FOR_HTTP if getattr(args, name)]:
        names = ", ".join("--" + name.removesuffix("s").replace("_", "-") for name in given)
        raise RequestRefused(f"{names}: only with --http; without it there is nobody but the host.")
    return serve_host(config_dirs=args.config_dirs, environ=environ)


def _serve_http(args: Namespace, environ: Mapping[str, str]) -> int:
    # By name: a server for a host loads nothing of this.
    place: Any = importlib.import_module("massgen_mcp.server.http.place").Place(
        host=args.host,
        port=args.port,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        behind_proxy=args.behind_proxy,
        allowed_hosts=tuple(args.allowed_hosts),
    )
    tokens: Path | None = args.tokens
    if tokens == Path():
        tokens = importlib.import_module("massgen_mcp.cli.token").default_file(environ)
    serve: Any = importlib.import_module("massgen_mcp.server.http.serve")
    code: int = serve.serve_http(place, tokens=tokens, environ=environ, config_dirs=args.config_dirs)
    return code
