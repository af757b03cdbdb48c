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
    from massgen_mcp.server.http.place import Place

__all__ = ["place_of", "run"]

_FOR_HTTP = {
    "host": "--host",
    "port": "--port",
    "tokens": "--tokens",
    "tls_cert": "--tls-cert",
    "tls_key": "--tls-key",
    "behind_proxy": "--behind-proxy",
    "allowed_hosts": "--allowed-host",
}
_HOST, _PORT = "127.0.0.1", 8765


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
    if given := [flag for name, flag in _FOR_HTTP.items() if getattr(args, name) not in (None, False, [])]:
        raise RequestRefused(
            f"{', '.join(given)}: only with --http; without it there is nobody but the host."
        )
    return serve_host(config_dirs=args.config_dirs, environ=environ)


def place_of(args: Namespace) -> Place:
    """Where it is served over HTTP.

    Raises:
        ConfigError: it can't be served like that.
    """
    # By name: a server for a host loads nothing of this.
    place: type[Place] = importlib.import_module("massgen_mcp.server.http.place").Place
    return place(
        host=_HOST if args.host is None else args.host,
        port=_PORT if args.port is None else args.port,
        tls_cert=args.tls_cert,
        tls_key=args.tls_key,
        behind_proxy=args.behind_proxy,
        allowed_hosts=tuple(args.allowed_hosts),
    )


def _serve_http(args: Namespace, environ: Mapping[str, str]) -> int:
    place = place_of(args)
    tokens: Path | None = args.tokens
    if tokens == Path():
        tokens = importlib.import_module("massgen_mcp.cli.token").default_file(environ)
    serve: Any = importlib.import_module("massgen_mcp.server.http.serve")
    code: int = serve.serve_http(place, tokens=tokens, environ=environ, config_dirs=args.config_dirs)
    return code
