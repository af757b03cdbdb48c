"""The program: without arguments an MCP server on stdin and stdout, else the command line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Serve until the host leaves, or do what the arguments say. Returns the exit code."""
    # Imported one by one: a server needs none of the command line, and must be quick.
    if len(sys.argv) > 1:
        from massgen_mcp.cli import main as command_line  # noqa: PLC0415

        return command_line()
    from massgen_mcp.server.entry import serve_host  # noqa: PLC0415

    return serve_host()


if __name__ == "__main__":
    sys.exit(main())
