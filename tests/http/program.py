"""The server over HTTP as a process, with a scripted team: `python -m tests.http.program NAME [OPTIONS]`.

Its options are those of `serve`; its journal is the real one, in the folder that MASSGEN_MCP_STATE_DIR names.
"""

from __future__ import annotations

import os
import sys

from massgen_mcp.cli.arguments import parse
from massgen_mcp.server.http.place import Place
from massgen_mcp.server.http.serve import serve_http
from tests.server.program import make_runs

if __name__ == "__main__":
    args = parse(["serve", "--http", *sys.argv[2:]])
    place = Place(port=args.port, tls_cert=args.tls_cert, tls_key=args.tls_key)
    sys.exit(serve_http(place, tokens=args.tokens, environ=os.environ, make_runs=make_runs))  # type: ignore[arg-type]
