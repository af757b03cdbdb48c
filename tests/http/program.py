"""The server over HTTP as a process, with a scripted team: `python -m tests.http.program NAME [OPTIONS]`.

Its options are those of `serve`; its journal is the real one, in the folder that MASSGEN_MCP_STATE_DIR names.
"""

from __future__ import annotations

import os
import sys

from massgen_mcp.cli.arguments import parse
from massgen_mcp.cli.serve import place_of
from massgen_mcp.server.http.serve import serve_http
from tests.server.program import make_runs

if __name__ == "__main__":
    args = parse(["serve", "--http", *sys.argv[2:]])
    sys.exit(serve_http(place_of(args), tokens=args.tokens, environ=os.environ, make_runs=make_runs))  # type: ignore[arg-type]
